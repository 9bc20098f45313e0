//! What an engine may leave behind when it should not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything of the engine with these roots that is left: one line each.
///
/// Layers stay mounted in `exec_root/layers` until the machine stops; those do not count.
pub fn of(data_root: &Path, exec_root: &Path, containers: &BTreeSet<String>) -> Vec<String> {
    let mut left = Vec::new();
    let layers = exec_root.join("layers");
    for target in mounts_below(data_root).into_iter().chain(mounts_below(exec_root)) {
        if !target.starts_with(&layers) {
            left.push(format!("mount {}", target.display()));
        }
    }
    for (pid, name) in processes_with_open_below(&[data_root, exec_root]) {
        left.push(format!("process {pid} ({name}) holds files"));
    }
    for path in cgroups() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| containers.contains(&name)) {
            left.push(format!("cgroup {}", path.display()));
        }
    }
    for folder in ["containers", "names", "ingest", "trash", "leases"] {
        left.extend(
            entries(&data_root.join(folder)).iter().map(|e| format!("file {}", e.display())),
        );
    }
    left.extend(
        entries(&exec_root.join("containers")).iter().map(|e| format!("file {}", e.display())),
    );
    left
}

/// cgroups of containers, in every hierarchy.
pub fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(entries(Path::new("/sys/fs/cgroup")));
    for root in roots {
        let children = entries(&root.join("hull"));
        let is_container = |path: &PathBuf| path.is_dir() && !path.ends_with("shim");
        found.extend(children.into_iter().filter(is_container));
    }
    found
}

/// Processes that have `file` open.
pub fn processes_with_open(file: &Path) -> Vec<i32> {
    let holds = |pid: &i32| open_files(*pid).iter().any(|target| target == file);
    pids().into_iter().filter(holds).collect()
}

/// Unmounts everything below `folder`, innermost first.
pub fn unmount_below(folder: &Path) {
    for target in mounts_below(folder).iter().rev() {
        // A mount that will not go keeps the folder; the test that left it fails on its own.
        let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
    }
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    targets.filter(|target| target.starts_with(folder)).collect()
}

fn processes_with_open_below(folders: &[&Path]) -> Vec<(i32, String)> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let below = |path: &PathBuf| folders.iter().any(|folder| path.starts_with(folder));
    let mut found = Vec::new();
    for pid in pids() {
        if pid != own && open_files(pid).iter().any(below) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            found.push((pid, name.trim_end().to_owned()));
        }
    }
    found
}

fn pids() -> Vec<i32> {
    let names = entries(Path::new("/proc"));
    names.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

fn open_files(pid: i32) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = entries(Path::new(&format!("/proc/{pid}/fd")))
        .iter()
        .filter_map(|link| fs::read_link(link).ok())
        .collect();
    files.extend(fs::read_link(format!("/proc/{pid}/cwd")));
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}
