//! Learning that a log has grown or its container has ended.

use crate::error::ApiError;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;

/// A change that no event told of is seen after this at the latest: a shim that is killed
/// changes no file.
const PERIOD: Duration = Duration::from_secs(1);

/// Watches a container's directory and its logs.
#[derive(Debug)]
pub(super) struct Watch {
    /// An inotify descriptor, read like any pipe.
    inotify: Receiver,
}

impl Watch {
    /// Begins to watch; what changes from now on is told.
    pub(super) fn new(container: &Path) -> Result<Self, ApiError> {
        let failed = |error: std::io::Error| {
            ApiError::internal(&error).context(&format!("cannot watch {}", container.display()))
        };
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let gone = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let state = WatchFlags::MOVED_TO | gone;
        let log = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | gone;
        inotify::add_watch(&inotify, container, state)
            .and_then(|_| inotify::add_watch(&inotify, container.join("logs"), log))
            .map_err(|error| failed(error.into()))?;
        let inotify = Receiver::from_owned_fd_unchecked(inotify).map_err(failed)?;
        Ok(Self { inotify })
    }

    /// Completes when something has changed, or may have.
    pub(super) async fn changed(&mut self) -> Result<(), ApiError> {
        let readable = tokio::time::timeout(PERIOD, self.inotify.readable()).await;
        let Ok(readable) = readable else { return Ok(()) };
        readable.map_err(|error| ApiError::internal(&error))?;
        // Which event it was does not matter: everything is looked at.
        let mut events = [0; 4096];
        loop {
            match self.inotify.try_read(&mut events) {
                Ok(1..) => {}
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(ApiError::internal(&error)),
            }
        }
        Ok(())
    }
}
