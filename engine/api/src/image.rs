//! Images.

use crate::null;
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
    /// Bytes of its layers.
    pub size: i64,
    /// Bytes shared with other images; -1 for not computed.
    pub shared_size: i64,
    /// Labels.
    #[serde(deserialize_with = "null::or_default")]
    pub labels: BTreeMap<String, String>,
    /// Containers that use it; -1 for not computed.
    pub containers: i64,
}
