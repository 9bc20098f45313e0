//! Learning that files have changed: one inotify instance for the whole process, since a host
//! allows a user few of them.

use crate::error::ApiError;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;

/// What is watched for, of every directory: watches of one directory share what they ask.
const CHANGES: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF);

/// After each time that something was told, how long nothing is: a file that is written all the
/// time, as a busy container's log, need not keep us busy too. What happens meanwhile, the kernel
/// keeps.
const PAUSE: Duration = Duration::from_millis(2);

/// The bytes before the name in an inotify event.
const HEADER: usize = 16;

/// The one who watches. Asks the kernel for nothing before somebody wants to know something.
#[derive(Debug, Default)]
pub(crate) struct Watcher(Mutex<Option<Arc<Shared>>>);

#[derive(Debug)]
struct Shared {
    inotify: OwnedFd,
    /// Who is to be told, by watch descriptor.
    told: Mutex<HashMap<i32, Vec<Arc<Notify>>>>,
}

/// Some directories that are watched, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    notify: Arc<Notify>,
    watches: Vec<i32>,
}

impl Watcher {
    /// Watches directories: what changes in them from now on is told. Needs a running tokio
    /// runtime.
    ///
    /// # Errors
    /// A directory that is not there; limits of the host.
    pub(crate) fn watch(&self, directories: &[&Path]) -> Result<Watch, ApiError> {
        let shared = self.shared().map_err(|error| {
            ApiError::internal(&error)
                .context("cannot watch files")
                .hint("raise the limit with sysctl fs.inotify.max_user_instances")
        })?;
        let mut watch = Watch { shared, notify: Arc::default(), watches: Vec::new() };
        for directory in directories {
            watch.add(directory).map_err(|error| {
                ApiError::internal(&error).context(&format!("cannot watch {}", directory.display()))
            })?;
        }
        Ok(watch)
    }

    fn shared(&self) -> io::Result<Arc<Shared>> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = shared.as_ref() {
            return Ok(Arc::clone(shared));
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Read like any pipe.
        let reader = Receiver::from_owned_fd_unchecked(inotify.try_clone()?)?;
        let new = Arc::new(Shared { inotify, told: Mutex::default() });
        tokio::spawn(tell(reader, Arc::clone(&new)));
        *shared = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl Watch {
    fn add(&mut self, directory: &Path) -> io::Result<()> {
        // Held over the call: the last watch of the same directory may be about to end.
        let mut told = self.shared.told();
        let watch = inotify::add_watch(&self.shared.inotify, directory, CHANGES)?;
        told.entry(watch).or_default().push(Arc::clone(&self.notify));
        drop(told);
        self.watches.push(watch);
        Ok(())
    }

    /// Completes when something has changed since the last time, or may have.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut told = self.shared.told();
        for watch in &self.watches {
            let Some(who) = told.get_mut(watch) else { continue };
            who.retain(|notify| !Arc::ptr_eq(notify, &self.notify));
            if who.is_empty() {
                told.remove(watch);
                // That of a directory that is gone is gone too.
                let _gone = inotify::remove_watch(&self.shared.inotify, *watch);
            }
        }
    }
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, HashMap<i32, Vec<Arc<Notify>>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who watch what these inotify events are about.
    fn tell(&self, mut events: &[u8]) {
        let told = self.told();
        while let Some((header, rest)) = events.split_first_chunk::<HEADER>() {
            let number = |at: usize| {
                let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
                i32::from_ne_bytes(bytes)
            };
            let watch = number(0);
            let name = usize::try_from(number(12)).unwrap_or(usize::MAX);
            events = rest.get(name..).unwrap_or_default();
            match told.get(&watch) {
                Some(who) => who.iter().for_each(|notify| notify.notify_one()),
                // More happened than the kernel keeps.
                None if watch < 0 => {
                    told.values().flatten().for_each(|notify| notify.notify_one());
                }
                None => {}
            }
        }
    }
}

async fn tell(reader: Receiver, shared: Arc<Shared>) {
    let mut events = vec![0; 4096];
    loop {
        if let Err(error) = reader.readable().await {
            tracing::error!(%error, "cannot hear of changes of files");
            return;
        }
        match reader.try_read(&mut events) {
            Ok(count) => {
                shared.tell(&events[..count]);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::error!(%error, "cannot hear of changes of files");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_told(watch: &Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.is_ok()
    }

    fn quiet(watch: &Watch) -> bool {
        let mut changed = std::pin::pin!(watch.changed());
        let waker = std::task::Waker::noop();
        changed.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending()
    }

    #[tokio::test]
    async fn each_watch_hears_of_its_directories_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        let watcher = Watcher::default();
        let first = watcher.watch(&[&one]).unwrap();
        let both = watcher.watch(&[&one, &two]).unwrap();
        std::fs::write(two.join("file"), "x").unwrap();
        assert!(is_told(&both).await && quiet(&first));
        drop(both);
        std::fs::write(one.join("file"), "x").unwrap();
        assert!(is_told(&first).await);
        assert!(watcher.watch(&[&root.path().join("three")]).is_err());
    }
}
