//! The supervisor's part of a start, and the container that runs after it.

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_sys::clone::{Child, Cloned, Namespaces, SingleThreaded, clone_process};
use hull_sys::descriptor::close_all;
use rustix::fs::{Gid, Mode, OFlags, Uid, open};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::capability::Capability;
use crate::cgroup::Cgroup;
use crate::channel::{self, Outcome, ParentEnd};
use crate::child::{self, Assignment};
use crate::error::{StartError, Step};
use crate::id_range::IdRange;
use crate::process::{Prepared, capabilities};
use crate::rootfs::{self, Mapping};
use crate::spec::{MountSource, Seccomp, Spec, UserNamespace};
use crate::{Inputs, Stdio, limits, seccomp};

/// A container whose first process runs.
///
/// Holds the container's id range and its root file system until it is dropped. Dropping does not
/// end the container; it may take a while, for the file system syncs when its last holder lets
/// go, so drop it after everyone who waits has been told of the exit.
#[derive(Debug)]
pub struct Running {
    /// The first process, as this process's pid namespace numbers it. The caller is its parent.
    pub pid: Pid,
    /// Refers to the first process.
    pub pidfd: OwnedFd,
    /// Master of the terminal, where the process has one.
    pub console: Option<OwnedFd>,
    /// The container's cgroups, to be removed by the caller after the exit.
    pub cgroup: Cgroup,
    pub(crate) filter: Option<Vec<u64>>,
    pub(crate) ids: Option<IdRange>,
    root: OwnedFd,
}

impl Running {
    /// Lets go of all but the container's root file system. Whoever closes that last waits until
    /// its writable layer is on the disk.
    #[must_use]
    pub fn into_root(self) -> OwnedFd {
        self.root
    }
}

/// Starts a container.
///
/// The caller must have one thread: it clones itself. On return the program executes; what it
/// does then shows on the streams and the pidfd.
///
/// # Errors
/// See [`StartError`]. Nothing is left behind then: no process, cgroup or mount.
pub fn start(spec: &Spec, inputs: Inputs, stdio: Stdio) -> Result<Running, StartError> {
    check(spec)?;
    let prepared = Prepared::new(&spec.process)?;
    let filter = compile_filter(&spec.seccomp, &capabilities(&spec.process)?)?;
    let cgroup = Cgroup::open(&spec.id).step("find the cgroup hierarchies")?;
    let ids = match spec.userns {
        UserNamespace::Private { size } => Some(IdRange::take(inputs.id_ranges.as_fd(), size)?),
        UserNamespace::Host => None,
    };
    let created = launch(spec, prepared, &inputs, stdio, filter.as_deref(), &cgroup, ids.as_ref());
    match created {
        Ok(Launched { child, console, root, mut used }) => Ok({
            // Layers and trees are held by the mounts made of them.
            used.extend(inputs.into_descriptors());
            close_all(used);
            Running { pid: child.pid, pidfd: child.pidfd, console, cgroup, filter, ids, root }
        }),
        Err(error) => {
            // The first error is what the user must see.
            if let Err(left) = cgroup.remove() {
                tracing::warn!(container_id = %spec.id, error = %left, "a cgroup was left behind");
            }
            Err(error)
        }
    }
}

fn check(spec: &Spec) -> Result<(), StartError> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if spec.id.is_empty() || spec.id.starts_with('.') || !spec.id.chars().all(valid) {
        return Err(StartError::invalid(format!("{:?} is no container id", spec.id)));
    }
    let private = matches!(spec.userns, UserNamespace::Private { .. });
    if private && spec.privileged {
        return Err(StartError::invalid("a privileged container needs the host's user namespace"));
    }
    Ok(())
}

fn compile_filter(
    seccomp: &Seccomp,
    capabilities: &[Capability],
) -> Result<Option<Vec<u64>>, StartError> {
    let invalid =
        |error: &dyn std::fmt::Display| StartError::invalid(format!("seccomp profile: {error}"));
    match seccomp {
        Seccomp::Default => Ok(Some(seccomp::default_program(capabilities).words())),
        Seccomp::Profile(text) => {
            let profile = seccomp::Profile::parse(text).map_err(|error| invalid(&error))?;
            let program =
                seccomp::compile(&profile, capabilities).map_err(|error| invalid(&error))?;
            Ok(Some(program.words()))
        }
        Seccomp::Unconfined => Ok(None),
    }
}

struct Launched {
    child: Child,
    console: Option<OwnedFd>,
    root: OwnedFd,
    /// Of no further use.
    used: Vec<OwnedFd>,
}

fn launch(
    spec: &Spec,
    prepared: Prepared<'_>,
    inputs: &Inputs,
    stdio: Stdio,
    filter: Option<&[u64]>,
    cgroup: &Cgroup,
    ids: Option<&IdRange>,
) -> Result<Launched, StartError> {
    give_pipes(&stdio, ids);
    let unified = cgroup.create_unified()?;
    let (parent_end, child_end) = channel::pair()?;
    let mut namespaces =
        Namespaces::MOUNT.and(Namespaces::PID).and(Namespaces::UTS).and(Namespaces::IPC);
    if ids.is_some() {
        namespaces = namespaces.and(Namespaces::USER);
    }
    let proof = SingleThreaded::prove().step("start a process")?;
    let cloned = clone_process(&proof, namespaces, unified.as_ref().map(AsFd::as_fd));
    match cloned.step("clone the container's first process")? {
        Cloned::Child => {
            drop(parent_end);
            child::run(Assignment {
                spec,
                prepared,
                topology: cgroup.topology(),
                trees: &inputs.trees,
                stdio,
                filter,
                ids: ids.map(|ids| ids.size),
                proof,
                channel: child_end,
            })
        }
        Cloned::Parent(child) => {
            drop(child_end);
            // The child holds its own; ours would keep the streams from ever ending.
            let mut used: Vec<_> = stdio.into_descriptors().chain(unified).collect();
            match attend(spec, inputs, cgroup, ids, &child, &parent_end, &mut used) {
                Ok((console, root)) => {
                    used.push(parent_end.into());
                    Ok(Launched { child, console, root, used })
                }
                Err(error) => {
                    drop(parent_end);
                    end(&child);
                    Err(error)
                }
            }
        }
    }
}

/// Makes for the child what it cannot make itself, and waits until it executes.
fn attend(
    spec: &Spec,
    inputs: &Inputs,
    cgroup: &Cgroup,
    ids: Option<&IdRange>,
    child: &Child,
    channel: &ParentEnd,
    used: &mut Vec<OwnedFd>,
) -> Result<(Option<OwnedFd>, OwnedFd), StartError> {
    let userns = match ids {
        Some(ids) => {
            used.extend(write_id_maps(child.pid, ids)?);
            Some(open_userns(child.pid)?)
        }
        None => None,
    };
    limits::set(child.pid, &spec.process.rlimits, spec.oom_score_adj)?;
    let tasks = cgroup.create_v1()?;
    cgroup.configure(&spec.resources, !spec.privileged)?;
    let mapping = userns.as_ref().zip(ids).map(|(userns, ids)| Mapping {
        userns: userns.as_fd(),
        first_uid: ids.first_uid,
        first_gid: ids.first_gid,
    });
    let root = rootfs::build(&inputs.layers, inputs.upper.as_ref(), mapping, &spec.rootfs)?;
    if let Some(userns) = &userns {
        map_trees(spec, inputs, userns.as_fd())?;
    }
    let mut descriptors = vec![root.as_fd()];
    descriptors.extend(tasks.iter().map(AsFd::as_fd));
    let outcome = channel.run(&descriptors)?;
    used.extend(tasks.into_iter().chain(userns));
    match outcome {
        Outcome::Executing { console } => Ok((console, root)),
        Outcome::Failed(error) => Err(error),
        Outcome::Silent => {
            Err(StartError::internal("the container's first process died while it was set up"))
        }
    }
}

/// Lets the container's root own the pipes it is given, so that `/dev/stdout` can be opened.
pub(crate) fn give_pipes(stdio: &Stdio, ids: Option<&IdRange>) {
    let Some(ids) = ids else { return };
    for stream in [&stdio.stdin, &stdio.stdout, &stdio.stderr].into_iter().flatten() {
        let is_pipe = rustix::fs::fstat(stream)
            .is_ok_and(|status| rustix::fs::FileType::from_raw_mode(status.st_mode).is_fifo());
        if is_pipe {
            // Without it the container still has its streams, only not by path.
            let owner = (Uid::from_raw(ids.first_uid), Gid::from_raw(ids.first_gid));
            let _ = rustix::fs::fchown(stream, Some(owner.0), Some(owner.1));
        }
    }
}

/// Returns the files, to be closed with others.
fn write_id_maps(pid: Pid, ids: &IdRange) -> Result<[OwnedFd; 2], StartError> {
    let write = |file: &str, first: u32| {
        let path = format!("/proc/{pid}/{file}");
        let mut map = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .step_with(|| format!("open {path}"))?;
        map.write_all(format!("0 {first} {}\n", ids.size).as_bytes())
            .step_with(|| format!("write {path}"))?;
        Ok(OwnedFd::from(map))
    };
    Ok([write("uid_map", ids.first_uid)?, write("gid_map", ids.first_gid)?])
}

fn open_userns(pid: Pid) -> Result<OwnedFd, StartError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())
        .step("open the container's user namespace")
}

fn map_trees(spec: &Spec, inputs: &Inputs, userns: BorrowedFd<'_>) -> Result<(), StartError> {
    for mount in &spec.mounts {
        if let MountSource::Tree { tree, idmap: true, shown } = &mount.source
            && let Some(tree) = inputs.trees.get(*tree)
        {
            rootfs::map_tree(tree.as_fd(), userns, shown, &mount.destination)?;
        }
    }
    Ok(())
}

/// Kills and reaps a child that is not to run.
pub(crate) fn end(child: &Child) {
    let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| {
        waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)
    });
}
