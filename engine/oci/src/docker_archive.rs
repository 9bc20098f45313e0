//! `manifest.json` of a docker-archive, what `docker save` writes.

use serde::Deserialize;

use crate::lenient::null_default;
use crate::parse::{MAX_MANIFEST_BYTES, ParseDocumentError, invalid, json};

/// One image of a docker-archive. Paths are members of the archive, not yet looked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ArchiveImage {
    /// Path of the image config.
    pub config: String,
    /// Names to give it; may be none.
    #[serde(default, deserialize_with = "null_default")]
    pub repo_tags: Vec<String>,
    /// Paths of the layers, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<String>,
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
        for bad in [&b""[..], b"{}", b"[]", b"null", b"[{}]", br#"[{"Config":1}]"#] {
            assert!(parse_archive_manifest(bad).is_err());
        }
    }
}
