//! Images.

use crate::null;
use hull_oci::{Descriptor, RuntimeConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One element of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageSummary {
    /// Image ID: digest of the image config.
    pub id: String,
    /// Image ID of the parent; always empty.
    pub parent_id: String,
    /// `repository:tag`.
    #[serde(deserialize_with = "null::or_default")]
    pub repo_tags: Vec<String>,
    /// `repository@digest`.
    #[serde(deserialize_with = "null::or_default")]
    pub repo_digests: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    /// Bytes of its layers, uncompressed.
    pub size: i64,
    /// Bytes shared with other images; -1 for not computed.
    pub shared_size: i64,
    /// Labels.
    #[serde(deserialize_with = "null::or_default")]
    pub labels: BTreeMap<String, String>,
    /// Containers that use it; -1 for not computed.
    pub containers: i64,
}

/// Answer to `GET /images/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageInspect {
    /// Image ID: digest of the image config.
    pub id: String,
    /// `repository:tag`.
    #[serde(deserialize_with = "null::or_default")]
    pub repo_tags: Vec<String>,
    /// `repository@digest`.
    #[serde(deserialize_with = "null::or_default")]
    pub repo_digests: Vec<String>,
    /// Image ID of the parent; always empty.
    pub parent: String,
    /// Message given when it was made.
    pub comment: String,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    pub author: String,
    /// Defaults for containers.
    #[serde(deserialize_with = "null::or_default")]
    pub config: RuntimeConfig,
    /// CPU architecture.
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Operating system.
    pub os: String,
    /// Bytes of its layers, uncompressed.
    pub size: i64,
    /// Where the layers are.
    pub graph_driver: GraphDriver,
    /// The layers.
    #[serde(rename = "RootFS")]
    pub root_fs: ImageRootFs,
    /// What the engine knows that the image does not say.
    pub metadata: ImageMetadata,
    /// The manifest or index that names and ids lead to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
}

/// How the layers of an image are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GraphDriver {
    /// Name of the way.
    pub name: String,
    /// Details by key; empty, the layers are nobody else's to touch.
    #[serde(deserialize_with = "null::or_default")]
    pub data: BTreeMap<String, String>,
}

/// The layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageRootFs {
    /// Always `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// diffIDs, lowest first.
    #[serde(deserialize_with = "null::or_default")]
    pub layers: Vec<String>,
}

/// What the engine knows of an image beside its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageMetadata {
    /// When it came here, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_tag_time: Option<String>,
}

/// One element of `GET /images/{name}/history`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHistoryItem {
    /// Image ID for the newest, `<missing>` for the others.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The command or instruction.
    pub created_by: String,
    /// Names of the image, on the newest.
    #[serde(deserialize_with = "null::or_default")]
    pub tags: Vec<String>,
    /// Bytes of the layer, uncompressed; 0 for a step that made none.
    pub size: i64,
    /// Free text.
    pub comment: String,
}

/// One element of the answer to `DELETE /images/{name}`: one of the two is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageDeleted {
    /// A name that no longer leads to the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged: Option<String>,
    /// An image that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}

/// Answer to `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImagesPruned {
    /// What was untagged and deleted.
    #[serde(deserialize_with = "null::or_default")]
    pub images_deleted: Vec<ImageDeleted>,
    /// Bytes freed on disk.
    pub space_reclaimed: u64,
}

/// One line of the streams of load and import (JSON, one object per line).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressMessage {
    /// Text to print as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What is being done, or the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// To what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// A result for programs: what a push made of a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
    /// The failure that ended the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same, with Hull's additions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ProgressError>,
}

/// How far a step is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    /// Done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// To do in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// A failure that ended a stream after its status line had been sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressError {
    /// What was tried, on what, and why it did not work.
    #[serde(deserialize_with = "null::or_default")]
    pub message: String,
    /// What the user may do about it. Hull's own addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ProgressMessage {
    /// Text to print as it is.
    #[must_use]
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A result or step.
    #[must_use]
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: Some(text.into()), ..Self::default() }
    }

    /// The failure that ends the stream.
    #[must_use]
    pub fn error(message: impl Into<String>, hint: Option<String>) -> Self {
        let message = message.into();
        Self {
            error: Some(message.clone()),
            error_detail: Some(ProgressError { message, hint }),
            ..Self::default()
        }
    }
}
