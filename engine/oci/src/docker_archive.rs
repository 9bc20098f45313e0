//! `manifest.json` of a docker-archive, what `docker save` writes.

use serde::{Deserialize, Serialize, Serializer};

use crate::lenient::null_default;
use crate::parse::{MAX_MANIFEST_BYTES, ParseDocumentError, invalid, json};

/// One image of a docker-archive. Paths are members of the archive, not yet looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ArchiveImage {
    /// Path of the image config.
    pub config: String,
    /// Names to give it; may be none.
    #[serde(default, deserialize_with = "null_default", serialize_with = "null_for_none")]
    pub repo_tags: Vec<String>,
    /// Paths of the layers, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<String>,
}

/// As Docker writes names: `null` for none.
fn null_for_none<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    Some(names).filter(|names| !names.is_empty()).serialize(serializer)
}

/// Writes `manifest.json`.
pub fn archive_manifest(images: &[ArchiveImage]) -> Vec<u8> {
    serde_json::to_vec(images).expect("texts and lists of them")
}

/// Reads `manifest.json`.
///
/// # Errors
/// Too large, not JSON of this shape, or without any image.
pub fn parse_archive_manifest(bytes: &[u8]) -> Result<Vec<ArchiveImage>, ParseDocumentError> {
    let images: Vec<ArchiveImage> = json("manifest.json", bytes, MAX_MANIFEST_BYTES)?;
    if images.is_empty() {
        return Err(invalid("manifest.json", "it lists no image"));
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_and_bad() {
        let text = br#"[{"Config":"a.json","RepoTags":null,"Layers":["x/layer.tar"],
            "LayerSources":{"sha256:x":{}}}]"#;
        let images = parse_archive_manifest(text).unwrap();
        assert_eq!(images[0].config, "a.json");
        assert!(images[0].repo_tags.is_empty());
        assert_eq!(images[0].layers, ["x/layer.tar"]);
        let again = archive_manifest(&images);
        assert!(again.starts_with(br#"[{"Config":"a.json","RepoTags":null,"Layers":["x/"#));
        assert_eq!(parse_archive_manifest(&again).unwrap(), images);
        for bad in [&b""[..], b"{}", b"[]", b"null", b"[{}]", br#"[{"Config":1}]"#] {
            assert!(parse_archive_manifest(bad).is_err());
        }
    }
}
