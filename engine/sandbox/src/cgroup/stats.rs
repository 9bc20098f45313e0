//! What a container uses.

use std::collections::BTreeMap;
use std::path::Path;

use super::container::Cgroup;
use super::control::{number, value};
use super::topology::Version;

/// What a container uses. Absent where the host does not account for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of memory in use, page cache included.
    pub memory: Option<u64>,
    /// Bytes of page cache that can be dropped without harm.
    pub memory_inactive_file: Option<u64>,
    /// Limit of memory in bytes, where there is one.
    pub memory_limit: Option<u64>,
    /// Most bytes of memory there were.
    pub memory_peak: Option<u64>,
    /// How often the limit was hit.
    pub memory_failures: Option<u64>,
    /// Everything the kernel tells of the memory, by its names.
    pub memory_details: BTreeMap<String, u64>,
    /// Nanoseconds of CPU time used.
    pub cpu_nanoseconds: Option<u64>,
    /// Those of them in user mode.
    pub cpu_user_nanoseconds: Option<u64>,
    /// Those of them in the kernel.
    pub cpu_kernel_nanoseconds: Option<u64>,
    /// Nanoseconds by CPU; version 1 only.
    pub cpu_each: Vec<u64>,
    /// Effects of a limit of CPU time.
    pub throttling: Throttling,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Limit of processes and threads, where there is one.
    pub pids_limit: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Bytes read and written, by device.
    pub io: Vec<Io>,
    /// Which interface accounts for the memory.
    pub memory_version: Option<Version>,
}

/// Effects of a limit of CPU time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which the container ran.
    pub periods: u64,
    /// Periods in which it had to wait.
    pub throttled_periods: u64,
    /// Nanoseconds it waited.
    pub throttled_nanoseconds: u64,
}

/// Bytes that went to or came from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Io {
    /// The device.
    pub major: u64,
    /// The device.
    pub minor: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

impl Cgroup {
    /// What the container uses at this moment.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.memory(&mut stats);
        self.cpu(&mut stats);
        if let Some((directory, _)) = self.place("pids") {
            stats.pids = number(&directory.join("pids.current"));
            stats.pids_limit = number(&directory.join("pids.max"));
        }
        if let Some((directory, version)) = self.place("blkio") {
            stats.io = match version {
                Version::V1 => io_v1(&read(&directory.join("blkio.throttle.io_service_bytes"))),
                Version::V2 => io_v2(&read(&directory.join("io.stat"))),
            };
        }
        stats
    }

    fn memory(&self, stats: &mut Stats) {
        let Some((directory, version)) = self.place("memory") else { return };
        let (usage, limit, peak, events, inactive) = match version {
            Version::V1 => (
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
                "memory.oom_control",
                "total_inactive_file",
            ),
            Version::V2 => {
                ("memory.current", "memory.max", "memory.peak", "memory.events", "inactive_file")
            }
        };
        stats.memory = number(&directory.join(usage));
        stats.memory_peak = number(&directory.join(peak));
        stats.memory_details = pairs(&read(&directory.join("memory.stat")));
        stats.memory_inactive_file = stats.memory_details.get(inactive).copied();
        // Version 1 writes "no limit" as the largest number of whole pages.
        stats.memory_limit = number(&directory.join(limit)).filter(|limit| *limit < 1 << 62);
        stats.oom_kills = value(&directory.join(events), "oom_kill");
        stats.memory_failures = match version {
            Version::V1 => number(&directory.join("memory.failcnt")),
            Version::V2 => value(&directory.join(events), "max"),
        };
        stats.memory_version = Some(version);
    }

    fn cpu(&self, stats: &mut Stats) {
        if let Some((directory, version)) = self.place("cpuacct") {
            match version {
                Version::V1 => {
                    let of = |file: &str| number(&directory.join(file));
                    stats.cpu_nanoseconds = of("cpuacct.usage");
                    stats.cpu_user_nanoseconds = of("cpuacct.usage_user");
                    stats.cpu_kernel_nanoseconds = of("cpuacct.usage_sys");
                    let each = read(&directory.join("cpuacct.usage_percpu"));
                    let each = each.split_ascii_whitespace();
                    stats.cpu_each = each.map_while(|time| time.parse().ok()).collect();
                }
                Version::V2 => {
                    let times = pairs(&read(&directory.join("cpu.stat")));
                    let of = |key: &str| times.get(key).map(|usec| usec * 1000);
                    stats.cpu_nanoseconds = of("usage_usec");
                    stats.cpu_user_nanoseconds = of("user_usec");
                    stats.cpu_kernel_nanoseconds = of("system_usec");
                }
            }
        }
        if let Some((directory, version)) = self.place("cpu") {
            let times = pairs(&read(&directory.join("cpu.stat")));
            let of = |key: &str| times.get(key).copied().unwrap_or_default();
            stats.throttling = Throttling {
                periods: of("nr_periods"),
                throttled_periods: of("nr_throttled"),
                throttled_nanoseconds: match version {
                    Version::V1 => of("throttled_time"),
                    Version::V2 => of("throttled_usec") * 1000,
                },
            };
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Lines of a name and a number.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim_end().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// `8:0 Read 4096`, one line for each operation, and a total.
fn io_v1(text: &str) -> Vec<Io> {
    let mut all: Vec<Io> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(operation), Some(bytes)) =
            (words.next().and_then(device), words.next(), words.next())
        else {
            continue;
        };
        let bytes = bytes.parse().unwrap_or_default();
        let io = entry(&mut all, device);
        match operation {
            "Read" => io.read = bytes,
            "Write" => io.written = bytes,
            _ => {}
        }
    }
    all
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 ...`
fn io_v2(text: &str) -> Vec<Io> {
    let mut all: Vec<Io> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(device) = words.next().and_then(device) else { continue };
        let io = entry(&mut all, device);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let bytes = value.parse().unwrap_or_default();
            match name {
                "rbytes" => io.read = bytes,
                "wbytes" => io.written = bytes,
                _ => {}
            }
        }
    }
    all
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn entry(all: &mut Vec<Io>, (major, minor): (u64, u64)) -> &mut Io {
    let known = all.iter().position(|io| (io.major, io.minor) == (major, minor));
    let place = known.unwrap_or_else(|| {
        all.push(Io { major, minor, read: 0, written: 0 });
        all.len() - 1
    });
    &mut all[place]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_of_both_versions() {
        let expected = [
            Io { major: 8, minor: 0, read: 4096, written: 12 },
            Io { major: 254, minor: 1, read: 1, written: 0 },
        ];
        let v1 = "8:0 Read 4096\n8:0 Write 12\n8:0 Sync 1\n8:0 Total 4108\n254:1 Read 1\nTotal 9\n";
        assert_eq!(io_v1(v1), expected);
        let v2 = "8:0 rbytes=4096 wbytes=12 rios=1 wios=2\n254:1 rbytes=1 wbytes=0\n";
        assert_eq!(io_v2(v2), expected);
        assert_eq!(io_v1(""), []);
    }
}
