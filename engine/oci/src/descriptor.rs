//! Descriptors. Spec: image-spec, descriptor.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::null_default;
use crate::{Digest, Platform};

/// Keys of annotations the engine reads or writes.
pub mod annotation {
    /// Full image name, as containerd and Docker write it.
    pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";
    /// Tag or full name, as the image-spec has it (annotations.md).
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// BuildKit's mark on manifests that are about another manifest.
    pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
}

/// Media type, digest and size of something elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are, see [`crate::media_type`].
    #[serde(default, deserialize_with = "null_default")]
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Other places to fetch it from; never used without being asked.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free text by key.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// What it runs on; set in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of the artifact, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with nothing but the three that are always there. `size` is in bytes.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// The descriptor of `bytes`, by sha256.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// Whether this is BuildKit's record about another manifest (provenance, SBOM), not an image.
    pub fn is_attestation(&self) -> bool {
        self.annotations.contains_key(annotation::REFERENCE_TYPE)
            || self.platform.as_ref().is_some_and(|platform| {
                platform.os == "unknown" && platform.architecture == "unknown"
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let digest = Digest::sha256(b"x");
        let text = format!(
            r#"{{"mediaType":"a/b","digest":"{digest}","size":7,"annotations":null,"later":[1]}}"#
        );
        let read: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(read, Descriptor::new("a/b", digest.clone(), 7));
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":7}}"#)
        );
        for bad in [
            format!(r#"{{"mediaType":"a","digest":"{digest}","size":-1}}"#),
            format!(r#"{{"mediaType":"a","digest":"{digest}"}}"#),
            r#"{"mediaType":"a","digest":"sha256:../..","size":1}"#.to_owned(),
            r#"{"mediaType":"a","size":1}"#.to_owned(),
        ] {
            assert!(serde_json::from_str::<Descriptor>(&bad).is_err(), "{bad}");
        }
    }
}
