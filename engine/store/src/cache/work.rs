//! Where steps that run keep their overlays.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};

use super::WORK;
use crate::error::FileError;
use crate::root::{Root, random_name, uninterrupted};
use crate::snapshot::Upper;
use crate::{Store, tree};

/// The directory of one build. Removed when dropped; one whose process died is removed by a
/// collection.
#[derive(Debug)]
pub struct WorkArea<'a> {
    root: &'a Root,
    path: String,
    next: AtomicU32,
    _lock: File,
}

/// A directory in a work area: an overlay's upper and work directory.
#[derive(Debug)]
pub struct Scratch {
    /// The directory itself, which holds both.
    pub directory: OwnedFd,
    /// Both.
    pub upper: Upper,
}

impl Store {
    /// Makes the directory of a build.
    ///
    /// # Errors
    /// The system's.
    pub fn work_area(&self) -> Result<WorkArea<'_>, FileError> {
        let root = &self.root;
        let path = format!("{WORK}/{}", random_name());
        // A collection takes one that nobody has locked for a dead one's.
        let _lock = root.lock_shared()?;
        root.make_directory(&path, 0o700)?;
        let directory = root
            .open_directory(&path)?
            .ok_or_else(|| root.error("open", &path, rustix::io::Errno::NOENT))?;
        let lock = File::from(directory);
        uninterrupted(|| lock.lock()).map_err(|error| root.error("lock", &path, error))?;
        Ok(WorkArea { root, path, next: AtomicU32::new(0), _lock: lock })
    }
}

impl WorkArea<'_> {
    /// Makes a directory with a fresh upper and work directory in it.
    ///
    /// # Errors
    /// The system's.
    pub fn scratch(&self) -> Result<Scratch, FileError> {
        let path = format!("{}/{}", self.path, self.next.fetch_add(1, Ordering::Relaxed));
        self.root.make_directory(&path, 0o700)?;
        let open = |path: &str, flags: OFlags| {
            let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(self.root.as_fd(), path, flags, Mode::empty())
                .map_err(|error| self.root.error("open", path, error))
        };
        for (name, mode) in [("rw", 0o755), ("work", 0o700)] {
            self.root.make_directory(&format!("{path}/{name}"), mode)?;
        }
        self.root.set_mode(&format!("{path}/rw"), 0o755)?;
        Ok(Scratch {
            directory: open(&path, OFlags::RDONLY)?,
            upper: Upper {
                upper: open(&format!("{path}/rw"), OFlags::PATH)?,
                work: open(&format!("{path}/work"), OFlags::PATH)?,
            },
        })
    }

    /// Makes an empty directory for other things.
    ///
    /// # Errors
    /// The system's.
    pub fn directory(&self) -> Result<OwnedFd, FileError> {
        let path = format!("{}/{}", self.path, self.next.fetch_add(1, Ordering::Relaxed));
        self.root.make_directory(&path, 0o755)?;
        self.root.set_mode(&path, 0o755)?;
        self.root
            .open_directory(&path)?
            .ok_or_else(|| self.root.error("open", &path, rustix::io::Errno::NOENT))
    }
}

impl Drop for WorkArea<'_> {
    fn drop(&mut self) {
        if let Err(error) = tree::remove(self.root.as_fd(), &self.path) {
            // The next collection finds it without a lock.
            tracing::warn!(path = self.path, %error, "cannot remove the files of a build");
        }
    }
}

impl Scratch {
    /// The upper directory, open for reading.
    ///
    /// # Errors
    /// The system's.
    pub fn changes(&self) -> std::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self.directory.as_fd(), "rw", flags, Mode::empty())?)
    }
}
