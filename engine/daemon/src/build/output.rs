//! What an output is asked for: `type=KIND,attribute=value`, as BuildKit's exporters take it.

use std::collections::BTreeMap;

use hull_api::ErrorKind;
use hull_api::build::{BuildRequest, Output};
use hull_builder::mount::boolean;
use hull_oci::{Platform, Reference};
use hull_worker::job::Method;

use crate::error::ApiError;
use crate::images::new_name;

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An image in the store.
    Store,
    /// An archive of one, which is docker-archive and OCI layout.
    Archive,
    /// The same as a directory.
    Layout,
    /// The root file system as a tar.
    Tar,
    /// The root file system in a directory.
    Directory,
}

/// How layers are to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// They are plain.
    None,
    /// They are compressed.
    By(Method),
}

/// What an annotation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Manifest,
    Index,
    /// The entry of a manifest in the index.
    Descriptor,
}

/// An annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotation {
    pub(super) level: Level,
    /// Of manifests only: for which platform, all without one.
    platform: Option<Platform>,
    pub(super) key: String,
    pub(super) value: String,
}

/// An output, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    /// Its type as it was written.
    pub(super) name: String,
    /// Absolute; empty where nothing is written to.
    pub(super) path: String,
    /// Whether it goes to a registry too.
    pub(super) pushes: bool,
    /// `None` leaves layers as they are.
    pub(super) compression: Option<Compression>,
    /// The method's own level.
    pub(super) level: Option<i32>,
    /// Whether layers of the base are compressed anew.
    pub(super) force: bool,
    /// Whether documents have Docker's media types.
    pub(super) docker_types: bool,
    pub(super) annotations: Vec<Annotation>,
}

impl Annotation {
    /// Whether it is of the manifest for `platform`, at this level.
    pub(super) fn is_of(&self, level: Level, platform: &Platform) -> bool {
        self.level == level && self.platform.as_ref().is_none_or(|wanted| wanted.matches(platform))
    }
}

impl Wanted {
    /// All outputs of a request; without any, an image in the store.
    ///
    /// # Errors
    /// Attributes that there are not, and values that make no sense or do not go together.
    pub(super) fn all(request: &BuildRequest) -> Result<Vec<Self>, ApiError> {
        let default = [Output { kind: "image".to_owned(), attributes: BTreeMap::new() }];
        let outputs = match request.outputs.as_slice() {
            [] => default.as_slice(),
            outputs => outputs,
        };
        let named = !names(request)?.is_empty();
        let wanted = |output| {
            let mut wanted = Self::parse(output)?;
            if wanted.pushes && !named {
                return Err(ApiError::invalid("what is to be pushed has no name")
                    .hint("name it with --tag"));
            }
            for (key, value) in &request.annotations {
                wanted.annotations.extend(of_option(key, value)?);
            }
            Ok(wanted)
        };
        outputs.iter().map(wanted).collect()
    }

    fn parse(output: &Output) -> Result<Self, ApiError> {
        let attributes = &output.attributes;
        let has_path = attributes.contains_key("dest");
        let flag = |name: &str| match attributes.get(name).map(String::as_str) {
            None => Ok(None),
            Some("") => Ok(Some(true)),
            Some(value) => boolean(value).map(Some).ok_or_else(|| {
                ApiError::invalid(format!("{name}={value} of an output is neither true nor false"))
            }),
        };
        let as_tar = flag("tar")?.unwrap_or(true);
        let kind = match output.kind.as_str() {
            "" | "image" | "registry" => Kind::Store,
            "docker" if !has_path => Kind::Store,
            "oci" | "docker" if as_tar => Kind::Archive,
            "oci" | "docker" => Kind::Layout,
            "tar" => Kind::Tar,
            "local" => Kind::Directory,
            other => {
                return Err(ApiError::invalid(format!("unknown output type {other:?}"))
                    .hint("there are image, registry, docker, oci, tar and local"));
            }
        };
        let name = output.kind.clone();
        let path = attributes.get("dest").cloned().unwrap_or_default();
        if kind != Kind::Store && !path.starts_with('/') {
            return Err(ApiError::invalid(format!(
                "output type {name} needs an absolute path as dest"
            )));
        }
        let mut wanted = Self {
            kind,
            pushes: name == "registry" || flag("push")?.unwrap_or(false),
            name,
            path,
            compression: None,
            level: None,
            force: flag("force-compression")?.unwrap_or(false),
            docker_types: !flag("oci-mediatypes")?.unwrap_or(true),
            annotations: Vec::new(),
        };
        let is_image = !matches!(kind, Kind::Tar | Kind::Directory);
        for (key, value) in attributes {
            wanted.attribute(key, value, is_image)?;
        }
        for refused in ["push-by-digest", "registry.insecure", "name-canonical"] {
            if flag(refused)? == Some(true) {
                let error = unsupported(refused, "true");
                return Err(match refused {
                    "registry.insecure" => {
                        error.hint("list the registry as insecure in registries.toml")
                    }
                    _ => error,
                });
            }
        }
        if flag("rewrite-timestamp")? == Some(false) {
            return Err(unsupported("rewrite-timestamp", "false")
                .hint("no time in a layer is ever later than SOURCE_DATE_EPOCH"));
        }
        wanted.settle()?;
        Ok(wanted)
    }

    fn attribute(&mut self, key: &str, value: &str, is_image: bool) -> Result<(), ApiError> {
        match key {
            "dest" => {}
            "platform-split" if self.kind == Kind::Directory => {}
            "compression" if is_image => {
                self.compression = match value {
                    "gzip" => Some(Compression::By(Method::Gzip)),
                    "zstd" => Some(Compression::By(Method::Zstd)),
                    "uncompressed" => Some(Compression::None),
                    other => {
                        return Err(
                            unsupported(key, other).hint("there are gzip, zstd and uncompressed")
                        );
                    }
                }
            }
            "compression-level" if is_image => {
                self.level = Some(value.parse().map_err(|_| {
                    ApiError::invalid(format!("{key}={value} of an output is no number"))
                })?);
            }
            "name"
            | "push"
            | "force-compression"
            | "oci-mediatypes"
            | "rewrite-timestamp"
            | "tar"
            | "push-by-digest"
            | "registry.insecure"
            | "name-canonical"
            | "unpack"
            | "store"
            | "dangling-name-prefix"
                if is_image => {}
            key if is_image && key.starts_with("annotation") => {
                let (place, name) = key.split_once('.').unwrap_or((key, ""));
                let place = place.strip_prefix("annotation").unwrap_or_default();
                self.annotations.push(annotation(place.trim_start_matches('-'), name, value)?);
            }
            key => {
                return Err(ApiError::invalid(format!(
                    "output type {} has no attribute {key:?}",
                    self.name
                )));
            }
        }
        Ok(())
    }

    /// Refuses what does not go together.
    fn settle(&mut self) -> Result<(), ApiError> {
        if self.docker_types && self.compression.is_none() {
            // What Docker's media types were made for.
            self.compression = Some(Compression::By(Method::Gzip));
        }
        if let Some(level) = self.level {
            let Some(Compression::By(method)) = self.compression else {
                return Err(ApiError::invalid("compression-level needs compression=gzip or zstd"));
            };
            check_level(method, level)?;
        }
        self.settle_compression()
    }

    fn settle_compression(&self) -> Result<(), ApiError> {
        let by = self.compression;
        if self.docker_types && by == Some(Compression::By(Method::Zstd)) {
            return Err(ApiError::invalid("compression=zstd needs oci-mediatypes=true"));
        }
        if self.pushes && by == Some(Compression::None) {
            return Err(unsupported("compression", "uncompressed")
                .hint("layers that are pushed are compressed with gzip or zstd"));
        }
        if self.force && by.is_none() {
            return Err(ApiError::invalid("force-compression needs compression"));
        }
        Ok(())
    }

    /// How layers are compressed that go to a registry.
    pub(super) fn method(&self) -> Method {
        match self.compression {
            Some(Compression::By(method)) => method,
            _ => Method::Gzip,
        }
    }
}

/// Refuses a level that a method does not have.
pub(super) fn check_level(method: Method, level: i32) -> Result<(), ApiError> {
    let levels = match method {
        Method::Gzip => 0..=9,
        Method::Zstd => 1..=22,
    };
    match levels.contains(&level) {
        true => Ok(()),
        false => Err(ApiError::invalid(format!(
            "compression-level={level} is not between {} and {}",
            levels.start(),
            levels.end()
        ))),
    }
}

/// The annotations that `--annotation PLACE[PLATFORM],PLACE:KEY` means.
fn of_option(key: &str, value: &str) -> Result<Vec<Annotation>, ApiError> {
    let places = key
        .split_once(':')
        .filter(|(places, _)| ["manifest", "index"].iter().any(|place| places.starts_with(place)));
    let (places, key) = places.unwrap_or(("manifest", key));
    places.split(',').map(|place| annotation(place, key, value)).collect()
}

/// An annotation of `manifest`, `index`, `manifest-descriptor`, or `manifest[linux/amd64]`.
fn annotation(place: &str, key: &str, value: &str) -> Result<Annotation, ApiError> {
    let refused = |why: &str| {
        ApiError::invalid(format!("annotation {key:?} of {place:?}: {why}"))
            .hint("annotations are of manifest, manifest[PLATFORM], manifest-descriptor or index")
    };
    let (level, platform) = match place.split_once('[') {
        Some((level, rest)) => {
            let text = rest.strip_suffix(']').ok_or_else(|| refused("a bracket does not close"))?;
            let platform = text.parse::<Platform>().map_err(|error| refused(&error.to_string()))?;
            (level, Some(platform))
        }
        None => (place, None),
    };
    let level = match level {
        "" | "manifest" => Level::Manifest,
        "index" => Level::Index,
        "manifest-descriptor" => Level::Descriptor,
        _ => return Err(refused("there is no such place")),
    };
    if key.is_empty() {
        return Err(refused("it has no key"));
    }
    Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
}

fn unsupported(key: &str, value: &str) -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        format!("{key}={value} is not supported by builds of this engine"),
    )
}

/// The names that the image gets.
pub(super) fn names(request: &BuildRequest) -> Result<Vec<Reference>, ApiError> {
    let of_outputs = request.outputs.iter().filter_map(|output| output.attributes.get("name"));
    let texts = request.tags.iter().map(String::as_str);
    let all =
        texts.chain(of_outputs.flat_map(|names| names.split(','))).filter(|name| !name.is_empty());
    let mut names: Vec<Reference> = Vec::new();
    for text in all {
        let name = new_name(text, None)
            .map_err(|error| ApiError::from(error).context(&format!("invalid tag {text:?}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: &str, pairs: &[(&str, &str)]) -> Result<Wanted, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let attributes = pairs.iter().map(own).collect();
        Wanted::parse(&Output { kind: kind.to_owned(), attributes }).map_err(|error| error.message)
    }

    #[test]
    fn what_there_is() {
        let plain = wanted("image", &[]).unwrap();
        assert_eq!((plain.kind, plain.compression, plain.pushes), (Kind::Store, None, false));
        let all = wanted(
            "oci",
            &[
                ("dest", "/x"),
                ("compression", "zstd"),
                ("compression-level", "19"),
                ("force-compression", "true"),
                ("rewrite-timestamp", "1"),
                ("annotation.a", "1"),
                ("annotation-manifest[linux/arm64].b", "2"),
                ("annotation-index.c", "3"),
                ("name", "n"),
            ],
        )
        .unwrap();
        assert_eq!(all.compression, Some(Compression::By(Method::Zstd)));
        assert_eq!((all.kind, all.level, all.force), (Kind::Archive, Some(19), true));
        let amd64 = "linux/amd64".parse().unwrap();
        let arm64 = "linux/arm64".parse().unwrap();
        let keys = |level, platform: &Platform| -> String {
            let of = all.annotations.iter().filter(|one| one.is_of(level, platform));
            of.map(|one| one.key.as_str()).collect()
        };
        assert_eq!(keys(Level::Manifest, &amd64), "a");
        assert_eq!(keys(Level::Manifest, &arm64).len(), 2);
        assert_eq!(keys(Level::Index, &amd64), "c");
        assert_eq!(
            wanted("docker", &[("dest", "/d"), ("tar", "false")]).unwrap().kind,
            Kind::Layout
        );
        let docker = wanted("image", &[("oci-mediatypes", "false")]).unwrap();
        assert!(docker.docker_types);
        assert_eq!(docker.compression, Some(Compression::By(Method::Gzip)));
        assert!(wanted("image", &[("push", "")]).unwrap().pushes);
        assert!(!wanted("image", &[("push", "false")]).unwrap().pushes);
    }

    #[test]
    fn what_is_refused() {
        for (kind, pairs, message) in [
            ("wat", &[][..], "unknown output type"),
            ("oci", &[], "needs an absolute path"),
            ("image", &[("compresion", "gzip")], "has no attribute \"compresion\""),
            ("image", &[("compression", "estargz")], "compression=estargz is not supported"),
            ("image", &[("compression-level", "3")], "needs compression"),
            ("image", &[("compression", "gzip"), ("compression-level", "11")], "between 0 and 9"),
            ("image", &[("compression", "gzip"), ("compression-level", "x")], "is no number"),
            ("image", &[("force-compression", "true")], "needs compression"),
            ("image", &[("force-compression", "perhaps")], "neither true nor false"),
            ("registry", &[("compression", "uncompressed")], "uncompressed is not supported"),
            (
                "image",
                &[("oci-mediatypes", "false"), ("compression", "zstd")],
                "needs oci-mediatypes",
            ),
            ("image", &[("push-by-digest", "true")], "push-by-digest=true is not supported"),
            ("image", &[("rewrite-timestamp", "false")], "rewrite-timestamp=false"),
            ("image", &[("annotation-wat.x", "y")], "there is no such place"),
            ("image", &[("annotation.", "y")], "it has no key"),
            ("local", &[("dest", "/x"), ("compression", "gzip")], "has no attribute"),
        ] {
            let error = wanted(kind, pairs).unwrap_err();
            assert!(error.contains(message), "{kind} {pairs:?}: {error}");
        }
    }

    #[test]
    fn options_for_annotations() {
        let levels = |key: &str| -> Vec<Level> {
            of_option(key, "v").unwrap().iter().map(|one| one.level).collect()
        };
        assert_eq!(levels("org.x"), [Level::Manifest]);
        assert_eq!(levels("index:org.x"), [Level::Index]);
        assert_eq!(levels("index,manifest[linux/amd64]:a"), [Level::Index, Level::Manifest]);
        assert_eq!(of_option("urn:x", "v").unwrap()[0].key, "urn:x");
    }
}
