//! The records of a pax extended header.

use super::Time;

/// What the records of one extended header say about the next member.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    /// Full name to value.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Whether one extended header holds for one member or for all that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Next,
    Global,
}

impl Records {
    /// Adds the records of `bytes`, each `length key=value\n`; later ones win.
    ///
    /// A global header may hold comments, times and names of users, which are left aside: other
    /// engines do so too. It may not rename, resize or change owners.
    pub(super) fn add(&mut self, mut bytes: &[u8], scope: Scope) -> Result<(), String> {
        while !bytes.is_empty() {
            let (key, value, rest) = split_record(bytes).ok_or("a pax record is malformed")?;
            bytes = rest;
            match scope {
                Scope::Next => self.add_record(key, value)?,
                Scope::Global => refuse_global(key)?,
            }
        }
        Ok(())
    }

    fn add_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let bad = || format!("pax record {} is not valid", String::from_utf8_lossy(key));
        match key {
            b"path" => self.path = text(value).ok_or_else(bad)?,
            b"linkpath" => self.link_path = text(value).ok_or_else(bad)?,
            // An empty value takes a record back.
            b"size" => self.size = optional(value, number).map_err(|()| bad())?,
            b"uid" => self.uid = optional(value, id).map_err(|()| bad())?,
            b"gid" => self.gid = optional(value, id).map_err(|()| bad())?,
            b"mtime" => self.mtime = optional(value, time).map_err(|()| bad())?,
            _ if key.starts_with(b"GNU.sparse.") => return Err(SPARSE.to_owned()),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.set_xattr(name.to_vec(), value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = percent_decoded(name).ok_or_else(bad)?;
                    // libarchive writes both forms; this one only counts where it is alone.
                    if !self.xattrs.iter().any(|(known, _)| *known == name) {
                        self.set_xattr(name, base64_decoded(value).ok_or_else(bad)?);
                    }
                }
            }
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.xattrs.retain(|(known, _)| *known != name);
        self.xattrs.push((name, value));
    }
}

pub(super) const SPARSE: &str =
    "sparse members are not supported: make the archive without `--sparse`";

/// The first record's key and value, and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(9).position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let (newline, record) = record.get(space + 1..)?.split_last()?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    (*newline == b'\n' && equals > 0).then(|| (&record[..equals], &record[equals + 1..], rest))
}

fn refuse_global(key: &[u8]) -> Result<(), String> {
    let changes = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid")
        || key.starts_with(b"GNU.sparse.")
        || key.starts_with(b"SCHILY.xattr.")
        || key.starts_with(b"LIBARCHIVE.xattr.");
    if changes {
        let key = String::from_utf8_lossy(key);
        return Err(format!("a global pax header sets {key} for all members"));
    }
    Ok(())
}

/// A name; the outer `None` for one with a NUL, the inner for none.
#[expect(clippy::option_option, reason = "not valid and not there are two things")]
fn text(value: &[u8]) -> Option<Option<Vec<u8>>> {
    if value.contains(&0) {
        return None;
    }
    Some((!value.is_empty()).then(|| value.to_vec()))
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, ()> {
    if value.is_empty() { Ok(None) } else { parse(value).map(Some).ok_or(()) }
}

/// Decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// An id; the largest one means "no id" to the kernel.
fn id(digits: &[u8]) -> Option<u32> {
    u32::try_from(number(digits)?).ok().filter(|id| *id != u32::MAX)
}

/// `seconds[.fraction]`, possibly negative.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(number(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = fraction
        .iter()
        .chain(std::iter::repeat(&b'0'))
        .take(9)
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

/// Base64 with or without its padding.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let mut decoded = Vec::with_capacity(end / 4 * 3 + 2);
    let mut bits = 0u32;
    let mut have = 0;
    for &byte in &text[..end] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            decoded.push(u8::try_from(bits >> have & 0xff).expect("eight bits"));
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Records, String> {
        let mut records = Records::default();
        records.add(bytes, Scope::Next).map(|()| records)
    }

    /// A record with its right length.
    fn record(text: &[u8]) -> Vec<u8> {
        let mut length = text.len() + 3;
        if format!("{length}").len() + 2 + text.len() > length {
            length += 1;
        }
        [format!("{length} ").as_bytes(), text, b"\n"].concat()
    }

    #[test]
    fn records() {
        let texts: [&[u8]; 7] = [
            b"path=a=b",
            b"size=42",
            b"mtime=12.5000001",
            b"uid=",
            b"uid=1000000",
            b"SCHILY.xattr.user.k=a\0\n",
            b"LIBARCHIVE.xattr.u%2ek=YQ",
        ];
        let records = parsed(&texts.map(record).concat()).unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"a=b"[..]));
        assert_eq!(records.size, Some(42));
        assert_eq!(records.mtime, Some(Time { seconds: 12, nanoseconds: 500_000_100 }));
        assert_eq!(records.uid, Some(1_000_000));
        assert_eq!(
            records.xattrs,
            [(b"user.k".to_vec(), b"a\0\n".to_vec()), (b"u.k".to_vec(), b"a".to_vec())]
        );
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            &b"99 path=a\n"[..],
            b"9 path=a",
            b"9 path=ab",
            b"8 path=a\n",
            b"path=a\n",
            b"4 =\n",
            b"0 \n",
            b"99999999999999999999 a=b\n",
        ] {
            assert!(parsed(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        for text in [
            &b"path=a\0"[..],
            b"size=-1",
            b"size=1x",
            b"size=18446744073709551616",
            b"uid=4294967295",
            b"GNU.sparse.major=1",
            b"mtime=1x",
            b"LIBARCHIVE.xattr.%2=YQ",
            b"LIBARCHIVE.xattr.a=Y-",
            b"no-equals",
        ] {
            assert!(parsed(&record(text)).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-3"), Some(Time { seconds: -3, nanoseconds: 0 }));
    }

    #[test]
    fn global_headers_may_not_rename() {
        let mut records = Records::default();
        assert!(records.add(b"13 comment=a\n", Scope::Global).is_ok());
        assert!(records.add(b"9 path=a\n", Scope::Global).is_err());
        assert_eq!(records, Records::default());
    }
}
