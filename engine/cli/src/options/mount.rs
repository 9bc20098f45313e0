//! `--volume`, `--mount` and `--tmpfs`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hull_api::{BindOptions, DriverConfig, Mount, TmpfsOptions, VolumeOptions};

use super::units;

/// `source:target[:options]` with a relative source made absolute: the engine does not know
/// this command's directory.
pub(super) fn bind(text: &str) -> Result<String> {
    let (source, rest) = text.split_once(':').unwrap_or((text, ""));
    if source.is_empty() {
        bail!("invalid volume specification: {text:?}: it has no source");
    }
    let relative =
        source == "." || source == ".." || source.starts_with("./") || source.starts_with("../");
    if !relative {
        return Ok(text.to_owned());
    }
    let absolute = std::fs::canonicalize(source)
        .or_else(|_| std::path::absolute(source))
        .with_context(|| format!("cannot make {source} absolute"))?;
    let absolute = absolute.to_str().with_context(|| format!("{source} is not text"))?;
    Ok(format!("{absolute}:{rest}"))
}

/// `path[:options]`.
pub(super) fn tmpfs(text: &str) -> (String, String) {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    (path.to_owned(), options.to_owned())
}

/// `type=bind,source=/a,target=/b,readonly` with every key that Docker knows.
pub(super) fn parse(text: &str) -> Result<Mount> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    let mut parts = Parts::default();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("readonly" | "ro", value) => mount.read_only = truth(&field, value.as_deref())?,
            ("volume-nocopy", value) => parts.volume().no_copy = truth(&field, value.as_deref())?,
            ("bind-nonrecursive", value) => {
                parts.bind().non_recursive = truth(&field, value.as_deref())?;
            }
            (_, None) => bail!("invalid field '{field}' must be a key=value pair"),
            ("type", Some(value)) => mount.kind = value.to_ascii_lowercase(),
            ("source" | "src", Some(value)) => mount.source = value,
            ("target" | "dst" | "destination", Some(value)) => mount.target = value,
            ("consistency", Some(value)) => mount.consistency = value,
            ("bind-propagation", Some(value)) => parts.bind().propagation = value,
            ("bind-recursive", Some(value)) => recursive(parts.bind(), &value)?,
            ("volume-driver", Some(value)) => parts.driver().name = value,
            ("volume-opt", Some(value)) => insert(&mut parts.driver().options, &value),
            ("volume-label", Some(value)) => insert(&mut parts.volume().labels, &value),
            ("volume-subpath", Some(value)) => parts.volume().subpath = value,
            ("tmpfs-size", Some(value)) => {
                parts.tmpfs().size_bytes = units::bytes("mount", &value)?;
            }
            ("tmpfs-mode", Some(value)) => {
                parts.tmpfs().mode = u32::from_str_radix(&value, 8)
                    .ok()
                    .with_context(|| format!("invalid value for tmpfs-mode: {value}"))?;
            }
            (key, Some(_)) => bail!("unexpected key '{key}' in '{field}'"),
        }
    }
    if mount.target.is_empty() {
        bail!("invalid argument {text:?} for \"--mount\" flag: target is required");
    }
    if mount.kind == "bind" && !mount.source.is_empty() && !Path::new(&mount.source).is_absolute() {
        let absolute = std::path::absolute(&mount.source)?;
        mount.source = absolute.to_str().context("the directory's name is not text")?.to_owned();
    }
    for (kind, given) in [
        ("bind", parts.bind.is_some()),
        ("volume", parts.volume.is_some()),
        ("tmpfs", parts.tmpfs.is_some()),
    ] {
        if given && mount.kind != kind {
            bail!("cannot mix '{kind}-*' options with mount type '{}'", mount.kind);
        }
    }
    mount.bind_options = parts.bind;
    mount.volume_options = parts.volume;
    mount.tmpfs_options = parts.tmpfs;
    Ok(mount)
}

/// The options of one kind of mount each.
#[derive(Debug, Default)]
struct Parts {
    bind: Option<BindOptions>,
    volume: Option<VolumeOptions>,
    tmpfs: Option<TmpfsOptions>,
}

impl Parts {
    fn bind(&mut self) -> &mut BindOptions {
        self.bind.get_or_insert_default()
    }

    fn volume(&mut self) -> &mut VolumeOptions {
        self.volume.get_or_insert_default()
    }

    fn driver(&mut self) -> &mut DriverConfig {
        self.volume().driver_config.get_or_insert_default()
    }

    fn tmpfs(&mut self) -> &mut TmpfsOptions {
        self.tmpfs.get_or_insert_default()
    }
}

fn insert(map: &mut BTreeMap<String, String>, pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.insert(name.to_owned(), value.to_owned());
}

fn truth(field: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("1" | "true" | "True" | "TRUE" | "t") => Ok(true),
        Some("0" | "false" | "False" | "FALSE" | "f") => Ok(false),
        Some(value) => {
            bail!("invalid value for {}: {value}", field.split('=').next().unwrap_or(field))
        }
    }
}

fn recursive(options: &mut BindOptions, value: &str) -> Result<()> {
    match value {
        "enabled" => {}
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => bail!(
            "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
        ),
    }
    Ok(())
}

/// Fields between commas; one in double quotes may hold commas, and quotes as `""` (RFC 4180).
fn fields(text: &str) -> Result<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().context("no field")?;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => field.push(letter),
        }
    }
    if quoted {
        bail!("invalid argument {text:?} for \"--mount\" flag: a quote is not closed");
    }
    Ok(fields)
}
