//! What caches are asked for: `type=KIND,attribute=value`, as BuildKit takes it.

use std::collections::BTreeMap;

use hull_builder::mount::boolean;
use hull_oci::{Digest, Reference};
use hull_worker::job::Method;

use crate::build::output::check_level;
use crate::error::ApiError;
use crate::images::LayoutEntry;

/// The tag of a cache in a directory, where none is given.
const TAG: &str = "latest";

/// A cache to look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::build) enum Source {
    /// A cache of its own in a repository, or an image with one inside.
    Registry(Reference),
    /// An OCI layout on the engine's host.
    Folder {
        /// Absolute.
        path: String,
        /// Which entry of it.
        entry: LayoutEntry,
    },
}

/// Where a cache goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::build) enum Place {
    /// A tag in a repository.
    Registry(Reference),
    /// An OCI layout on the engine's host.
    Folder {
        /// Absolute.
        path: String,
        /// Its name in there.
        tag: String,
    },
    /// The config of the image that is built.
    Inline,
}

/// A cache to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::build) struct Target {
    pub(in crate::build) place: Place,
    /// Whether steps count that are not in the resulting image (`mode=max`).
    pub(in crate::build) all: bool,
    pub(in crate::build) method: Method,
    /// The method's own level.
    pub(in crate::build) level: Option<i32>,
    /// Whether the build succeeds without it (`ignore-error`).
    pub(in crate::build) is_optional: bool,
}

/// The attributes that are not used yet.
struct Attributes<'a> {
    /// Names the option in errors.
    what: String,
    left: BTreeMap<&'a str, &'a str>,
}

impl<'a> Attributes<'a> {
    fn new(option: &str, all: &'a BTreeMap<String, String>) -> Result<(Self, &'a str), ApiError> {
        let mut left: BTreeMap<&str, &str> =
            all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let Some(kind) = left.remove("type") else {
            return Err(ApiError::invalid(format!("{option} has no type"))
                .hint("there are type=registry, local and inline"));
        };
        Ok((Self { what: format!("{option} type={kind}"), left }, kind))
    }

    fn refused(&self, why: &str) -> ApiError {
        ApiError::invalid(format!("{} {why}", self.what))
    }

    fn needed(&mut self, name: &str) -> Result<&'a str, ApiError> {
        let found = self.left.remove(name).filter(|value| !value.is_empty());
        found.ok_or_else(|| self.refused(&format!("needs {name}")))
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.left.remove(name) {
            None => Ok(None),
            Some(value) => boolean(value)
                .map(Some)
                .ok_or_else(|| self.refused(&format!("{name}={value} is neither true nor false"))),
        }
    }

    fn reference(&mut self) -> Result<Reference, ApiError> {
        let text = self.needed("ref")?;
        let parsed = text.parse::<Reference>().map(Reference::with_default_tag);
        parsed.map_err(|error| self.refused(&format!("ref={text}: {error}")))
    }

    fn path(&mut self, name: &str) -> Result<String, ApiError> {
        let path = self.needed(name)?;
        match path.starts_with('/') {
            true => Ok(path.to_owned()),
            false => Err(self.refused(&format!("{name}={path} is no absolute path"))),
        }
    }

    fn end(self) -> Result<(), ApiError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.refused(&format!("has no attribute {name:?}"))),
        }
    }
}

impl Source {
    /// Reads `--cache-from`.
    ///
    /// # Errors
    /// Types and attributes that there are not, or that are missing.
    pub(in crate::build) fn parse(all: &BTreeMap<String, String>) -> Result<Self, ApiError> {
        let (mut attributes, kind) = Attributes::new("--cache-from", all)?;
        let source = match kind {
            "registry" => Self::Registry(attributes.reference()?),
            "local" => {
                let path = attributes.path("src")?;
                let tag = attributes.left.remove("tag").unwrap_or(TAG);
                let entry = match attributes.left.remove("digest") {
                    None => LayoutEntry::Tag(tag.to_owned()),
                    Some(text) => match text.parse::<Digest>() {
                        Ok(digest) => LayoutEntry::Digest(digest),
                        Err(error) => {
                            return Err(attributes.refused(&format!("digest={text}: {error}")));
                        }
                    },
                };
                Self::Folder { path, entry }
            }
            "inline" => {
                return Err(attributes
                    .refused("is no source")
                    .hint("the cache in an image is read with type=registry,ref=IMAGE"));
            }
            _ => return Err(unknown(&attributes)),
        };
        attributes.end()?;
        Ok(source)
    }

    /// How it is shown.
    pub(in crate::build) fn name(&self) -> String {
        match self {
            Self::Registry(reference) => reference.to_string(),
            Self::Folder { path, .. } => path.clone(),
        }
    }
}

impl Target {
    /// Reads `--cache-to`.
    ///
    /// # Errors
    /// Types and attributes that there are not, or that are missing, and values that make no
    /// sense.
    pub(in crate::build) fn parse(all: &BTreeMap<String, String>) -> Result<Self, ApiError> {
        let (mut attributes, kind) = Attributes::new("--cache-to", all)?;
        let place = match kind {
            "registry" => {
                let reference = attributes.reference()?;
                if reference.digest().is_some() {
                    return Err(attributes.refused(&format!(
                        "ref={reference}: the digest is known only when it is written"
                    )));
                }
                Place::Registry(reference)
            }
            "local" => {
                let path = attributes.path("dest")?;
                let tag = attributes.left.remove("tag").unwrap_or(TAG).to_owned();
                Place::Folder { path, tag }
            }
            "inline" => Place::Inline,
            _ => return Err(unknown(&attributes)),
        };
        let all = match attributes.left.remove("mode") {
            None | Some("min") => false,
            Some("max") if place == Place::Inline => {
                return Err(attributes
                    .refused("has mode=min only: the image has no layers of other stages")
                    .hint("mode=max is for type=registry and local"));
            }
            Some("max") => true,
            Some(mode) => return Err(attributes.refused(&format!("mode={mode} is not min or max"))),
        };
        let is_optional = attributes.flag("ignore-error")?.unwrap_or(false);
        let (mut method, mut level) = (Method::Gzip, None);
        if place != Place::Inline {
            method = match attributes.left.remove("compression") {
                None | Some("gzip") => Method::Gzip,
                Some("zstd") => Method::Zstd,
                Some(other) => {
                    return Err(
                        attributes.refused(&format!("compression={other} is not gzip or zstd"))
                    );
                }
            };
            if let Some(text) = attributes.left.remove("compression-level") {
                let number = text.parse::<i32>();
                let number = number.map_err(|_| {
                    attributes.refused(&format!("compression-level={text} is no number"))
                })?;
                check_level(method, number)?;
                level = Some(number);
            }
            // No layer of a step is ever compressed otherwise.
            attributes.flag("force-compression")?;
            for name in ["oci-mediatypes", "image-manifest"] {
                if attributes.flag(name)? == Some(false) {
                    return Err(attributes.refused(&format!("{name}=false is not supported")));
                }
            }
        }
        attributes.end()?;
        Ok(Self { place, all, method, level, is_optional })
    }
}

fn unknown(attributes: &Attributes<'_>) -> ApiError {
    attributes.refused("is not known").hint("there are type=registry, local and inline")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> BTreeMap<String, String> {
        text.split(',')
            .filter_map(|field| field.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[track_caller]
    fn to(text: &str) -> Target {
        Target::parse(&pairs(text)).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn sources() {
        let from = |text: &str| Source::parse(&pairs(text)).unwrap();
        let registry = |text: &str| Source::Registry(text.parse().unwrap());
        assert_eq!(from("type=registry,ref=h:5000/a/b"), registry("h:5000/a/b:latest"));
        assert_eq!(from("type=registry,ref=h:5000/a:1"), registry("h:5000/a:1"));
        let folder = |entry| Source::Folder { path: "/c".to_owned(), entry };
        assert_eq!(from("type=local,src=/c"), folder(LayoutEntry::Tag("latest".into())));
        assert_eq!(from("type=local,src=/c,tag=x"), folder(LayoutEntry::Tag("x".into())));
        let digest = Digest::sha256(b"x");
        let by_digest = folder(LayoutEntry::Digest(digest.clone()));
        assert_eq!(from(&format!("type=local,src=/c,digest={digest}")), by_digest);
    }

    #[test]
    fn targets() {
        let plain = to("type=registry,ref=h:5000/a:c");
        assert_eq!(plain.place, Place::Registry("h:5000/a:c".parse().unwrap()));
        assert!(!plain.all && !plain.is_optional && plain.method == Method::Gzip);
        let all = to("type=registry,ref=a,mode=max,compression=zstd,compression-level=9,\
                      force-compression=true,oci-mediatypes=true,image-manifest=true,\
                      ignore-error=true");
        assert!(all.all && all.is_optional && all.method == Method::Zstd && all.level == Some(9));
        let folder = Place::Folder { path: "/c".to_owned(), tag: "latest".to_owned() };
        assert_eq!(to("type=local,dest=/c,mode=min").place, folder);
        assert_eq!(to("type=inline").place, Place::Inline);
        assert_eq!(to("type=inline,mode=min").place, Place::Inline);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, part) in [
            ("ref=a", "--cache-from has no type"),
            ("type=gha", "--cache-from type=gha is not known"),
            ("type=inline", "is no source"),
            ("type=registry", "needs ref"),
            ("type=registry,ref=", "needs ref"),
            ("type=registry,ref=A B", "ref=A B"),
            ("type=registry,ref=a,src=/c", "has no attribute \"src\""),
            ("type=local", "needs src"),
            ("type=local,src=c", "is no absolute path"),
            ("type=local,src=/c,digest=x", "digest=x"),
        ] {
            let error = Source::parse(&pairs(text)).unwrap_err().message;
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
        let by_digest = format!("type=registry,ref=a@{}", Digest::sha256(b"x"));
        for (text, part) in [
            ("type=s3,bucket=x", "--cache-to type=s3 is not known"),
            ("type=azblob", "type=azblob is not known"),
            ("type=registry", "needs ref"),
            (by_digest.as_str(), "digest is known only"),
            ("type=local", "needs dest"),
            ("type=local,dest=/c,src=/d", "has no attribute \"src\""),
            ("type=local,dest=/c,mode=mid", "mode=mid is not min or max"),
            ("type=local,dest=/c,compression=estargz", "is not gzip or zstd"),
            ("type=local,dest=/c,compression-level=x", "is no number"),
            ("type=local,dest=/c,compression-level=10", "not between 0 and 9"),
            ("type=local,dest=/c,image-manifest=false", "image-manifest=false is not supported"),
            ("type=local,dest=/c,ignore-error=perhaps", "neither true nor false"),
            ("type=inline,mode=max", "has mode=min only"),
            ("type=inline,ref=a", "has no attribute \"ref\""),
        ] {
            let error = Target::parse(&pairs(text)).unwrap_err().message;
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
