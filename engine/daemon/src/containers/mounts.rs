//! What a client wants mounted, out of its four ways to say so: `Binds`, `Mounts`, `Tmpfs` and
//! `Volumes`, the last of them also the image's.

use super::host::size;
use super::name;
use crate::error::ApiError;
use hull_api::{ContainerConfig, HostConfig, Mount, MountPoint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// Docker's words for a source that is not there.
const MISSING: &str = "bind source path does not exist";

/// One mount of a container, as its record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMount {
    /// Absolute path in the container, cleaned.
    pub(crate) destination: String,
    /// What is mounted.
    pub(crate) source: Source,
    /// Read-only.
    #[serde(default)]
    pub(crate) readonly: bool,
    /// The options as they were given, for inspection.
    #[serde(default)]
    pub(crate) mode: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A path of the host.
    Bind {
        /// Absolute.
        path: String,
        /// Create a directory there if there is nothing (`-v`, as Docker does).
        create: bool,
        /// With the mounts below it.
        recursive: bool,
    },
    /// A volume.
    Volume {
        /// Its name; empty until an anonymous one was made.
        name: String,
        /// It goes with the container.
        anonymous: bool,
        /// Fill it from the image while it is empty.
        copy: bool,
        /// Labels, if it is made.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Bytes; none for the kernel's default.
        size: Option<u64>,
        /// Mode of its root.
        mode: Option<u32>,
        /// Programs may run from it.
        exec: bool,
    },
}

/// All mounts of a container, parents before what lies in them. `mounts_of` finds those of
/// another container.
///
/// # Errors
/// What cannot be mounted, or twice at one place, in Docker's words where it has some.
pub(crate) fn plan(
    config: &ContainerConfig,
    host: &HostConfig,
    mounts_of: impl Fn(&str) -> Result<Vec<StoredMount>, ApiError>,
) -> Result<Vec<StoredMount>, ApiError> {
    let mut mounts: Vec<StoredMount> = Vec::new();
    let mut add = |mount: StoredMount| {
        if mounts.iter().any(|other| other.destination == mount.destination) {
            return Err(ApiError::invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        mounts.push(mount);
        Ok(())
    };
    for bind in &host.binds {
        add(parse_bind(bind)?)?;
    }
    for mount in &host.mounts {
        add(parse_mount(mount)?)?;
    }
    for (path, options) in &host.tmpfs {
        add(parse_tmpfs(path, options)?)?;
    }
    for from in &host.volumes_from {
        for mount in inherited(from, &mounts_of)? {
            // What the client asked for at this place, or an earlier container had there, holds.
            if mounts.iter().all(|other| other.destination != mount.destination) {
                mounts.push(mount);
            }
        }
    }
    for path in config.volumes.keys() {
        let destination = destination(path)?;
        // A mount the client asked for takes the place of the volume.
        if mounts.iter().all(|mount| mount.destination != destination) {
            mounts.push(anonymous(destination));
        }
    }
    mounts.sort_by_key(|mount| mount.destination.matches('/').count());
    Ok(mounts)
}

/// The binds and volumes of another container, `name[:mode]`. They stay the other's: volumes do
/// not go with this one.
fn inherited(
    from: &str,
    mounts_of: impl Fn(&str) -> Result<Vec<StoredMount>, ApiError>,
) -> Result<Vec<StoredMount>, ApiError> {
    let (name, mode) = from.split_once(':').unwrap_or((from, ""));
    if name.is_empty() {
        return Err(ApiError::invalid(format!("malformed volumes-from specification: {from:?}")));
    }
    let mut readonly = false;
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => readonly = true,
            "rw" | "z" | "Z" => {}
            _ => return Err(ApiError::invalid(format!("invalid mode: {mode}"))),
        }
    }
    let mut mounts = mounts_of(name)?;
    mounts.retain(|mount| !matches!(mount.source, Source::Tmpfs { .. }));
    for mount in &mut mounts {
        mount.readonly |= readonly;
        mode.clone_into(&mut mount.mode);
        match &mut mount.source {
            Source::Volume { anonymous, copy, .. } => (*anonymous, *copy) = (false, false),
            Source::Bind { create, .. } => *create = false,
            Source::Tmpfs { .. } => {}
        }
    }
    Ok(mounts)
}

fn anonymous(destination: String) -> StoredMount {
    let source = Source::Volume {
        name: String::new(),
        anonymous: true,
        copy: true,
        labels: BTreeMap::new(),
    };
    StoredMount { destination, source, readonly: false, mode: String::new() }
}

/// `source:/destination[:options]` or `/destination`.
fn parse_bind(text: &str) -> Result<StoredMount, ApiError> {
    let invalid =
        |why: &str| ApiError::invalid(format!("invalid volume specification: '{text}'{why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => return Ok(anonymous(destination(target)?)),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(invalid("")),
    };
    if source.is_empty() || target.is_empty() {
        return Err(invalid(": empty section between colons"));
    }
    let destination = destination(target)?;
    let (mut readonly, mut copy) = (false, true);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => readonly = true,
            "nocopy" => copy = false,
            // Labels for SELinux are for hosts that have it; the others are the default.
            "rw" | "z" | "Z" | "rprivate" | "private" | "consistent" | "cached" | "delegated" => {}
            "shared" | "rshared" | "slave" | "rslave" => {
                return Err(invalid(": mount propagation is not available in this release"));
            }
            _ => return Err(invalid(&format!(": invalid mode: {option}"))),
        }
    }
    let source = if source.starts_with('/') {
        Source::Bind { path: clean(source), create: true, recursive: true }
    } else {
        name::check("volume", source)
            .map_err(|error| error.hint("a bind mount's source is an absolute path on the host"))?;
        let labels = BTreeMap::new();
        Source::Volume { name: source.to_owned(), anonymous: false, copy, labels }
    };
    Ok(StoredMount { destination, source, readonly, mode: options.to_owned() })
}

fn parse_mount(mount: &Mount) -> Result<StoredMount, ApiError> {
    let invalid = |why: &str| {
        ApiError::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind))
    };
    if mount.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let destination = destination(&mount.target)?;
    let for_kind = |kind: &str, given: bool, options: &str| {
        if given && mount.kind != kind {
            return Err(invalid(&format!("field {options} must not be specified")));
        }
        Ok(())
    };
    for_kind("bind", mount.bind_options.is_some(), "BindOptions")?;
    for_kind("volume", mount.volume_options.is_some(), "VolumeOptions")?;
    for_kind("tmpfs", mount.tmpfs_options.is_some(), "TmpfsOptions")?;
    let source = match mount.kind.as_str() {
        "bind" => bind_source(mount).map_err(|why| {
            let error = invalid(&why);
            if why.starts_with(MISSING) {
                error.hint("create it, or use -v, which creates a missing directory")
            } else {
                error
            }
        })?,
        "volume" => volume_source(mount).map_err(|why| invalid(&why))?,
        "tmpfs" if !mount.source.is_empty() => {
            return Err(invalid("field Source must not be specified"));
        }
        "tmpfs" => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let words = options.options.iter().map(|words| words.join("="));
            let text: Vec<String> = words.collect();
            let parsed = parse_tmpfs(&destination, &text.join(","))?;
            let Source::Tmpfs { size, mode, exec } = parsed.source else { return Ok(parsed) };
            let bytes = u64::try_from(options.size_bytes).ok().filter(|&bytes| bytes > 0);
            let root_mode = Some(options.mode).filter(|&mode| mode != 0);
            Source::Tmpfs { size: bytes.or(size), mode: root_mode.or(mode), exec }
        }
        "" => return Err(invalid("mount type unknown: \"\"")),
        other => {
            return Err(invalid(&format!("mount type {other:?} is not available in this release")));
        }
    };
    Ok(StoredMount { destination, source, readonly: mount.read_only, mode: String::new() })
}

fn bind_source(mount: &Mount) -> Result<Source, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !matches!(options.propagation.as_str(), "" | "rprivate" | "private") {
        return Err(format!(
            "propagation {:?} is not available in this release",
            options.propagation
        ));
    }
    if options.read_only_non_recursive {
        return Err(
            "a read-only mount with writable mounts in it is not available in this release"
                .to_owned(),
        );
    }
    let create = options.create_mountpoint;
    if !create && !Path::new(&mount.source).exists() {
        return Err(format!("{MISSING}: {}", mount.source));
    }
    Ok(Source::Bind { path: clean(&mount.source), create, recursive: !options.non_recursive })
}

fn volume_source(mount: &Mount) -> Result<Source, String> {
    let options = mount.volume_options.clone().unwrap_or_default();
    if !options.subpath.is_empty() {
        return Err("a part of a volume is not available in this release".to_owned());
    }
    let driver = options.driver_config.unwrap_or_default();
    if !matches!(driver.name.as_str(), "" | "local") || !driver.options.is_empty() {
        return Err("volume drivers and their options are not available in this release".to_owned());
    }
    if !mount.source.is_empty() {
        name::check("volume", &mount.source).map_err(|error| error.message)?;
    }
    Ok(Source::Volume {
        name: mount.source.clone(),
        anonymous: mount.source.is_empty(),
        copy: !options.no_copy,
        labels: options.labels,
    })
}

fn parse_tmpfs(path: &str, options: &str) -> Result<StoredMount, ApiError> {
    let destination = destination(path)?;
    let (mut readonly, mut exec) = (false, false);
    let (mut bytes, mut root_mode) = (None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let invalid =
            || ApiError::invalid(format!("invalid tmpfs option {option:?} for {destination}"));
        match option.split_once('=').unwrap_or((option, "")) {
            ("ro", "") => readonly = true,
            ("exec", "") => exec = true,
            ("noexec", "") => exec = false,
            ("rw" | "nosuid" | "nodev" | "relatime" | "noatime" | "rprivate" | "private", "") => {}
            ("size", text) => bytes = Some(size(text).ok_or_else(invalid)?),
            ("mode", text) => {
                let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777);
                root_mode = Some(mode.ok_or_else(invalid)?);
            }
            _ => return Err(invalid()),
        }
    }
    let source = Source::Tmpfs { size: bytes, mode: root_mode, exec };
    Ok(StoredMount { destination, source, readonly, mode: options.to_owned() })
}

fn destination(path: &str) -> Result<String, ApiError> {
    let invalid = |why: &str| Err(ApiError::invalid(format!("invalid mount path: '{path}' {why}")));
    if !path.starts_with('/') {
        return invalid("mount path must be absolute");
    }
    if path.contains('\0') {
        return invalid("holds a zero byte");
    }
    let cleaned = clean(path);
    if cleaned == "/" {
        return Err(ApiError::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(cleaned)
}

/// An absolute path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(part) => parts.extend(part.to_str()),
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

/// Mounts as inspection shows them. `mountpoint` tells where a volume lies on the host.
pub(crate) fn mount_points(
    mounts: &[StoredMount],
    mountpoint: impl Fn(&str) -> String,
) -> Vec<MountPoint> {
    let point = |mount: &StoredMount| {
        let shared = MountPoint {
            destination: mount.destination.clone(),
            mode: mount.mode.clone(),
            rw: !mount.readonly,
            ..Default::default()
        };
        match &mount.source {
            Source::Bind { path, .. } => MountPoint {
                kind: "bind".to_owned(),
                source: path.clone(),
                propagation: "rprivate".to_owned(),
                ..shared
            },
            Source::Volume { name, .. } => MountPoint {
                kind: "volume".to_owned(),
                source: mountpoint(name),
                name: name.clone(),
                driver: "local".to_owned(),
                ..shared
            },
            Source::Tmpfs { .. } => MountPoint { kind: "tmpfs".to_owned(), ..shared },
        }
    };
    mounts.iter().map(point).collect()
}

#[cfg(test)]
mod tests;
