//! What is mounted beyond the standard file systems: masks, the user's mounts, supplied files.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::descriptor::leave_to_exec;
use hull_sys::mount::{Attributes, add_attributes, add_attributes_at};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_bind_recursive, move_mount,
    open_tree,
};
use rustix::process::fchdir;

use crate::error::{StartError, Step};
use crate::filesystems::NOTHING_SPECIAL;
use crate::path::{self, Kind};
use crate::rootfs::is_proc;
use crate::spec::{Mount, MountSource, SuppliedFile};

/// Paths hidden from every container that is not privileged, beside [`thermal_throttle_paths`]
/// (moby, `daemon/pkg/oci/defaults.go`).
pub const DEFAULT_MASKED_PATHS: &[&str] = &[
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
];

/// Paths read-only in every container that is not privileged.
pub const DEFAULT_READONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `/sys/devices/system/cpu/cpuN/thermal_throttle` of each CPU that has one: its counters tell
/// one tenant of another's load, so it is masked too.
pub fn thermal_throttle_paths() -> Vec<String> {
    // Every CPU has one or none has.
    let first = c"/sys/devices/system/cpu/cpu0/thermal_throttle";
    if rustix::fs::access(first, rustix::fs::Access::EXISTS).is_err() {
        return Vec::new();
    }
    let Ok(cpus) = std::fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let mut paths: Vec<String> = cpus
        .flatten()
        .filter_map(|cpu| {
            let name = cpu.file_name().into_string().ok()?;
            name.strip_prefix("cpu")?.parse::<u32>().ok()?;
            let path = cpu.path().join("thermal_throttle");
            path.exists().then(|| path.to_string_lossy().into_owned())
        })
        .collect();
    paths.sort();
    paths
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);
const ON_DESCRIPTORS: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// Those of [`DEFAULT_MASKED_PATHS`] that are directories, where they exist. Only to try that
/// first: what a path really is, the kernel tells.
const DIRECTORIES: &[&str] =
    &["/proc/acpi", "/proc/scsi", "/sys/devices/virtual/powercap", "/sys/firmware"];

/// Hides what exists of `paths`.
///
/// Runs in the container's root before anything of the user's is mounted, so that `/dev/null`
/// and the kernel's file systems are ours and paths can be trusted.
pub(crate) fn mask<'p>(paths: impl IntoIterator<Item = &'p str>) -> Result<(), StartError> {
    // One empty directory is made and bound over all others.
    let mut empty: Option<&str> = None;
    for path in paths {
        let mut directory = DIRECTORIES.contains(&path) || path.ends_with("/thermal_throttle");
        let mut mount = |directory| match (directory, empty) {
            (false, _) => mount_bind("/dev/null", path),
            (true, Some(empty)) => mount_bind(empty, path),
            (true, None) => {
                let options = Some(c"size=0,mode=755");
                mount("tmpfs", path, "tmpfs", MountFlags::RDONLY | NOTHING_SPECIAL, options)?;
                empty = Some(path);
                Ok(())
            }
        };
        let mut mounted = mount(directory);
        if let Err(Errno::NOTDIR) = mounted {
            directory = !directory;
            mounted = mount(directory);
        }
        match mounted {
            Err(Errno::NOENT) => {}
            other => other.step_with(|| format!("mask {path}"))?,
        }
    }
    Ok(())
}

/// Makes what exists of `paths` read-only, with all that is mounted there. As for [`mask`], the
/// paths can be trusted, and nobody else is there yet to use what is bound but writable still.
pub(crate) fn make_readonly<'p>(
    paths: impl IntoIterator<Item = &'p str>,
) -> Result<(), StartError> {
    for path in paths {
        let what = || format!("make {path} read-only");
        let path = CString::new(path).step_with(what)?;
        match mount_bind_recursive(&path, &path) {
            Err(Errno::NOENT) => continue,
            other => other.step_with(what)?,
        }
        add_attributes_at(&path, Attributes::RDONLY, true).step_with(what)?;
    }
    Ok(())
}

/// Mounts what the user asked for, in order. `trees` are the trees that the mounts refer to.
pub(crate) fn mount_users(
    root: BorrowedFd<'_>,
    mounts: &[Mount],
    trees: &[OwnedFd],
) -> Result<(), StartError> {
    for wanted in mounts {
        match &wanted.source {
            MountSource::Tree { tree, shown, .. } => {
                let tree = trees.get(*tree).ok_or_else(|| {
                    StartError::internal(format!("the tree of {shown} did not arrive"))
                })?;
                mount_tree(root, wanted, tree, shown)?;
            }
            MountSource::Tmpfs { size, mode, exec } => {
                mount_tmpfs(root, wanted, *size, *mode, *exec)?
            }
        }
    }
    Ok(())
}

fn mount_tree(
    root: BorrowedFd<'_>,
    wanted: &Mount,
    tree: &OwnedFd,
    shown: &str,
) -> Result<(), StartError> {
    let what = || format!("mount {shown} on {}", wanted.destination);
    let status = rustix::fs::fstat(tree).step_with(what)?;
    let is_directory = rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir();
    let kind = if is_directory { Kind::Directory } else { Kind::File };
    let destination = destination(root, &wanted.destination, kind, shown)?;
    // Files beneath /proc say who a process is to the engine: nothing may stand in for them.
    if is_proc(destination.as_fd()) && !is_proc(tree.as_fd()) {
        return Err(proc_destination(&wanted.destination));
    }
    if kind == Kind::File && is_a_directory(&destination) {
        return Err(StartError::invalid(format!(
            "cannot mount the file {shown} on {}: it is a directory in the container",
            wanted.destination
        ))
        .hint("mount a file on a file and a directory on a directory; a missing source of -v is made a directory"));
    }
    if wanted.readonly {
        add_attributes(tree, Attributes::RDONLY, true).step_with(what)?;
    }
    // The tree stays usable for a second mount of the same source.
    move_mount(tree, "", &destination, "", ON_DESCRIPTORS).step_with(what)
}

fn mount_tmpfs(
    root: BorrowedFd<'_>,
    wanted: &Mount,
    size: Option<u64>,
    mode: Option<u32>,
    exec: bool,
) -> Result<(), StartError> {
    let what = || format!("mount a tmpfs on {}", wanted.destination);
    let directory = destination(root, &wanted.destination, Kind::Directory, "a tmpfs")?;
    if is_proc(directory.as_fd()) {
        return Err(proc_destination(&wanted.destination));
    }
    let mut options = format!("mode={:o}", mode.unwrap_or(0o1777));
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    let options = CString::new(options).step_with(what)?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::NOEXEC, !exec);
    flags.set(MountFlags::RDONLY, wanted.readonly);
    fchdir(&directory).step_with(what)?;
    mount("tmpfs", ".", "tmpfs", flags, Some(&*options)).step_with(what)
}

fn proc_destination(path: &str) -> StartError {
    StartError::invalid(format!("cannot mount on {path}: it lies in /proc"))
}

fn is_a_directory(descriptor: &OwnedFd) -> bool {
    rustix::fs::fstat(descriptor)
        .is_ok_and(|status| rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir())
}

/// Where a mount of `shown` goes, made where it is missing.
fn destination(
    root: BorrowedFd<'_>,
    path: &str,
    kind: Kind,
    shown: &str,
) -> Result<OwnedFd, StartError> {
    if path.split('/').all(|part| part.is_empty() || part == ".") {
        return Err(StartError::invalid("cannot mount on / in the container"));
    }
    path::ensure(root, path, kind).map_err(|error| {
        let wanted = if kind == Kind::Directory { "directory" } else { "file" };
        let error = std::io::Error::from(error);
        let failed = StartError::invalid(format!(
            "cannot mount {shown} on {path}: cannot use that in the container as a {wanted}: {}",
            crate::error::reason(&error)
        ));
        match error.kind() {
            std::io::ErrorKind::NotADirectory => failed.hint(
                "a part of that path is a file in the image: mount on another path, or mount a file",
            ),
            std::io::ErrorKind::ReadOnlyFilesystem => failed.hint(
                "the path is not in the image and cannot be made on a read-only root: mount on a path that is",
            ),
            _ => failed,
        }
    })
}

/// Supplied files on a tmpfs of their own, each as a tree attached nowhere.
///
/// Runs before the container's root becomes the root: the tmpfs is put over the `/dev` of the
/// host's tree, which this mount namespace is about to drop.
pub(crate) fn stage_files(files: &[SuppliedFile]) -> Result<Vec<OwnedFd>, StartError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", "/dev", "tmpfs", flags, Some(c"mode=755,size=4m"))
        .step("make room for supplied files")?;
    let mut trees = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let what = || format!("supply {}", file.path);
        // Named as in the container, for whoever reads its list of mounts.
        let name = file.path.rsplit('/').next().unwrap_or("file");
        let path = format!("/dev/{number}-{name}");
        let mut written = File::create_new(&path).step_with(what)?;
        written.write_all(file.content.as_bytes()).step_with(what)?;
        trees.push(open_tree(CWD, &path, CLONE).step_with(what)?);
        leave_to_exec(written.into());
    }
    Ok(trees)
}

/// Binds the staged files over their paths.
pub(crate) fn mount_files(
    root: BorrowedFd<'_>,
    files: &[SuppliedFile],
    trees: Vec<OwnedFd>,
) -> Result<(), StartError> {
    for (file, tree) in files.iter().zip(trees) {
        let place = destination(root, &file.path, Kind::File, "a supplied file")?;
        move_mount(&tree, "", &place, "", ON_DESCRIPTORS)
            .step_with(|| format!("supply {}", file.path))?;
        leave_to_exec(place);
        leave_to_exec(tree);
    }
    Ok(())
}

/// The paths of `paths` that lie at or beneath a mount of the user's, so that what was hidden
/// there is covered by it.
pub(crate) fn beneath<'p>(paths: &'p [String], mounts: &[Mount]) -> Vec<&'p str> {
    let covered = |path: &&str| {
        mounts.iter().any(|mount| {
            let rest = path.strip_prefix(mount.destination.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    paths.iter().map(String::as_str).filter(covered).collect()
}

/// Hides paths again that a mount of the user's has brought back. Here no path is trusted: each
/// is resolved once, and what is bound over it are `null` and an empty tmpfs of ours.
pub(crate) fn mask_again(
    root: BorrowedFd<'_>,
    paths: &[&str],
    null: Option<&OwnedFd>,
) -> Result<(), StartError> {
    for path in paths {
        let what = || format!("mask {path}");
        let target = match path::resolve(root, path, OFlags::PATH) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.step_with(what)?,
        };
        if is_a_directory(&target) {
            fchdir(&target).step_with(what)?;
            let flags =
                MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("tmpfs", ".", "tmpfs", flags, Some(c"size=0,mode=755")).step_with(what)?;
        } else if let Some(null) = null {
            let clone =
                open_tree(null, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH).step_with(what)?;
            move_mount(clone, "", &target, "", ON_DESCRIPTORS).step_with(what)?;
        }
    }
    Ok(())
}

/// Makes paths read-only again, likewise.
pub(crate) fn make_readonly_again(root: BorrowedFd<'_>, paths: &[&str]) -> Result<(), StartError> {
    for path in paths {
        let what = || format!("make {path} read-only");
        let target = match path::resolve(root, path, OFlags::PATH) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other.step_with(what)?,
        };
        let flags = CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&target, "", flags).step_with(what)?;
        add_attributes(&tree, Attributes::RDONLY, true).step_with(what)?;
        move_mount(tree, "", &target, "", ON_DESCRIPTORS).step_with(what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_beneath_mounts() {
        let paths: Vec<String> =
            DEFAULT_MASKED_PATHS.iter().map(|path| (*path).to_owned()).collect();
        let mount = |destination: &str| Mount {
            destination: destination.to_owned(),
            source: MountSource::Tmpfs { size: None, mode: None, exec: false },
            readonly: false,
        };
        assert!(beneath(&paths, &[mount("/data"), mount("/sysx"), mount("/sys/firm")]).is_empty());
        assert_eq!(
            beneath(&paths, &[mount("/sys/")]),
            ["/sys/devices/virtual/powercap", "/sys/firmware"]
        );
        assert_eq!(beneath(&paths, &[mount("/")]).len(), paths.len());
    }
}
