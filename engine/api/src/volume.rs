//! Volumes.

use crate::null;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One volume: answer of `GET /volumes/{name}` and element of lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Always `local`.
    pub driver: String,
    /// Labels.
    #[serde(deserialize_with = "null::or_default")]
    pub labels: BTreeMap<String, String>,
    /// Its directory on the host.
    pub mountpoint: String,
    /// Its name.
    pub name: String,
    /// Options of the driver.
    #[serde(deserialize_with = "null::or_default")]
    pub options: BTreeMap<String, String>,
    /// Always `local`.
    pub scope: String,
    /// Space and users; only in `GET /system/df`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsageData>,
}

/// What a volume occupies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeUsageData {
    /// Bytes on disk.
    pub size: i64,
    /// Containers that use it.
    pub ref_count: i64,
}

/// Answer of `GET /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeListResponse {
    /// The volumes, by name.
    #[serde(deserialize_with = "null::or_default")]
    pub volumes: Vec<Volume>,
    /// What could not be read.
    #[serde(deserialize_with = "null::or_default")]
    pub warnings: Vec<String>,
}

/// Body of `POST /volumes/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeCreateOptions {
    /// The name; empty for one the engine makes up.
    pub name: String,
    /// `local` or empty.
    pub driver: String,
    /// Options of the driver; none are known.
    #[serde(deserialize_with = "null::or_default")]
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    #[serde(deserialize_with = "null::or_default")]
    pub labels: BTreeMap<String, String>,
}

/// Answer of `POST /volumes/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumesPruneResponse {
    /// Names of the removed volumes.
    #[serde(deserialize_with = "null::or_default")]
    pub volumes_deleted: Vec<String>,
    /// Bytes given back.
    pub space_reclaimed: u64,
}
