//! The file systems every container has: `/proc`, `/dev`, `/sys` and what is in them.
//!
//! Runs in the child while the host's tree is still there: the kernel lets a user namespace mount
//! proc and sysfs only where they are visible already, and device nodes are bound from the host's
//! `/dev`. Each file system is mounted with its final flags on a directory held open, never by a
//! path that the image could have put a link into.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use hull_sys::descriptor::leave_to_exec;
use hull_sys::mount::{Attributes, add_attributes};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, move_mount, open_tree,
};
use rustix::process::{chdir, fchdir};

use crate::cgroup::{Topology, Version, devices};
use crate::error::{StartError, Step};
use crate::path;
use crate::spec::{Network, Spec, UserNamespace};

/// For file systems that hold neither programs nor devices.
pub(crate) const NOTHING_SPECIAL: MountFlags =
    MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Links in every `/dev`.
const DEV_LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
    ("/proc/kcore", "core"),
];

/// Mounts `/proc`, `/dev` and `/sys` beneath `root`. Returns `/dev`.
pub(crate) fn mount_all(
    root: BorrowedFd<'_>,
    spec: &Spec,
    topology: &Topology,
) -> Result<OwnedFd, StartError> {
    mount_on(root, "proc", "proc", NOTHING_SPECIAL, None)?;
    let dev = mount_dev(root, spec)?;
    let readonly = if spec.privileged { MountFlags::empty() } else { MountFlags::RDONLY };
    let private = matches!(spec.userns, UserNamespace::Private { .. });
    if private && spec.network == Network::Host {
        mount_partial_sys(root)?;
    } else {
        mount_on(root, "sys", "sysfs", NOTHING_SPECIAL | readonly, None)?;
    }
    mount_cgroups(root, topology, readonly)?;
    Ok(dev)
}

/// What of the host's `/sys` a container sees that has the host's network and ids of its own.
const PARTS_OF_SYS: [&str; 2] = ["devices/system/cpu", "devices/system/node"];

/// The kernel refuses a sysfs to a user namespace that does not own its network namespace, and
/// the host's own shows every device there is. So `/sys` is an empty directory with the few parts
/// that programs look at to see how many processors there are.
fn mount_partial_sys(root: BorrowedFd<'_>) -> Result<(), StartError> {
    mount_on(root, "sys", "tmpfs", NOTHING_SPECIAL, Some(c"mode=755,size=64k"))?;
    let sys = enter(root, "sys")?;
    let directories = ["fs", "fs/cgroup", "devices", "devices/system"];
    for directory in directories.iter().chain(&PARTS_OF_SYS) {
        mkdirat(CWD, *directory, Mode::from_raw_mode(0o755))
            .step_with(|| format!("make /sys/{directory}"))?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let inert = Attributes::RDONLY.and(Attributes::NOSUID).and(Attributes::NODEV);
    for part in PARTS_OF_SYS {
        let what = || format!("bind the host's /sys/{part}");
        let tree = match open_tree(CWD, format!("/sys/{part}"), flags) {
            Err(Errno::NOENT) => continue,
            other => other.step_with(what)?,
        };
        add_attributes(&tree, inert, false).step_with(what)?;
        move_mount(&tree, "", CWD, part, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .step_with(what)?;
        leave_to_exec(tree);
    }
    add_attributes(&sys, Attributes::RDONLY, false).step("make /sys read-only")?;
    leave_to_exec(sys);
    Ok(())
}

/// Mounts a file system on the real directory `name` right beneath `root`.
fn mount_on(
    root: BorrowedFd<'_>,
    name: &str,
    filesystem: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), StartError> {
    let directory = path::real_directory(root, name).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => StartError::invalid(format!(
            "/{name} in the image is a symbolic link or a file: it must be a directory"
        )),
        other => Err::<(), _>(other)
            .step_with(|| format!("open /{name}"))
            .expect_err("made from an error"),
    })?;
    fchdir(&directory).step_with(|| format!("enter /{name}"))?;
    leave_to_exec(directory);
    mount_here(filesystem, ".", flags, options)
}

/// Mounts on `target`, which is relative to the current directory.
fn mount_here(
    filesystem: &str,
    target: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<(), StartError> {
    mount(filesystem, target, filesystem, flags, options)
        .step_with(|| format!("mount {filesystem}"))
}

fn enter(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, StartError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory =
        openat(root, name, flags, Mode::empty()).step_with(|| format!("open /{name}"))?;
    fchdir(&directory).step_with(|| format!("enter /{name}"))?;
    Ok(directory)
}

fn mount_dev(root: BorrowedFd<'_>, spec: &Spec) -> Result<OwnedFd, StartError> {
    mount_on(
        root,
        "dev",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::STRICTATIME,
        Some(c"mode=755,size=65536k"),
    )?;
    let dev = enter(root, "dev")?;
    let private = matches!(spec.userns, UserNamespace::Private { .. });
    for (name, major, minor) in devices::NODES {
        if private { bind_node(name)? } else { make_node(name, major, minor)? }
    }
    if spec.privileged {
        crate::host_devices::copy()?;
    }
    for (target, name) in DEV_LINKS {
        symlinkat(target, CWD, name).step_with(|| format!("link /dev/{name}"))?;
    }
    let directory = Mode::from_raw_mode(0o755);
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(CWD, name, directory).step_with(|| format!("make /dev/{name}"))?;
    }
    let pts = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_here("devpts", "pts", pts, Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"))?;
    let shm = std::ffi::CString::new(format!("mode=1777,size={}", spec.shm_size))
        .step("size /dev/shm")?;
    mount_here("tmpfs", "shm", NOTHING_SPECIAL, Some(&shm))?;
    mount_here("mqueue", "mqueue", NOTHING_SPECIAL, None)?;
    Ok(dev)
}

/// In a user namespace no device node can be made: the host's own are bound.
fn bind_node(name: &str) -> Result<(), StartError> {
    empty_file(name)?;
    mount_bind(format!("/dev/{name}"), name).step_with(|| format!("bind the host's /dev/{name}"))
}

/// Makes an empty file in the current directory, to mount on.
pub(crate) fn empty_file(name: &str) -> Result<(), StartError> {
    let kind = rustix::fs::FileType::RegularFile;
    mknodat(CWD, name, kind, Mode::from_raw_mode(0o666), 0)
        .step_with(|| format!("make {name} in /dev"))
}

fn make_node(name: &str, major: u32, minor: u32) -> Result<(), StartError> {
    let kind = rustix::fs::FileType::CharacterDevice;
    let device = rustix::fs::makedev(major, minor);
    mknodat(CWD, name, kind, Mode::from_raw_mode(0o666), device)
        .step_with(|| format!("make the device node /dev/{name}"))
}

/// Mounts the container's own view of its cgroups on `/sys/fs/cgroup`, laid out as the host's.
fn mount_cgroups(
    root: BorrowedFd<'_>,
    topology: &Topology,
    readonly: MountFlags,
) -> Result<(), StartError> {
    let flags = NOTHING_SPECIAL | readonly;
    if topology.hierarchies.is_empty() {
        return Ok(());
    }
    // Below `/sys` all names are the kernel's.
    fchdir(root).step("enter the root file system")?;
    chdir("sys/fs/cgroup").step("enter /sys/fs/cgroup")?;
    if let [only] = &*topology.hierarchies
        && only.version == Version::V2
    {
        return mount_here("cgroup2", ".", flags, None);
    }
    mount_here("tmpfs", ".", NOTHING_SPECIAL, Some(c"mode=755"))?;
    chdir("../cgroup").step("enter /sys/fs/cgroup")?;
    for hierarchy in &topology.hierarchies {
        let name = hierarchy.name();
        mkdirat(CWD, name, Mode::from_raw_mode(0o755))
            .step_with(|| format!("make /sys/fs/cgroup/{name}"))?;
        if hierarchy.version == Version::V2 {
            mount_here("cgroup2", name, flags, None)?;
            continue;
        }
        let mut options = hierarchy.controllers.join(",");
        if options.starts_with("name=") {
            options.insert_str(0, "none,");
        }
        let options = std::ffi::CString::new(options).step("name cgroup controllers")?;
        mount("cgroup", name, "cgroup", flags, &*options)
            .step_with(|| format!("mount the {name} cgroup"))?;
        if let [_, _, ..] = &*hierarchy.controllers {
            for controller in &hierarchy.controllers {
                symlinkat(name, CWD, controller.as_str())
                    .step_with(|| format!("link /sys/fs/cgroup/{controller}"))?;
            }
        }
    }
    if readonly.is_empty() {
        return Ok(());
    }
    add_attributes(CWD, Attributes::RDONLY, false).step("make /sys/fs/cgroup read-only")
}
