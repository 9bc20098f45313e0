//! What a process sees of itself and around it.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use hull_sys::probe::Probe;
use rustix::io::Errno;
use serde::Serialize;

use crate::paths;
use crate::status::Status;

/// Paths whose readability is told.
const READ: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/proc/1/environ",
    "/proc/cpuinfo",
];

/// Paths whose writability is told.
const WRITE: &[&str] = &[
    "/",
    "/tmp",
    "/dev",
    "/dev/shm",
    "/dev/null",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/self/oom_score_adj",
    "/sys",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/fs/cgroup",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
];

#[derive(Serialize)]
pub(crate) struct View {
    /// Real, effective, saved, file system.
    uids: Vec<u32>,
    gids: Vec<u32>,
    groups: Vec<u32>,
    /// Lines of inside, outside, length.
    uid_map: Vec<Vec<u32>>,
    gid_map: Vec<Vec<u32>>,
    capabilities: Capabilities,
    no_new_privs: Option<u32>,
    /// 0 none, 2 filter.
    seccomp_mode: Option<u32>,
    /// `ok`, `EPERM`, `ENOSYS` or `errno N`, by call.
    calls: BTreeMap<String, String>,
    readable: BTreeMap<&'static str, String>,
    writable: BTreeMap<&'static str, String>,
    mounts: Vec<Mount>,
    cgroup: Vec<String>,
    /// Inode numbers by kind.
    namespaces: BTreeMap<String, u64>,
    environment: Vec<String>,
    arguments: Vec<String>,
    /// Targets by number; the directory being listed is left out.
    descriptors: BTreeMap<u32, String>,
    cwd: String,
    hostname: String,
    domainname: String,
    /// Whether 0, 1 and 2 are terminals.
    terminals: [bool; 3],
    pid: u32,
    ppid: u32,
    session: u32,
    processes: Vec<u32>,
    /// Kind, mode and device number by name.
    devices: BTreeMap<String, String>,
    interfaces: Vec<String>,
    limits: Vec<String>,
    oom_score_adj: String,
}

#[derive(Serialize)]
struct Capabilities {
    inheritable: Option<u64>,
    permitted: Option<u64>,
    effective: Option<u64>,
    bounding: Option<u64>,
    ambient: Option<u64>,
}

#[derive(Serialize)]
struct Mount {
    root: String,
    target: String,
    options: Vec<String>,
    /// `shared:N`, `master:N` ...; empty is private.
    propagation: Vec<String>,
    kind: String,
    source: String,
    super_options: Vec<String>,
}

impl View {
    pub(crate) fn take() -> Self {
        let descriptors = descriptors();
        let status = Status::read();
        let name = rustix::system::uname();
        Self {
            uids: status.numbers("Uid"),
            gids: status.numbers("Gid"),
            groups: status.numbers("Groups"),
            uid_map: id_map("/proc/self/uid_map"),
            gid_map: id_map("/proc/self/gid_map"),
            capabilities: Capabilities {
                inheritable: status.bits("CapInh"),
                permitted: status.bits("CapPrm"),
                effective: status.bits("CapEff"),
                bounding: status.bits("CapBnd"),
                ambient: status.bits("CapAmb"),
            },
            no_new_privs: status.number("NoNewPrivs"),
            seccomp_mode: status.number("Seccomp"),
            readable: READ.iter().map(|path| (*path, paths::readable(path))).collect(),
            writable: WRITE.iter().map(|path| (*path, paths::writable(path))).collect(),
            mounts: mounts(),
            cgroup: lines("/proc/self/cgroup"),
            namespaces: namespaces(),
            environment: std::env::vars_os()
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect(),
            arguments: std::env::args().collect(),
            descriptors,
            cwd: std::env::current_dir()
                .map_or_else(|e| e.to_string(), |d| d.display().to_string()),
            hostname: name.nodename().to_string_lossy().into_owned(),
            domainname: name.domainname().to_string_lossy().into_owned(),
            terminals: [
                rustix::termios::isatty(rustix::stdio::stdin()),
                rustix::termios::isatty(rustix::stdio::stdout()),
                rustix::termios::isatty(rustix::stdio::stderr()),
            ],
            pid: std::process::id(),
            ppid: std::os::unix::process::parent_id(),
            session: rustix::process::getsid(None).map_or(0, |pid| pid.as_raw_pid().unsigned_abs()),
            processes: processes(),
            devices: devices(),
            interfaces: interfaces(),
            limits: lines("/proc/self/limits"),
            oom_score_adj: lines("/proc/self/oom_score_adj").concat(),
            // Last: some of these change the process if they succeed.
            calls: calls(),
        }
    }
}

fn calls() -> BTreeMap<String, String> {
    let verdict = |probe: Probe| match probe.run() {
        Ok(()) => "ok".to_owned(),
        Err(Errno::PERM) => "EPERM".to_owned(),
        Err(Errno::NOSYS) => "ENOSYS".to_owned(),
        Err(error) => format!("errno {}", error.raw_os_error()),
    };
    Probe::ALL.iter().map(|probe| (format!("{probe:?}"), verdict(*probe))).collect()
}

fn lines(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

fn id_map(path: &str) -> Vec<Vec<u32>> {
    let numbers = |line: String| line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    lines(path).into_iter().map(numbers).collect()
}

fn mounts() -> Vec<Mount> {
    lines("/proc/self/mountinfo").iter().filter_map(|line| mount(line)).collect()
}

/// One line of mountinfo, see proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<&str> = before.split(' ').collect();
    let after: Vec<&str> = after.split(' ').collect();
    let options = |text: &str| text.split(',').map(ToOwned::to_owned).collect();
    Some(Mount {
        root: (*before.get(3)?).to_owned(),
        target: (*before.get(4)?).to_owned(),
        options: options(before.get(5)?),
        propagation: before.iter().skip(6).map(|word| (*word).to_owned()).collect(),
        kind: (*after.first()?).to_owned(),
        source: (*after.get(1)?).to_owned(),
        super_options: options(after.get(2)?),
    })
}

fn namespaces() -> BTreeMap<String, u64> {
    let Ok(entries) = std::fs::read_dir("/proc/self/ns") else { return BTreeMap::new() };
    let inode = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        Some((name, std::fs::metadata(entry.path()).ok()?.ino()))
    };
    entries.filter_map(|entry| inode(entry.ok()?)).collect()
}

fn descriptors() -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return found };
    for entry in entries.flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let listing = target.starts_with("/proc") && target.ends_with("fd");
        if let (Some(number), false) = (number, listing) {
            found.insert(number, target.display().to_string());
        }
    }
    found
}

fn processes() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

fn devices() -> BTreeMap<String, String> {
    let Ok(entries) = std::fs::read_dir("/dev") else { return BTreeMap::new() };
    let describe = |entry: std::fs::DirEntry| {
        let metadata = std::fs::symlink_metadata(entry.path()).ok()?;
        let kind = metadata.file_type();
        let mode = metadata.mode() & 0o7777;
        let (major, minor) =
            (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let text = if kind.is_char_device() {
            format!("char {mode:o} {major}:{minor}")
        } else if kind.is_block_device() {
            format!("block {mode:o} {major}:{minor}")
        } else if kind.is_symlink() {
            format!("link {}", std::fs::read_link(entry.path()).ok()?.display())
        } else if kind.is_dir() {
            format!("directory {mode:o}")
        } else {
            format!("file {mode:o}")
        };
        Some((entry.file_name().to_string_lossy().into_owned(), text))
    };
    entries.filter_map(|entry| describe(entry.ok()?)).collect()
}

fn interfaces() -> Vec<String> {
    // Two lines of heading; then `name: counters`.
    let mut names: Vec<String> = lines("/proc/net/dev")
        .iter()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect();
    names.sort();
    names
}
