//! What a container gets from its host: mounts, limits, privileges.

use crate::null;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The part of a container's configuration that depends on the host.
///
/// A value of zero, an empty string or an absent field is "not said" everywhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `source:/destination[:options]`, source a path or a volume's name.
    #[serde(deserialize_with = "null::or_default")]
    pub binds: Vec<String>,
    /// Path the client wrote the id to; kept for inspection.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// Where output goes.
    #[serde(deserialize_with = "null::or_default")]
    pub log_config: LogConfig,
    /// `none`, `host`, or empty and `default` for the engine's default.
    pub network_mode: String,
    /// What to do when the container ends.
    #[serde(deserialize_with = "null::or_default")]
    pub restart_policy: RestartPolicy,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// Containers whose binds and volumes this one has too: `name[:ro]`.
    #[serde(deserialize_with = "null::or_default")]
    pub volumes_from: Vec<String>,
    /// Mounts in their long form.
    #[serde(deserialize_with = "null::or_default")]
    pub mounts: Vec<Mount>,
    /// First terminal size: rows, columns.
    #[serde(deserialize_with = "null::or_default")]
    pub console_size: [u16; 2],
    /// Free text for tools.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Capabilities beside the default ones, with or without `CAP_`; `ALL`.
    #[serde(deserialize_with = "null::or_default")]
    pub cap_add: Vec<String>,
    /// Capabilities to take away; `ALL`.
    #[serde(deserialize_with = "null::or_default")]
    pub cap_drop: Vec<String>,
    /// `private` or empty.
    pub cgroupns_mode: String,
    /// Name servers for `/etc/resolv.conf`.
    #[serde(deserialize_with = "null::or_default")]
    pub dns: Vec<String>,
    /// Options for `/etc/resolv.conf`.
    #[serde(deserialize_with = "null::or_default")]
    pub dns_options: Vec<String>,
    /// Search domains for `/etc/resolv.conf`.
    #[serde(deserialize_with = "null::or_default")]
    pub dns_search: Vec<String>,
    /// `name:address`, for `/etc/hosts`.
    #[serde(deserialize_with = "null::or_default")]
    pub extra_hosts: Vec<String>,
    /// Groups beside the user's own.
    #[serde(deserialize_with = "null::or_default")]
    pub group_add: Vec<String>,
    /// `private` or empty.
    pub ipc_mode: String,
    /// -1000..=1000.
    pub oom_score_adj: i32,
    /// Empty.
    pub pid_mode: String,
    /// All capabilities and devices, no masks, no seccomp filter.
    pub privileged: bool,
    /// Mount the root file system read-only.
    pub readonly_rootfs: bool,
    /// `seccomp=...`, `no-new-privileges[=...]`.
    #[serde(deserialize_with = "null::or_default")]
    pub security_opt: Vec<String>,
    /// tmpfs mounts: path to options.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Empty.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// `host`, `private` or empty.
    pub userns_mode: String,
    /// Bytes of `/dev/shm`.
    pub shm_size: i64,
    /// Run a small init as process 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Paths to hide; absent for the defaults.
    pub masked_paths: Option<Vec<String>>,
    /// Paths to make read-only; absent for the defaults.
    pub readonly_paths: Option<Vec<String>>,
    /// Relative weight, 2..=262144.
    pub cpu_shares: i64,
    /// Bytes.
    pub memory: i64,
    /// CPU time in billionths of a CPU.
    pub nano_cpus: i64,
    /// Length of a CPU period, microseconds.
    pub cpu_period: i64,
    /// CPU time per period, microseconds.
    pub cpu_quota: i64,
    /// CPU list such as `0-2,4`.
    pub cpuset_cpus: String,
    /// Memory node list.
    pub cpuset_mems: String,
    /// Bytes, soft limit.
    pub memory_reservation: i64,
    /// Bytes of memory and swap; -1 for unlimited swap.
    pub memory_swap: i64,
    /// Number of processes; zero, -1 or absent for no limit.
    pub pids_limit: Option<i64>,
    /// Resource limits.
    #[serde(deserialize_with = "null::or_default")]
    pub ulimits: Vec<Ulimit>,
    /// Every other field of Docker's. The engine refuses those that say something.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// Where output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// `json-file`, `none` or empty.
    #[serde(rename = "Type")]
    pub driver: String,
    /// Options: `max-size`, `max-file`.
    #[serde(deserialize_with = "null::or_default")]
    pub config: BTreeMap<String, String>,
}

/// What to do when a container ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `no` or empty, `on-failure`, `always`, `unless-stopped`.
    pub name: String,
    /// For `on-failure`.
    pub maximum_retry_count: i64,
}

/// A resource limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// -1 for unlimited.
    pub soft: i64,
    /// -1 for unlimited.
    pub hard: i64,
}

/// A mount in its long form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Path on the host or name of the volume; empty for tmpfs and anonymous volumes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Mount it read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Ignored on Linux, as by Docker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consistency: String,
    /// For `bind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// For `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// For `tmpfs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    /// `rprivate` or empty; the others are refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Leave mounts below the source out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub non_recursive: bool,
    /// Create the source if it is missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_mountpoint: bool,
    /// Only the top is read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_non_recursive: bool,
    /// Fail if mounts below cannot be made read-only; Hull's mounts always are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    /// Do not fill the volume from the image.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_copy: bool,
    /// Labels of a volume that is created.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Driver of a volume that is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
    /// Part of the volume; refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
}

/// Driver of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverConfig {
    /// `local` or empty.
    pub name: String,
    /// Its options.
    #[serde(deserialize_with = "null::or_default")]
    pub options: BTreeMap<String, String>,
}

/// Options of a tmpfs mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    /// Bytes; zero for the kernel's default.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: i64,
    /// Mode of its root; zero for 1777 (octal).
    #[serde(skip_serializing_if = "is_zero_mode")]
    pub mode: u32,
    /// Options as for `--tmpfs`, each a name or a name and a value.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Vec<String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero_mode(value: &u32) -> bool {
    *value == 0
}
