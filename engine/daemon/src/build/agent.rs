//! The socket of an ssh agent, as a `RUN` sees it: one of our own, with the owner and mode that
//! the step asks for. Bytes are passed on and not looked at.
//!
//! An agent answers its own user and root alone, which a process of a container is not: so the
//! socket itself would be of no use there.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, Gid, Mode, Uid};

/// Connections that a step may have at once.
const MAX_CONNECTIONS: usize = 64;

/// The name of the socket in its directory.
pub(super) const NAME: &str = "agent";

/// Passes connections on until it is dropped.
pub(super) struct Forward {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Holds our socket, and nothing else.
    directory: OwnedFd,
    agent: PathBuf,
    stopping: AtomicBool,
    /// Both ends of connections that are open.
    open: Mutex<Vec<(Arc<UnixStream>, Arc<UnixStream>)>>,
}

impl Forward {
    /// Makes a socket in an empty `directory` that leads to that of `agent`.
    pub(super) fn start(
        directory: OwnedFd,
        agent: &Path,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            directory,
            agent: agent.to_owned(),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let listener = UnixListener::bind(shared.path())?;
        let (directory, mode) = (shared.directory.as_fd(), Mode::from_raw_mode(mode & 0o7777));
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(directory, NAME, owner.0, owner.1, AtFlags::empty())?;
        rustix::fs::chmodat(directory, NAME, mode, AtFlags::empty())?;
        let accepting = Arc::clone(&shared);
        let accept = move || {
            for inside in listener.incoming() {
                if accepting.stopping.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(inside) = inside {
                    Shared::relay(&accepting, inside);
                }
            }
        };
        let thread = std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(accept)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn directory(&self) -> &OwnedFd {
        &self.shared.directory
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes who waits for the next connection.
        let woken = UnixStream::connect(self.shared.path()).is_ok();
        for (inside, outside) in &*self.shared.open() {
            // Whoever has closed it already has done what is wanted.
            let _ = (inside.shutdown(Shutdown::Both), outside.shutdown(Shutdown::Both));
        }
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Longer paths are none for a socket.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{NAME}", self.directory.as_raw_fd()).into()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<(Arc<UnixStream>, Arc<UnixStream>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes one connection on. One that cannot be is closed: the client says what it makes of it.
    fn relay(shared: &Arc<Self>, inside: UnixStream) {
        if shared.open().len() >= MAX_CONNECTIONS {
            return;
        }
        let Ok(outside) = UnixStream::connect(&shared.agent) else {
            tracing::warn!(agent = %shared.agent.display(), "cannot connect to the ssh agent");
            return;
        };
        let (inside, outside) = (Arc::new(inside), Arc::new(outside));
        shared.open().push((Arc::clone(&inside), Arc::clone(&outside)));
        let (first, there) = (Arc::clone(shared), (Arc::clone(&inside), Arc::clone(&outside)));
        let pass = move || {
            let back = there.clone();
            let answers =
                std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || {
                    let _ = io::copy(&mut &*back.1, &mut &*back.0);
                    let _ = back.0.shutdown(Shutdown::Both);
                });
            // One end that is gone ends the other.
            let _ = io::copy(&mut &*there.0, &mut &*there.1);
            let _ = there.1.shutdown(Shutdown::Write);
            if let Ok(answers) = answers {
                let _ = answers.join();
            }
            first.open().retain(|(inside, _)| !Arc::ptr_eq(inside, &there.0));
        };
        if std::thread::Builder::new().name("ssh-agent".to_owned()).spawn(pass).is_err() {
            shared.open().retain(|(known, _)| !Arc::ptr_eq(known, &inside));
        }
    }
}
