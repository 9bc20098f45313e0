//! The engine itself: version, information, disk usage, checks.

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::null;
use crate::volume::Volume;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answer of `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemVersion {
    /// The product.
    pub platform: PlatformName,
    /// Its programs.
    #[serde(deserialize_with = "null::or_default")]
    pub components: Vec<ComponentVersion>,
    /// Version of the engine.
    pub version: String,
    /// Newest version of the API it speaks.
    pub api_version: String,
    /// Oldest one.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// Commit it was built from; empty where the build did not know.
    pub git_commit: String,
    /// What it was compiled with.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// Architecture, Go's name.
    pub arch: String,
    /// Version of the kernel.
    pub kernel_version: String,
    /// When it was built; empty where the build did not know.
    pub build_time: String,
}

/// The product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PlatformName {
    /// Its name.
    pub name: String,
}

/// One program of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ComponentVersion {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// More about it.
    #[serde(deserialize_with = "null::or_default")]
    pub details: BTreeMap<String, String>,
}

/// Answer of `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemInfo {
    /// Identity of the state folder.
    #[serde(rename = "ID")]
    pub id: String,
    /// Number of containers.
    pub containers: i64,
    /// Those that run.
    pub containers_running: i64,
    /// Those that are frozen.
    pub containers_paused: i64,
    /// The others.
    pub containers_stopped: i64,
    /// Number of images.
    pub images: i64,
    /// How layers are kept: `erofs` or `unpack`.
    pub driver: String,
    /// More about it: name, value.
    #[serde(deserialize_with = "null::or_default")]
    pub driver_status: Vec<[String; 2]>,
    /// The state folder.
    pub docker_root_dir: String,
    /// Kinds of drivers.
    pub plugins: PluginsInfo,
    /// Memory can be limited.
    pub memory_limit: bool,
    /// Swap can be limited.
    pub swap_limit: bool,
    /// CPU quotas work.
    pub cpu_cfs_period: bool,
    /// CPU quotas work.
    pub cpu_cfs_quota: bool,
    /// CPU weights work.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// CPU sets work.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Numbers of processes can be limited.
    pub pids_limit: bool,
    /// Always false.
    pub oom_kill_disable: bool,
    /// The host forwards packets.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Debugging is on.
    pub debug: bool,
    /// Now, RFC 3339.
    pub system_time: String,
    /// Default log driver.
    pub logging_driver: String,
    /// `cgroupfs`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Version of the kernel.
    pub kernel_version: String,
    /// Name of the distribution.
    pub operating_system: String,
    /// Its version.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// Architecture, the kernel's name.
    pub architecture: String,
    /// Number of CPUs.
    #[serde(rename = "NCPU")]
    pub ncpu: i64,
    /// Bytes of memory.
    pub mem_total: i64,
    /// Registry of names without one.
    pub index_server_address: String,
    /// Name of the host.
    pub name: String,
    /// Labels of the engine.
    #[serde(deserialize_with = "null::or_default")]
    pub labels: Vec<String>,
    /// Always false.
    pub experimental_build: bool,
    /// Version of the engine.
    pub server_version: String,
    /// Runtimes by name.
    #[serde(deserialize_with = "null::or_default")]
    pub runtimes: BTreeMap<String, RuntimeInfo>,
    /// The one that is used.
    pub default_runtime: String,
    /// Always inactive.
    pub swarm: SwarmInfo,
    /// Always true: containers do not depend on the engine.
    pub live_restore_enabled: bool,
    /// Program that `--init` runs.
    pub init_binary: String,
    /// `name=seccomp,profile=builtin`, `name=userns` ...
    #[serde(deserialize_with = "null::or_default")]
    pub security_options: Vec<String>,
    /// What the host lacks.
    #[serde(deserialize_with = "null::or_default")]
    pub warnings: Vec<String>,
}

/// Drivers by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PluginsInfo {
    /// Of volumes.
    #[serde(deserialize_with = "null::or_default")]
    pub volume: Vec<String>,
    /// Of networks.
    #[serde(deserialize_with = "null::or_default")]
    pub network: Vec<String>,
    /// Of logs.
    #[serde(deserialize_with = "null::or_default")]
    pub log: Vec<String>,
}

/// A runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeInfo {
    /// Its program.
    pub path: String,
}

/// Swarm mode, which the engine does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmInfo {
    /// `inactive`.
    pub local_node_state: String,
}

/// Answer of `GET /system/df`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiskUsage {
    /// Bytes of all layers, each once.
    pub layers_size: i64,
    /// Images.
    #[serde(deserialize_with = "null::or_default")]
    pub images: Vec<ImageSummary>,
    /// Containers, with sizes.
    #[serde(deserialize_with = "null::or_default")]
    pub containers: Vec<ContainerSummary>,
    /// Volumes, with sizes.
    #[serde(deserialize_with = "null::or_default")]
    pub volumes: Vec<Volume>,
    /// Results of build steps.
    #[serde(deserialize_with = "null::or_default")]
    pub build_cache: Vec<BuildCacheRecord>,
    /// Every byte of the state folder in exactly one class, so the sum equals `du`. Hull's own
    /// addition.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<UsageClass>,
}

/// What one class of state occupies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UsageClass {
    /// `layers`, `compressed copies`, `containers` ...
    pub name: String,
    /// Number of objects.
    pub count: u64,
    /// Bytes on disk.
    pub size: u64,
}

/// A result of a build step that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BuildCacheRecord {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Ids of those it was made from.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// `regular`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The instruction.
    pub description: String,
    /// Whether a build uses it now.
    pub in_use: bool,
    /// Whether an image or another result has its layer too.
    pub shared: bool,
    /// Bytes on disk of its layer.
    pub size: i64,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it was used last, RFC 3339.
    pub last_used_at: Option<String>,
    /// How often it was used.
    pub usage_count: i64,
}

/// Answer of `POST /build/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BuildPruned {
    /// Ids of the entries that were removed.
    #[serde(deserialize_with = "null::or_default")]
    pub caches_deleted: Vec<String>,
    /// Bytes given back.
    pub space_reclaimed: u64,
}

/// Answer of `POST /hull/check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StoreCheckResponse {
    /// Objects looked at.
    pub checked: u64,
    /// What is wrong.
    #[serde(deserialize_with = "null::or_default")]
    pub problems: Vec<StoreProblem>,
    /// Blobs and layers that nothing refers to: no problem, a collection removes them.
    pub garbage: u64,
    /// Layers mounted since boot.
    #[serde(deserialize_with = "null::or_default")]
    pub mounts: Vec<String>,
}

/// One thing that is wrong in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StoreProblem {
    /// The object, such as `blob sha256:...`.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// It was repaired.
    pub repaired: bool,
    /// What was done about it; empty if nothing was.
    pub repair: String,
}

/// Answer of `POST /hull/collect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StoreCollectResponse {
    /// Blobs and layers that were removed, such as `layer sha256:...`.
    #[serde(deserialize_with = "null::or_default")]
    pub deleted: Vec<String>,
    /// What dead processes had left and was removed: unfinished writes, leases, names, trash.
    pub leftovers: u64,
    /// Bytes given back.
    pub space_reclaimed: u64,
    /// Why blobs and layers were left alone: something that refers to them cannot be read.
    #[serde(deserialize_with = "null::or_default")]
    pub blocked: Vec<String>,
}
