//! What the container's first process does between being cloned and executing its program.
//!
//! Runs alone in a copy of the supervisor's memory: one thread, nothing logged, errors sent up
//! the channel. Descriptors are closed by the exec.

use std::os::fd::{AsFd, OwnedFd};

use hull_sys::clone::{SingleThreaded, exit_now, unshare_cgroup, unshare_network};
use hull_sys::descriptor::leave_to_exec;
use hull_sys::mount::{Attributes, add_attributes, make_all_private};
use hull_sys::{keyring, loopback};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, open};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::process::{fchdir, pivot_root};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::Stdio;
use crate::cgroup::{self, Topology};
use crate::channel::ChildEnd;
use crate::error::{StartError, Step};
use crate::process::{Prepared, Surroundings, become_program};
use crate::spec::{Network, Spec, UserNamespace};
use crate::{filesystems, mounts, terminal};

/// Everything the child takes along.
#[derive(Debug)]
pub(crate) struct Assignment<'s> {
    pub spec: &'s Spec,
    pub prepared: Prepared<'s>,
    pub topology: &'s Topology,
    pub trees: &'s [OwnedFd],
    pub stdio: Stdio,
    pub filter: Option<&'s [u64]>,
    /// How many ids the container has; absent in the host's user namespace.
    pub ids: Option<u32>,
    pub proof: SingleThreaded,
    pub channel: ChildEnd,
}

/// Exit code of a child that could not become its program; nobody reads it but a debugger.
const FAILED: i32 = 125;

/// Becomes the container's first process.
pub(crate) fn run(assignment: Assignment<'_>) -> ! {
    // A panic must not unwind into the supervisor's code, of which this is a copy.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| set_up(assignment)));
    drop(ended);
    exit_now(FAILED)
}

fn set_up(assignment: Assignment<'_>) {
    let Assignment { spec, prepared, topology, trees, stdio, filter, ids, proof, channel } =
        assignment;
    let made = match make_surroundings(spec, &prepared, topology, trees, &channel) {
        Ok(Some(made)) => made,
        Ok(None) => return,
        Err(error) => return channel.failed(&error),
    };
    let surroundings = Surroundings {
        root: made.root.as_fd(),
        stdio,
        terminal: made.terminal,
        filter,
        ids,
        already_root: ids.is_some(),
        proof,
        channel: &channel,
        init: spec.init,
    };
    channel.failed(&become_program(prepared, surroundings));
}

struct Made {
    root: OwnedFd,
    terminal: Option<terminal::Terminal>,
}

/// `None` when the supervisor is gone.
fn make_surroundings(
    spec: &Spec,
    prepared: &Prepared<'_>,
    topology: &Topology,
    trees: &[OwnedFd],
    channel: &ChildEnd,
) -> Result<Option<Made>, StartError> {
    // The slowest call of all: it runs while the supervisor makes cgroups and the root.
    if spec.network == Network::None {
        unshare_network().step("make a network namespace")?;
        loopback::bring_up().step("bring the loopback device up")?;
        open_ports();
    }
    let Some(mut descriptors) = channel.wait_for_go()? else { return Ok(None) };
    if descriptors.is_empty() {
        return Err(StartError::internal("the root file system did not arrive"));
    }
    let root = descriptors.remove(0);
    cgroup::enter(descriptors)?;
    unshare_cgroup().step("make a cgroup namespace")?;
    match spec.userns {
        UserNamespace::Private { .. } => become_root()?,
        UserNamespace::Host => make_all_private().step("make the host's mounts private")?,
    }
    match keyring::new_session() {
        // A kernel without key rings has none to protect.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {}
        other => other.step("make a session keyring")?,
    }
    sethostname(spec.hostname.as_bytes())
        .step_with(|| format!("set the host name {:?}", spec.hostname))?;
    if !spec.domainname.is_empty() {
        setdomainname(spec.domainname.as_bytes())
            .step_with(|| format!("set the domain name {:?}", spec.domainname))?;
    }

    // Over the host's root: no path of the container's is needed to find it again.
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step("attach the root file system")?;
    let dev = filesystems::mount_all(root.as_fd(), spec, topology)?;
    let terminal = match prepared.wants_terminal() {
        true => {
            let terminal = terminal::open(dev.as_fd(), prepared.terminal_size())?;
            fchdir(&dev).step("enter /dev")?;
            terminal::bind_console(terminal.slave.as_fd())?;
            Some(terminal)
        }
        false => None,
    };
    let files = mounts::stage_files(&spec.files)?;
    change_root(&root)?;
    mount_on_root(spec, trees, &root, files)?;
    leave_to_exec(dev);
    Ok(Some(Made { root, terminal }))
}

/// Lets every user of the container listen on ports below 1024: the network is its own. As in
/// other engines; where the kernel does not let us, such users need a higher port.
fn open_ports() {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    if let Ok(file) = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&file, b"0");
        leave_to_exec(file);
    }
}

/// Takes the ids of the container's root. Until then the process has all capabilities in its user
/// namespace, and host ids that mean nothing there. Groups are set when the user is known.
fn become_root() -> Result<(), StartError> {
    let what = "become the root of the id range";
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).step(what)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).step(what)
}

/// Makes `root` the root and drops the host's tree.
fn change_root(root: &OwnedFd) -> Result<(), StartError> {
    fchdir(root).step("enter the root file system")?;
    pivot_root(".", ".").step("change the root")?;
    // The old root now lies on top of the new one.
    unmount(".", UnmountFlags::DETACH).step("drop the host's tree")
}

fn mount_on_root(
    spec: &Spec,
    trees: &[OwnedFd],
    root: &OwnedFd,
    files: Vec<OwnedFd>,
) -> Result<(), StartError> {
    mounts::mask(spec.masked_paths.iter().map(String::as_str))?;
    mounts::make_readonly(spec.readonly_paths.iter().map(String::as_str))?;
    let masked = mounts::beneath(&spec.masked_paths, &spec.mounts);
    let readonly = mounts::beneath(&spec.readonly_paths, &spec.mounts);
    let null = if masked.is_empty() { None } else { Some(clone_null()?) };
    mounts::mount_users(root.as_fd(), &spec.mounts, trees)?;
    mounts::mount_files(root.as_fd(), &spec.files, files)?;
    mounts::mask_again(root.as_fd(), &masked, null.as_ref())?;
    mounts::make_readonly_again(root.as_fd(), &readonly)?;
    if spec.rootfs.readonly {
        add_attributes(root, Attributes::RDONLY, false)
            .step("make the root file system read-only")?;
    }
    Ok(())
}

/// Our own null device, held before anything of the user's can take its place.
fn clone_null() -> Result<OwnedFd, StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, "/dev/null", flags).step("hold /dev/null")
}
