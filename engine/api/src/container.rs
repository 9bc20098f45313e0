//! Containers: creation, listing, inspection, waiting.

use crate::host_config::HostConfig;
use crate::null;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The part of a container's configuration that does not depend on the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// Host name; empty for the first twelve characters of the id.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// The client connects to input.
    pub attach_stdin: bool,
    /// The client connects to standard output.
    pub attach_stdout: bool,
    /// The client connects to standard error.
    pub attach_stderr: bool,
    /// `port/protocol`, for documentation.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Give the process a terminal.
    pub tty: bool,
    /// Keep input open.
    pub open_stdin: bool,
    /// Close input when the first client that is connected to it leaves.
    pub stdin_once: bool,
    /// `NAME=value`; a name alone takes the variable away.
    #[serde(deserialize_with = "null::or_default")]
    pub env: Vec<String>,
    /// Arguments, or the command where there is no entry point.
    #[serde(deserialize_with = "null::words")]
    pub cmd: Option<Vec<String>>,
    /// How the engine finds out whether it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<hull_oci::Healthcheck>,
    /// Windows only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// The image as the client named it.
    pub image: String,
    /// Paths in the container that get a volume.
    #[serde(deserialize_with = "null::or_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// Working directory.
    pub working_dir: String,
    /// Entry point; an empty list takes the image's away.
    #[serde(deserialize_with = "null::words")]
    pub entrypoint: Option<Vec<String>>,
    /// No network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_disabled: Option<bool>,
    /// Instructions for builds on top of this image.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(deserialize_with = "null::or_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the container to end, name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; negative waits for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell of the image's build instructions.
    #[serde(deserialize_with = "null::words", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// `{}`: Go's way of writing a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Body of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerCreateBody {
    /// The portable part, at the top of the document.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// The host's part.
    #[serde(default, rename = "HostConfig", deserialize_with = "null::or_default")]
    pub host_config: HostConfig,
    /// Attachments to networks, as Docker writes them.
    #[serde(default, rename = "NetworkingConfig", skip_serializing_if = "Option::is_none")]
    pub networking_config: Option<serde_json::Value>,
}

/// Answer of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerCreateResponse {
    /// The container's id, 64 hexadecimal digits.
    pub id: String,
    /// What the user should know.
    #[serde(default, deserialize_with = "null::or_default")]
    pub warnings: Vec<String>,
}

/// One element of `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSummary {
    /// Id.
    pub id: String,
    /// Names, each with a leading slash.
    #[serde(deserialize_with = "null::or_default")]
    pub names: Vec<String>,
    /// The image as the container was created from it.
    pub image: String,
    /// The image's ID.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// The command line.
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Published ports.
    #[serde(deserialize_with = "null::or_default")]
    pub ports: Vec<Port>,
    /// Bytes the container wrote; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of the root file system; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Labels.
    #[serde(deserialize_with = "null::or_default")]
    pub labels: BTreeMap<String, String>,
    /// `created`, `running`, `exited` ...
    pub state: String,
    /// For people: `Up 3 seconds`.
    pub status: String,
    /// Part of the host's configuration.
    pub host_config: SummaryHostConfig,
    /// Networks.
    pub network_settings: SummaryNetworkSettings,
    /// Mounts.
    #[serde(deserialize_with = "null::or_default")]
    pub mounts: Vec<MountPoint>,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Port {
    /// Address on the host.
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// In the container.
    pub private_port: u16,
    /// On the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    /// `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// The host's configuration in listings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryHostConfig {
    /// Network mode.
    pub network_mode: String,
    /// Free text for tools.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Networks in listings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryNetworkSettings {
    /// By name.
    #[serde(deserialize_with = "null::or_default")]
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A container's attachment to a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointSettings {
    /// Other names in this network.
    #[serde(deserialize_with = "null::or_default")]
    pub aliases: Vec<String>,
    /// Id of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Id of the attachment.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Gateway.
    pub gateway: String,
    /// Address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Length of its prefix.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: i64,
    /// Hardware address.
    pub mac_address: String,
}

/// Answer of `GET /containers/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerInspectResponse {
    /// Id.
    pub id: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    #[serde(deserialize_with = "null::or_default")]
    pub args: Vec<String>,
    /// State.
    pub state: ContainerState,
    /// The image's ID.
    pub image: String,
    /// Always empty: these files live in the sandbox only.
    pub resolv_conf_path: String,
    /// Always empty.
    pub hostname_path: String,
    /// Always empty.
    pub hosts_path: String,
    /// The log on the host.
    pub log_path: String,
    /// Name with a leading slash.
    pub name: String,
    /// How often it was restarted.
    pub restart_count: i64,
    /// How its file system is stored.
    pub driver: String,
    /// Always `linux`.
    pub platform: String,
    /// SELinux label of its mounts.
    pub mount_label: String,
    /// SELinux label of its processes.
    pub process_label: String,
    /// AppArmor profile.
    pub app_armor_profile: String,
    /// Ids of running execs.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// The host's part of the configuration.
    pub host_config: HostConfig,
    /// How its file system is stored.
    pub graph_driver: DriverData,
    /// Bytes it wrote; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of the root file system; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Mounts.
    #[serde(deserialize_with = "null::or_default")]
    pub mounts: Vec<MountPoint>,
    /// The portable part of the configuration, merged with the image's.
    pub config: ContainerConfig,
    /// Networks.
    pub network_settings: NetworkSettings,
}

/// State of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerState {
    /// `created`, `running`, `exited` ...
    pub status: String,
    /// It runs.
    pub running: bool,
    /// It is frozen.
    pub paused: bool,
    /// It waits to be started again.
    pub restarting: bool,
    /// The kernel killed it for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// It could not be removed.
    pub dead: bool,
    /// Process id on the host; 0 when it does not run.
    pub pid: i64,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// Why it did not start or what ended it.
    pub error: String,
    /// RFC 3339; `0001-01-01T00:00:00Z` for never.
    pub started_at: String,
    /// RFC 3339; `0001-01-01T00:00:00Z` for never.
    pub finished_at: String,
    /// What its health check found; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What a container's health check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Probes that failed in a row.
    pub failing_streak: i64,
    /// The last probes, the oldest first.
    #[serde(deserialize_with = "null::or_default")]
    pub log: Vec<HealthcheckResult>,
}

/// One probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthcheckResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// Its exit code; -1 if it has none.
    pub exit_code: i64,
    /// The beginning of its output.
    pub output: String,
}

/// Body of `POST /containers/{id}/update`: what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerUpdateBody {
    /// The restart policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<crate::RestartPolicy>,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Bytes.
    pub memory: i64,
    /// CPU time in billionths of a CPU.
    pub nano_cpus: i64,
    /// Length of a CPU period, microseconds.
    pub cpu_period: i64,
    /// CPU time per period, microseconds.
    pub cpu_quota: i64,
    /// CPU list.
    pub cpuset_cpus: String,
    /// Memory node list.
    pub cpuset_mems: String,
    /// Bytes, soft limit.
    pub memory_reservation: i64,
    /// Bytes of memory and swap; -1 for unlimited swap.
    pub memory_swap: i64,
    /// Number of processes; -1 or 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// Every other field of Docker's. The engine refuses those that say something.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// Answer of `POST /containers/{id}/update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerUpdateResponse {
    /// What the user should know.
    #[serde(deserialize_with = "null::or_default")]
    pub warnings: Vec<String>,
}

/// Answer of `GET /containers/{id}/top`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerTopResponse {
    /// The columns.
    #[serde(deserialize_with = "null::or_default")]
    pub titles: Vec<String>,
    /// One row for each process.
    #[serde(deserialize_with = "null::or_default")]
    pub processes: Vec<Vec<String>>,
}

/// How a file system is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverData {
    /// Name of the driver.
    pub name: String,
    /// Whatever it tells.
    #[serde(deserialize_with = "null::or_default")]
    pub data: BTreeMap<String, String>,
}

/// Networks of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// Published ports, as Docker writes them.
    #[serde(deserialize_with = "null::or_default")]
    pub ports: BTreeMap<String, serde_json::Value>,
    /// By name.
    #[serde(deserialize_with = "null::or_default")]
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A mount as it is in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Name of the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Driver of the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Options as they were given.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Propagation of mounts.
    pub propagation: String,
}

/// Answer of `POST /containers/{id}/wait`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerWaitResponse {
    /// Exit code.
    pub status_code: i64,
    /// Why there is no trustworthy exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ContainerWaitError>,
}

/// Why a wait failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerWaitError {
    /// One line.
    pub message: String,
}

/// Answer of `POST /containers/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainersPruneResponse {
    /// Ids of the removed containers.
    #[serde(deserialize_with = "null::or_default")]
    pub containers_deleted: Vec<String>,
    /// Bytes given back.
    pub space_reclaimed: u64,
}
