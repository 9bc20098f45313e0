//! Releasing what a killed shim left.
//!
//! A living shim holds `shim.lock`. A container whose state says *running* while the lock is free
//! has lost its shim, and with it its first process (which dies with the shim). Whoever finds
//! that takes the lock, so only one does the work, and: kills and removes the cgroup, records the
//! exit, removes the container if it was to remove itself.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hull_sandbox::Cgroup;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::protocol::{Exit, LOCK, SOCKET};
use crate::removal;
use crate::state::{ContainerState, LOST, StateError, boot_id};

/// Where a container is, once nothing is left of dead shims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing had to be done: this is its state; `None` for never started.
    Unchanged(Option<ContainerState>),
    /// It had lost its shim; this is its state now.
    Lost(ContainerState),
    /// It had lost its shim and removed itself now.
    Removed,
}

/// Recovery failed; the next call tries again.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// No such container.
    #[error("no container {id}")]
    NotFound {
        /// The container.
        id: String,
    },
    /// Its state cannot be read or written.
    #[error("cannot recover container {id}")]
    State {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: StateError,
    },
    /// A step failed.
    #[error("cannot recover container {id}: {step}")]
    Step {
        /// The container.
        id: String,
        /// What was tried.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads the state of container `id`, first releasing what a dead shim of it left.
///
/// Cheap for a container that does not run. Any number of processes may call it at once.
///
/// # Errors
/// See [`RecoverError`].
pub fn recover(data_root: &Path, exec_root: &Path, id: &str) -> Result<Recovered, RecoverError> {
    let place = Place { data_root, run: exec_root.join("containers").join(id), id };
    loop {
        // A container that ends while we look at it is looked at again.
        if let Some(recovered) = place.recover()? {
            return Ok(recovered);
        }
    }
}

/// Where a container's things are, by path.
struct Place<'a> {
    data_root: &'a Path,
    run: PathBuf,
    id: &'a str,
}

impl Place<'_> {
    /// `None` if its run directory went away meanwhile.
    fn recover(&self) -> Result<Option<Recovered>, RecoverError> {
        let container = match self.container() {
            Err(gone @ RecoverError::NotFound { .. }) => {
                self.sweep()?;
                return Err(gone);
            }
            other => other?,
        };
        let state = self.state(container.as_fd())?;
        // A shim removes its lock file in the end: if there is one, a shim lives or was killed.
        let held = state.as_ref().is_some_and(ContainerState::is_held);
        if !held && !self.run.join(LOCK).exists() {
            return Ok(Some(Recovered::Unchanged(state)));
        }
        let run = match open_path(&self.run) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.run);
                made.map_err(self.failed("create its run directory"))?;
                open_path(&self.run)
            }
            other => other,
        };
        let lock = run.and_then(|run| Ok((try_lock(run.as_fd())?, run)));
        let (lock, run) = match lock {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(self.failed("lock it"))?,
        };
        let Some(_lock) = lock else { return Ok(Some(Recovered::Unchanged(state))) };
        self.release(container.as_fd(), run.as_fd()).map(Some)
    }

    /// Removes the run directory of a container that is no more: whoever removed the container
    /// was killed before it came to this.
    fn sweep(&self) -> Result<(), RecoverError> {
        let swept = || {
            let run = open_path(&self.run)?;
            let Some(_lock) = try_lock(run.as_fd())? else { return Ok(()) };
            release_sandbox(self.id)?;
            unlock(run.as_fd())?;
            remove_run_directory(run.as_fd(), self.id)
        };
        match swept() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(self.failed("remove its run directory")),
        }
    }

    /// With the lock held: no shim lives.
    fn release(
        &self,
        container: BorrowedFd<'_>,
        run: BorrowedFd<'_>,
    ) -> Result<Recovered, RecoverError> {
        let unlock = || unlock(run).map_err(self.failed("release its run directory"));
        if let Err(gone @ RecoverError::NotFound { .. }) = self.container() {
            // Its shim removed it while we looked, and perhaps we made its run directory again.
            unlock()?;
            let removed = remove_run_directory(run, self.id);
            removed.map_err(self.failed("remove its run directory"))?;
            return Err(gone);
        }
        let state = self.state(container)?;
        let Some(state) = state.clone().filter(ContainerState::is_held) else {
            // The shim was killed while it started the container, or cleaned up after it.
            release_sandbox(self.id).map_err(self.failed("remove its cgroup"))?;
            unlock()?;
            return Ok(Recovered::Unchanged(state));
        };
        let data_root = open_path(self.data_root).map_err(self.failed("open the data root"))?;
        let lost = Lost { id: self.id, container, run, data_root: data_root.as_fd() };
        let reason = lost_because(&state);
        lost.release(state, reason)
    }

    fn container(&self) -> Result<OwnedFd, RecoverError> {
        match open_path(&self.data_root.join("containers").join(self.id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RecoverError::NotFound { id: self.id.to_owned() })
            }
            other => other.map_err(self.failed("open its directory")),
        }
    }

    fn state(&self, container: BorrowedFd<'_>) -> Result<Option<ContainerState>, RecoverError> {
        ContainerState::read(container)
            .map_err(|source| RecoverError::State { id: self.id.to_owned(), source })
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(io::Error) -> RecoverError {
        let id = self.id.to_owned();
        move |source| RecoverError::Step { id, step, source }
    }
}

/// A container without a supervisor. Whoever has this holds `shim.lock`.
#[derive(Debug)]
pub struct Lost<'a> {
    /// The container.
    pub id: &'a str,
    /// Its directory in the data root.
    pub container: BorrowedFd<'a>,
    /// Its run directory.
    pub run: BorrowedFd<'a>,
    /// The data root.
    pub data_root: BorrowedFd<'a>,
}

impl Lost<'_> {
    /// Kills what is left of it, records `error` as the reason, removes it if it was to remove
    /// itself, and releases its run directory.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub fn release(&self, state: ContainerState, error: &str) -> Result<Recovered, RecoverError> {
        let failed = |step| {
            move |source: io::Error| RecoverError::Step { id: self.id.to_owned(), step, source }
        };
        let unlock = || unlock(self.run).map_err(failed("release its run directory"));
        release_sandbox(self.id).map_err(failed("remove its cgroup"))?;
        let state = state.exited(&Exit { code: 137, oom_killed: false, error: error.to_owned() });
        let Some(auto_remove) = &state.auto_remove else {
            let written = state.write(self.container);
            written.map_err(|source| RecoverError::State { id: self.id.to_owned(), source })?;
            unlock()?;
            return Ok(Recovered::Lost(state));
        };
        let discarded = removal::discard(self.data_root, self.id, auto_remove)
            .map_err(failed("move it to the trash"))?;
        unlock()?;
        remove_run_directory(self.run, self.id).map_err(failed("remove its run directory"))?;
        removal::delete(self.data_root, discarded).map_err(failed("delete its files"))?;
        Ok(Recovered::Removed)
    }
}

fn lost_because(state: &ContainerState) -> &'static str {
    if state.boot_id == boot_id() { LOST } else { "the host restarted" }
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Takes the lock of the shim in run directory `run`; `None` while a shim lives.
///
/// # Errors
/// Of opening or locking the file.
pub fn try_lock(run: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        let file = rustix::fs::openat(run, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        // The holder before us may have removed the file after we opened it.
        if rustix::fs::fstat(&file)?.st_nlink > 0 {
            return Ok(Some(file));
        }
    }
}

/// Removes socket and lock file, for the holder of the lock, just before it lets go of it.
///
/// # Errors
/// Of removing them; that they are gone is none.
pub fn unlock(run: BorrowedFd<'_>) -> io::Result<()> {
    for name in [SOCKET, LOCK] {
        match rustix::fs::unlinkat(run, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes the empty run directory `run` of container `id`.
///
/// # Errors
/// Of removing it; that it is gone is none.
pub fn remove_run_directory(run: BorrowedFd<'_>, id: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(run, format!("../{id}"), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills what is left in the container's cgroup and removes it.
fn release_sandbox(id: &str) -> io::Result<()> {
    let cgroup = Cgroup::open(id)?;
    cgroup.kill().and_then(|()| cgroup.remove()).map_err(io::Error::other)
}
