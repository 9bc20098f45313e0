//! The files of a container as it sees them, whether it runs or not.
//!
//! Of a running one that is its own root, with everything that is mounted there, and whoever
//! works in it is the root of its user namespace and of nothing else. Of a stopped one it is an
//! overlay made for the purpose, with its volumes and bind mounts, in the ids it has on disk.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use hull_api::ErrorKind;
use hull_sandbox::path::{Kind, ensure, resolve};
use hull_shim::recover::{try_lock, unlock};
use hull_store::Store;
use hull_sys::mount::{Attributes, add_attributes};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::mounts::Source;
use super::start::{bind_source, clone, make_and_open};
use super::stored::{Container, is_running, state_of};
use crate::error::ApiError;

/// How long another copy into the same stopped container is waited for.
const BUSY: Duration = Duration::from_secs(20);

/// What is done with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A container's files.
#[derive(Debug)]
pub(crate) struct View {
    /// Its root directory.
    pub(crate) root: OwnedFd,
    /// Its user namespace, unless that is our own or none is needed.
    pub(crate) userns: Option<OwnedFd>,
    _lock: Option<Lock>,
}

/// Keeps a stopped container from being started.
#[derive(Debug)]
struct Lock {
    run: OwnedFd,
    _file: OwnedFd,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = unlock(self.run.as_fd()) {
            // The next start takes the lock all the same: nobody holds it.
            tracing::debug!(%error, "cannot remove the lock of a container");
        }
    }
}

impl View {
    /// Opens the files of a container.
    ///
    /// # Errors
    /// Those of the store and of mounting.
    pub(crate) fn open(
        store: &Store,
        container: &Container,
        access: Access,
    ) -> Result<Self, ApiError> {
        let id = &container.record.id;
        let mut access_to_own = access;
        // One that ends or starts meanwhile is looked at again.
        let deadline = Instant::now() + BUSY;
        while Instant::now() < deadline {
            let state = state_of(store, id)?
                .ok_or_else(|| ApiError::not_found(format!("No such container: {id}")))?;
            if let Some(state) = state.filter(|state| is_running(Some(state))) {
                if let Some(view) = running(id, state.pid)? {
                    return Ok(view);
                }
            } else if access_to_own == Access::Read {
                if let Some(view) = stopped(store, container, access, None)? {
                    return Ok(view);
                }
                // It never ran: places for its mounts are still to be made.
                access_to_own = Access::Write;
                continue;
            } else {
                let run = make_and_open(store, &format!("containers/{id}"))?;
                let lock = try_lock(run.as_fd()).map_err(|error| failed("lock", id, &error))?;
                if let Some(file) = lock {
                    let lock = Some(Lock { run, _file: file });
                    if let Some(view) = stopped(store, container, access, lock)? {
                        return Ok(view);
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(ApiError::conflict(format!(
            "container {id} is being started, stopped or copied into: try again"
        )))
    }
}

fn failed(action: &str, id: &str, error: &std::io::Error) -> ApiError {
    ApiError::internal(error).context(&format!("cannot {action} container {id}"))
}

/// Through its first process; `None` if that is gone.
fn running(id: &str, pid: u32) -> Result<Option<View>, ApiError> {
    let gone = |error: Errno| matches!(error, Errno::NOENT | Errno::SRCH);
    let fail = |error: Errno| failed("look into", id, &error.into());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &str| rustix::fs::openat(CWD, path, flags, Mode::empty());
    let process = match open(&format!("/proc/{pid}")) {
        Err(error) if gone(error) => return Ok(None),
        process => process.map_err(fail)?,
    };
    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let below = |name: &str, flags| rustix::fs::openat(&process, name, flags, Mode::empty());
    let opened = below("cgroup", read)
        .and_then(|cgroup| Ok((cgroup, below("root", flags)?, below("ns/user", read)?)));
    let (cgroup, root, userns) = match opened {
        Err(error) if gone(error) => return Ok(None),
        opened => opened.map_err(fail)?,
    };
    // Not another process that got the number since.
    let mut groups = String::new();
    match std::fs::File::from(cgroup).read_to_string(&mut groups) {
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
        read => read.map_err(|error| failed("look into", id, &error))?,
    };
    if !groups.contains(id) {
        return Ok(None);
    }
    let own = rustix::fs::openat(CWD, "/proc/self/ns/user", read, Mode::empty()).map_err(fail)?;
    let identity = |file: &OwnedFd| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    let same = identity(&own).map_err(fail)? == identity(&userns).map_err(fail)?;
    Ok(Some(View { root, userns: Some(userns).filter(|_| !same), _lock: None }))
}

/// By an overlay made for the purpose, read-only without a `lock`; `None` if that lacks a place for
/// one of the mounts.
fn stopped(
    store: &Store,
    container: &Container,
    access: Access,
    lock: Option<Lock>,
) -> Result<Option<View>, ApiError> {
    let record = &container.record;
    let snapshots = store.snapshots();
    let root = if lock.is_some() {
        snapshots.writable(&record.layers, &record.id)?
    } else {
        let upper = snapshots.upper(&record.id)?.upper;
        snapshots.view(&record.layers, Some(upper.as_fd()))?
    };
    let inert = Attributes::NOSUID.and(Attributes::NODEV);
    for mount in &container.stored.mounts {
        let tree = match &mount.source {
            Source::Bind { path, recursive, .. } => bind_source(path, false, *recursive)?,
            Source::Volume { name, .. } => {
                let volume = store.open_volume(name)?;
                clone(volume.as_fd(), "", false)
                    .map_err(|error| failed("mount a volume of", &record.id, &error.into()))?
            }
            // Gone with the last run.
            Source::Tmpfs { .. } => continue,
        };
        let readonly = mount.readonly || access == Access::Read;
        let attributes = if readonly { inert.and(Attributes::RDONLY) } else { inert };
        add_attributes(&tree, attributes, true)
            .map_err(|error| failed("mount a volume of", &record.id, &error))?;
        if !attach(&root, &tree, &mount.destination, lock.is_some())? {
            return Ok(None);
        }
    }
    if container.stored.host.readonly_rootfs || access == Access::Read {
        add_attributes(&root, Attributes::RDONLY, false)
            .map_err(|error| failed("mount", &record.id, &error))?;
    }
    Ok(Some(View { root, userns: None, _lock: lock }))
}

/// Mounts `tree` where the container would have it; false if it has no place for it yet.
fn attach(
    root: &OwnedFd,
    tree: &OwnedFd,
    destination: &str,
    writable: bool,
) -> Result<bool, ApiError> {
    let fail = |error: Errno| {
        ApiError::internal(&std::io::Error::from(error))
            .context(&format!("cannot mount on {destination}"))
    };
    let mode = rustix::fs::fstat(tree).map_err(fail)?.st_mode;
    let kind = match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Directory => Kind::Directory,
        _ => Kind::File,
    };
    let target = if writable {
        // As the start of the container would.
        ensure(root.as_fd(), destination, kind).map_err(fail)?
    } else {
        match resolve(root.as_fd(), destination, OFlags::PATH) {
            Err(Errno::NOENT) => return Ok(false),
            target => target.map_err(fail)?,
        }
    };
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match move_mount(tree, "", &target, "", empty) {
        Err(Errno::INVAL) => Err(ApiError::new(
            ErrorKind::Unavailable,
            "this kernel cannot show the volumes of a container that does not run (Linux 6.15 can)",
        )
        .hint("start the container, then copy")),
        moved => moved.map(|()| true).map_err(fail),
    }
}
