//! What a container uses: `GET /containers/{id}/stats`.

use crate::null;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One sample. Of a container that does not run only name and id say something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStats {
    /// Name with a leading slash.
    pub name: String,
    /// Id.
    pub id: String,
    /// When it was taken, RFC 3339.
    pub read: String,
    /// When the sample before was taken.
    pub preread: String,
    /// Processes.
    pub pids_stats: PidsStats,
    /// Input and output of block devices.
    pub blkio_stats: BlkioStats,
    /// Windows only.
    pub num_procs: u32,
    /// Windows only.
    pub storage_stats: crate::Empty,
    /// CPU time.
    pub cpu_stats: CpuStats,
    /// CPU time of the sample before.
    pub precpu_stats: CpuStats,
    /// Memory.
    pub memory_stats: MemoryStats,
    /// Network interfaces by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeMap<String, NetworkStats>>,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// How many there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Input and output of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes by device and direction.
    pub io_service_bytes_recursive: Option<Vec<BlkioStatEntry>>,
    /// Not told.
    pub io_serviced_recursive: Option<Vec<BlkioStatEntry>>,
    /// Not told.
    pub io_queue_recursive: Option<Vec<BlkioStatEntry>>,
    /// Not told.
    pub io_service_time_recursive: Option<Vec<BlkioStatEntry>>,
    /// Not told.
    pub io_wait_time_recursive: Option<Vec<BlkioStatEntry>>,
    /// Not told.
    pub io_merged_recursive: Option<Vec<BlkioStatEntry>>,
    /// Not told.
    pub io_time_recursive: Option<Vec<BlkioStatEntry>>,
    /// Not told.
    pub sectors_recursive: Option<Vec<BlkioStatEntry>>,
}

/// A count of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioStatEntry {
    /// The device.
    pub major: u64,
    /// The device.
    pub minor: u64,
    /// `read` or `write`.
    pub op: String,
    /// The count.
    pub value: u64,
}

/// CPU time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// The container's.
    pub cpu_usage: CpuUsage,
    /// The host's, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_cpu_usage: Option<u64>,
    /// CPUs of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online_cpus: Option<u32>,
    /// Effects of a limit.
    pub throttling_data: ThrottlingData,
}

/// CPU time of a container, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// All of it.
    pub total_usage: u64,
    /// By CPU; cgroup version 1 only.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Vec::is_empty")]
    pub percpu_usage: Vec<u64>,
    /// In the kernel.
    pub usage_in_kernelmode: u64,
    /// Outside of it.
    pub usage_in_usermode: u64,
}

/// Effects of a limit of CPU time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThrottlingData {
    /// Periods in which the container ran.
    pub periods: u64,
    /// Periods in which it had to wait.
    pub throttled_periods: u64,
    /// Nanoseconds it waited.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// In use, page cache included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<u64>,
    /// The most there was; cgroup version 1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_usage: Option<u64>,
    /// What the kernel tells, by its names.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<String, u64>,
    /// How often the limit was hit; cgroup version 1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failcnt: Option<u64>,
    /// The limit, or the host's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Traffic of a network interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Errors in receiving.
    pub rx_errors: u64,
    /// Packets received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Errors in sending.
    pub tx_errors: u64,
    /// Packets dropped in sending.
    pub tx_dropped: u64,
}
