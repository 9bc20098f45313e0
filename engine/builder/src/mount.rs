//! `RUN --mount`.

use std::borrow::Cow;

use crate::parse::Wrong;
use crate::suggest;

/// How many options one mount may have.
const MAX_OPTIONS: usize = 100;

/// One `--mount` of a `RUN`, expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: Kind,
    /// Where; `None` where the kind has a default.
    pub target: Option<String>,
    /// `from`: stage, image or named context.
    pub from: Option<String>,
    /// `source`: path within `from`, or within the build context.
    pub source: Option<String>,
    /// `id` of a cache, secret or ssh agent.
    pub id: Option<String>,
    /// Whether the mount cannot be written to.
    pub read_only: bool,
    /// `sharing` of a cache.
    pub sharing: Sharing,
    /// `required` of a secret or ssh agent.
    pub required: bool,
    /// `env` of a secret: the variable that gets it.
    pub env: Option<String>,
    /// `mode`, permission bits.
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `size` of a tmpfs in bytes.
    pub size: Option<u64>,
}

/// Kinds of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tree of the context, a stage or an image.
    Bind,
    /// A directory that survives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file that no layer and no key contains.
    Secret,
    /// The socket of an ssh agent.
    Ssh,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One at a time; others get a new one.
    Private,
    /// One at a time; others wait.
    Locked,
}

const KINDS: [(&str, Kind); 5] = [
    ("bind", Kind::Bind),
    ("cache", Kind::Cache),
    ("tmpfs", Kind::Tmpfs),
    ("secret", Kind::Secret),
    ("ssh", Kind::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

const OPTIONS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

/// The `from` of a mount before expansion, which it does not support.
pub(crate) fn check_from(text: &str) -> Result<(), Wrong> {
    for field in fields(text)? {
        let Some(("from", value)) = field.split_once('=') else { continue };
        if value.find('$').is_some_and(|at| at + 1 < value.len()) {
            let message = format!(
                "'from' doesn't support variable expansion, define alias stage instead: {value}"
            );
            return Err(Wrong::new(message));
        }
    }
    Ok(())
}

/// What `from` of a mount names, if it has one that counts: a tmpfs has none.
pub(crate) fn from_of(text: &str) -> Option<String> {
    let fields = fields(text).ok()?;
    let value = |key: &str| {
        fields.iter().rev().find_map(|field| {
            let (name, value) = field.split_once('=')?;
            name.eq_ignore_ascii_case(key).then(|| value.to_owned())
        })
    };
    if value("type").is_some_and(|kind| kind.eq_ignore_ascii_case("tmpfs")) {
        return None;
    }
    value("from").filter(|from| !from.is_empty())
}

impl Mount {
    /// Reads `type=cache,target=/x,...`; every value is expanded by `expand`.
    pub(crate) fn parse(
        text: &str,
        mut expand: impl FnMut(&str) -> Result<String, Wrong>,
    ) -> Result<Self, Wrong> {
        let mut mount = Self {
            kind: Kind::Bind,
            target: None,
            from: None,
            source: None,
            id: None,
            read_only: false,
            sharing: Sharing::Shared,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
            size: None,
        };
        let (mut read_only, mut sharing) = (None, None);
        for field in fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(expand(value)?)),
                None => (field.as_ref(), None),
            };
            let key = key.to_ascii_lowercase();
            let Some(value) = value else {
                match key.as_str() {
                    "readonly" | "ro" => read_only = Some(true),
                    "readwrite" | "rw" => read_only = Some(false),
                    "required" => mount.set_required(true)?,
                    _ => {
                        return Err(Wrong::new(format_args!(
                            "invalid field '{field}' must be a key=value pair"
                        ))
                        .word(&field)
                        .hint(suggest::hint(&key, OPTIONS)));
                    }
                }
                continue;
            };
            let invalid =
                || Wrong::new(format_args!("invalid value for {key}: {value:?}")).word(&field);
            match key.as_str() {
                "type" => mount.kind = choose("mount type", &value, &KINDS)?,
                "from" => mount.from = Some(value),
                "source" | "src" => mount.source = Some(value),
                "target" | "dst" | "destination" => mount.target = Some(value),
                "readonly" | "ro" => read_only = Some(boolean(&value).ok_or_else(invalid)?),
                "readwrite" | "rw" => read_only = Some(!boolean(&value).ok_or_else(invalid)?),
                "required" => mount.set_required(boolean(&value).ok_or_else(invalid)?)?,
                "id" => mount.id = Some(value),
                "sharing" => sharing = Some(choose("sharing value", &value, &SHARINGS)?),
                "env" if mount.kind == Kind::Secret => mount.env = Some(value),
                "size" if mount.kind == Kind::Tmpfs => {
                    mount.size = Some(bytes(&value).ok_or_else(invalid)?);
                }
                "env" | "size" => return Err(mount.unexpected(&key)),
                "mode" => {
                    let mode = u32::from_str_radix(&value, 8).map_err(|_| invalid())?;
                    mount.mode =
                        Some(Some(mode).filter(|mode| *mode <= 0o7777).ok_or_else(invalid)?);
                }
                "uid" => mount.uid = Some(value.parse().map_err(|_| invalid())?),
                "gid" => mount.gid = Some(value.parse().map_err(|_| invalid())?),
                _ => {
                    return Err(Wrong::new(format_args!("unexpected key '{key}' in '{field}'"))
                        .word(&field)
                        .hint(suggest::hint(&key, OPTIONS)));
                }
            }
        }
        for text in
            [&mut mount.target, &mut mount.from, &mut mount.source, &mut mount.id, &mut mount.env]
        {
            *text = text.take().filter(|text| !text.is_empty());
        }
        let writable = matches!(mount.kind, Kind::Cache | Kind::Tmpfs);
        mount.read_only = read_only.unwrap_or(!writable);
        mount.check(sharing.is_some())?;
        mount.sharing = sharing.unwrap_or_default();
        Ok(mount)
    }

    fn set_required(&mut self, required: bool) -> Result<(), Wrong> {
        if !matches!(self.kind, Kind::Secret | Kind::Ssh) {
            return Err(self.unexpected("required"));
        }
        self.required = required;
        Ok(())
    }

    fn unexpected(&self, key: &str) -> Wrong {
        let kind = self.kind.name();
        Wrong::new(format_args!("unexpected key '{key}' for mount type '{kind}'")).word(key)
    }

    fn check(&self, has_sharing: bool) -> Result<(), Wrong> {
        let kind = self.kind.name();
        if !matches!(self.kind, Kind::Secret | Kind::Ssh | Kind::Cache) {
            for (name, given) in [
                ("mode", self.mode.is_some()),
                ("uid", self.uid.is_some()),
                ("gid", self.gid.is_some()),
            ] {
                if given {
                    return Err(Wrong::new(format_args!(
                        "{name} not allowed for {kind:?} type mounts"
                    ))
                    .word(name));
                }
            }
        }
        if has_sharing && self.kind != Kind::Cache {
            return Err(
                Wrong::new(format_args!("sharing is not for {kind} mounts")).word("sharing")
            );
        }
        if self.kind == Kind::Secret {
            if self.from.is_some() {
                return Err(Wrong::new("secret mount should not have a from").word("from"));
            }
            if self.source.is_none() && self.target.is_none() && self.id.is_none() {
                return Err(Wrong::new("invalid secret mount: one of id, source, target required"));
            }
            if self.source.is_some() && self.id.is_some() {
                return Err(Wrong::new("both source and id can't be set for a secret mount"));
            }
        }
        if matches!(self.kind, Kind::Bind | Kind::Cache | Kind::Tmpfs) && self.target.is_none() {
            return Err(Wrong::new(format_args!("{kind} mount requires a target")));
        }
        Ok(())
    }
}

fn choose<T: Copy>(what: &str, word: &str, known: &[(&str, T)]) -> Result<T, Wrong> {
    let lower = word.to_ascii_lowercase();
    known.iter().find(|(name, _)| *name == lower).map(|(_, value)| *value).ok_or_else(|| {
        Wrong::new(format_args!("unsupported {what} {word:?}"))
            .word(word)
            .hint(suggest::hint(word, known.iter().map(|(name, _)| *name)))
    })
}

/// As Go's `strconv.ParseBool`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// `64m`, `1.5GiB`, in powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("ib").or_else(|| text.strip_suffix('b')).unwrap_or(&text);
    let (number, shift) = match text.char_indices().next_back()? {
        (at, 'k') => (&text[..at], 10),
        (at, 'm') => (&text[..at], 20),
        (at, 'g') => (&text[..at], 30),
        (at, 't') => (&text[..at], 40),
        (at, 'p') => (&text[..at], 50),
        _ => (text, 0),
    };
    let (whole, fraction) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let unit = 1u128 << shift;
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let total = u128::from(whole.parse::<u64>().ok()?) * unit + part * unit / scale;
    u64::try_from(total).ok()
}

/// The fields of one line of CSV. Spec: RFC 4180, as Go's `encoding/csv` reads it.
fn fields(text: &str) -> Result<Vec<Cow<'_, str>>, Wrong> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if fields.len() >= MAX_OPTIONS {
            return Err(Wrong::new(format_args!("more than {MAX_OPTIONS} options of one mount")));
        }
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err(Wrong::new("a quote within a field that is not quoted").word(field));
                }
                (Cow::Borrowed(field), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => return Err(Wrong::new("text behind a quoted field").word(after)),
        }
    }
}

/// A field behind its opening quote, and what follows its closing one.
fn quoted_field(text: &str) -> Result<(Cow<'_, str>, &str), Wrong> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err(Wrong::new("a quoted field does not end").word(text));
        };
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field.into(), after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount, Wrong> {
        Mount::parse(text, |value| Ok(value.replace("$X", "/expanded")))
    }

    #[test]
    fn kinds_and_their_defaults() {
        let bind = parse("target=/x").unwrap();
        assert_eq!((bind.kind, bind.read_only), (Kind::Bind, true));
        let bind = parse("type=bind,dst=/x,src=a,from=b,rw").unwrap();
        assert_eq!((bind.source.as_deref(), bind.from.as_deref()), (Some("a"), Some("b")));
        assert!(!bind.read_only);
        let cache =
            parse("type=cache,target=/c,id=i,sharing=locked,mode=0700,uid=1,gid=2").unwrap();
        assert_eq!((cache.sharing, cache.read_only), (Sharing::Locked, false));
        assert_eq!((cache.mode, cache.uid, cache.gid), (Some(0o700), Some(1), Some(2)));
        let tmpfs = parse("type=tmpfs,target=/t,size=64m").unwrap();
        assert_eq!(tmpfs.size, Some(64 << 20));
        let secret = parse("type=secret,id=s,env=TOKEN,required").unwrap();
        assert!(secret.required && secret.env.as_deref() == Some("TOKEN"));
        let ssh = parse("type=ssh,required=true,mode=0600").unwrap();
        assert!(ssh.required && ssh.target.is_none());
        let expanded = parse("TYPE=Cache,\"target=$X,y\"").unwrap();
        assert_eq!(expanded.target.as_deref(), Some("/expanded,y"));
    }

    #[test]
    fn refused() {
        for (text, message) in [
            ("type=binf,target=/x", "unsupported mount type \"binf\""),
            ("type=cache,target=/x,sharing=all", "unsupported sharing value"),
            ("target=/x,wat=1", "unexpected key 'wat'"),
            ("target", "must be a key=value pair"),
            ("type=bind,target=/x,mode=0700", "mode not allowed for \"bind\""),
            ("type=bind,target=/x,required", "unexpected key 'required'"),
            ("type=bind,target=/x,size=1", "unexpected key 'size'"),
            ("type=bind,target=/x,sharing=locked", "sharing is not for bind mounts"),
            ("type=secret", "one of id, source, target required"),
            ("type=secret,id=a,source=b", "both source and id"),
            ("type=secret,id=a,from=b", "should not have a from"),
            ("type=cache", "requires a target"),
            ("type=tmpfs,target=/x,size=much", "invalid value for size"),
            ("type=cache,target=/x,mode=999", "invalid value for mode"),
            ("type=cache,target=/x,uid=-1", "invalid value for uid"),
            ("type=cache,target=/x,ro=perhaps", "invalid value for ro"),
            ("\"type=cache", "does not end"),
            ("\"type=cache\"x", "behind a quoted field"),
            ("", "must be a key=value pair"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(message), "{text}: {}", error.message);
        }
        assert_eq!(
            parse("type=cach,target=/x").unwrap_err().hint.as_deref(),
            Some("did you mean cache?")
        );
        assert_eq!(
            parse("target=/x,sorce=1").unwrap_err().hint.as_deref(),
            Some("did you mean source?")
        );
        assert!(check_from("type=bind,from=$X,target=/x").is_err());
        assert!(check_from("type=bind,from=a$,target=$X").is_ok());
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("1k", Some(1024)),
            ("1KB", Some(1024)),
            ("1.5GiB", Some(3 << 29)),
            ("64 m", Some(64 << 20)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("99999999999999p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "([a-z]{0,8}=?[\"a-z0-9/$,]{0,8},?){0,6}") {
            let _ = parse(&text);
            let _ = from_of(&text);
        }
    }
}
