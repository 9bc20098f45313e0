//! Manifests and indexes. Spec: image-spec, manifest.md, image-index.md, image-layout.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Descriptor;
use crate::lenient::null_default;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST, is_index, is_manifest};
use crate::parse::{MAX_MANIFEST_BYTES, ParseDocumentError, invalid, json};

/// One image for one platform: its config and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The type it claims; may be absent in OCI documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of the artifact, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free text by key.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, usually one per platform, possibly of further indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The type it claims; may be absent in OCI documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of the artifact, when it is no list of images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What it lists.
    #[serde(deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<Descriptor>>,
    /// Free text by key.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// A list.
    Index(Index),
}

/// The `oci-layout` file at the root of an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// Version of the layout; 1.0.0 is the only one there is.
    pub image_layout_version: String,
}

/// What a document claims to be, read before anything else is believed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Claim {
    fn read(what: &'static str, bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        let claim: Self = json(what, bytes, MAX_MANIFEST_BYTES)?;
        if claim.schema_version != 2 {
            return Err(invalid(what, format!("schema version {}, not 2", claim.schema_version)));
        }
        // One set of bytes must not mean two things to two readers (image-spec,
        // GHSA-77vh-xpmg-72qh): the fields decide, and the media type must agree with them.
        let image = claim.config.is_some() || claim.layers.is_some() || claim.fs_layers.is_some();
        if image && claim.manifests.is_some() {
            return Err(invalid(what, "it has fields of both a manifest and an index"));
        }
        Ok(claim)
    }

    fn expect(self, what: &'static str, fits: fn(&str) -> bool) -> Result<(), ParseDocumentError> {
        match self.media_type {
            Some(media_type) if !fits(&media_type) => {
                Err(invalid(what, format!("it says it is {media_type:?}")))
            }
            _ => Ok(()),
        }
    }
}

impl Manifest {
    /// An OCI image manifest of these layers, lowest first.
    pub fn of(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The document, as it is to be hashed and stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has text keys")
    }

    /// Reads a manifest of at most [`MAX_MANIFEST_BYTES`].
    ///
    /// # Errors
    /// Too large, not JSON of this shape, another schema version or media type, or fields of an
    /// index beside its own.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        Claim::read("manifest", bytes)?.expect("manifest", is_manifest)?;
        json("manifest", bytes, MAX_MANIFEST_BYTES)
    }
}

impl Index {
    /// An OCI index of these manifests or further indexes.
    pub fn of(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The document, as it is to be hashed and stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an index has text keys")
    }

    /// Reads an index of at most [`MAX_MANIFEST_BYTES`].
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        Claim::read("index", bytes)?.expect("index", is_index)?;
        json("index", bytes, MAX_MANIFEST_BYTES)
    }
}

impl Document {
    /// Reads a manifest or an index, told apart by its fields.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        let claim = Claim::read("manifest", bytes)?;
        if claim.manifests.is_some() {
            Index::parse(bytes).map(Self::Index)
        } else {
            Manifest::parse(bytes).map(|manifest| Self::Manifest(Box::new(manifest)))
        }
    }
}

impl Layout {
    /// Reads an `oci-layout` file.
    ///
    /// # Errors
    /// Not JSON of this shape, or a major version other than 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        let layout: Self = json("oci-layout", bytes, 4096)?;
        if !layout.image_layout_version.starts_with("1.") {
            let reason = format!("layout version {:?} is unknown", layout.image_layout_version);
            return Err(invalid("oci-layout", reason));
        }
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> String {
        format!(r#"{{"mediaType":"a/b","digest":"{}","size":1}}"#, crate::Digest::sha256(b""))
    }

    #[test]
    fn good() {
        let descriptor = descriptor();
        for (extra, text) in [
            ("typed", format!(r#""mediaType":"{OCI_MANIFEST}","#)),
            ("untyped", String::new()),
            ("null annotations", r#""annotations":null,"#.to_owned()),
            ("unknown field", r#""later":{"a":[1]},"#.to_owned()),
        ] {
            let text = format!(
                r#"{{"schemaVersion":2,{text}"config":{descriptor},"layers":[{descriptor}]}}"#
            );
            let Document::Manifest(manifest) = Document::parse(text.as_bytes()).unwrap() else {
                panic!("{extra}")
            };
            let again = serde_json::to_vec(&manifest).unwrap();
            assert_eq!(Manifest::parse(&again).unwrap(), *manifest, "{extra}");
        }
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{descriptor}]}}"#
        );
        assert!(matches!(Document::parse(index.as_bytes()).unwrap(), Document::Index(_)));
        assert!(Layout::parse(br#"{"imageLayoutVersion":"1.0.0"}"#).is_ok());
    }

    #[test]
    fn refused() {
        let one = descriptor();
        for text in [
            String::new(),
            "[]".to_owned(),
            "{}".to_owned(),
            format!(r#"{{"schemaVersion":1,"config":{one},"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{one}}}"#),
            format!(r#"{{"schemaVersion":2,"layers":[{one}]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{one},"layers":[],"manifests":[]}}"#),
            r#"{"schemaVersion":2,"fsLayers":[],"manifests":[]}"#.to_owned(),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","config":{one},"layers":[]}}"#
            ),
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","manifests":[{one}]}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[{one}]}} trailing"#),
            "[".repeat(100_000),
        ] {
            assert!(Document::parse(text.as_bytes()).is_err(), "{text:.80}");
        }
        let huge = vec![b' '; MAX_MANIFEST_BYTES + 1];
        assert!(matches!(Document::parse(&huge), Err(ParseDocumentError::TooLarge { .. })));
        assert!(Layout::parse(br#"{"imageLayoutVersion":"2.0.0"}"#).is_err());
    }
}
