//! Results of steps by key.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use hull_oci::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use serde::{Deserialize, Serialize};

use super::{LOCKS, NOTES, STEPS};
use crate::Store;
use crate::error::FileError;
use crate::metadata::record;
use crate::root::{Durability, Root, uninterrupted};

/// How stale the time of the last use may be.
const TOUCH: Duration = Duration::from_secs(60);

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Over all that the result depends on.
    pub key: Digest,
    /// The layer it made; `None` if it made none.
    pub layer: Option<Digest>,
    /// Further text of whoever keeps it.
    #[serde(default)]
    pub value: String,
    /// For people: the instruction.
    pub description: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Keys of what it was made from.
    #[serde(default)]
    pub parents: Vec<Digest>,
}

/// What the inputs of a step were: name and digest or text, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The inputs.
    pub inputs: Vec<(String, String)>,
}

/// Held by whoever makes the result of a step. Dies with its process.
#[derive(Debug)]
pub struct StepLock<'a> {
    root: &'a Root,
    path: String,
    _file: File,
}

impl Drop for StepLock<'_> {
    fn drop(&mut self) {
        // While we hold it: whoever waits sees that it has no name and makes another.
        let _left_for_the_next = self.root.unlink(&self.path);
    }
}

impl Store {
    /// The result of the step with this key, if it is known and its layer is here. `lease` keeps
    /// the layer from then on.
    ///
    /// # Errors
    /// The system's; a record that cannot be read is none.
    pub fn step(
        &self,
        key: &Digest,
        lease: &crate::Lease<'_>,
    ) -> Result<Option<StepRecord>, FileError> {
        let path = format!("{STEPS}/{}", key.hex());
        let Ok(Some(record)) = record::load::<StepRecord>(&self.root, &path) else {
            return Ok(None);
        };
        if record.key != *key {
            return Ok(None);
        }
        if let Some(layer) = &record.layer {
            lease.add(layer)?;
            if !self.layers().is_usable(layer)? {
                return Ok(None);
            }
        }
        self.touch(&path);
        Ok(Some(record))
    }

    /// Remembers the result of a step. Its layer must be published, under a lease.
    ///
    /// # Errors
    /// The system's.
    pub fn put_step(&self, record: &StepRecord) -> Result<(), FileError> {
        let path = format!("{STEPS}/{}", record.key.hex());
        self.root.replace(&path, &record::encode(record), Durability::Volatile)
    }

    /// All records with the time of their last use; what cannot be read is left out.
    ///
    /// # Errors
    /// The system's.
    pub fn steps(&self) -> Result<Vec<(StepRecord, SystemTime)>, FileError> {
        let mut steps = Vec::new();
        for name in self.root.list_text(STEPS)? {
            let path = format!("{STEPS}/{name}");
            let Ok(Some(record)) = record::load::<StepRecord>(&self.root, &path) else { continue };
            steps.push((record, self.used(&path)));
        }
        Ok(steps)
    }

    /// Forgets a result; false if it was not known.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_step(&self, key: &Digest) -> Result<bool, FileError> {
        self.root.unlink(&format!("{STEPS}/{}", key.hex()))
    }

    /// Waits until nobody else makes the result with this key.
    ///
    /// # Errors
    /// The system's.
    pub fn lock_step(&self, key: &Digest) -> Result<StepLock<'_>, FileError> {
        let path = format!("{LOCKS}/{}", key.hex());
        loop {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file =
                rustix::fs::openat(self.root.as_fd(), &path, flags, Mode::from_raw_mode(0o600))
                    .map(File::from)
                    .map_err(|error| self.root.error("create", &path, error))?;
            uninterrupted(|| file.lock()).map_err(|error| self.root.error("lock", &path, error))?;
            let status = rustix::fs::fstat(file.as_fd())
                .map_err(|error| self.root.error("look at", &path, error))?;
            // Its last holder has removed it.
            if status.st_nlink > 0 {
                return Ok(StepLock { root: &self.root, path, _file: file });
            }
        }
    }

    /// What the inputs of the step called `name` were the last time.
    ///
    /// # Errors
    /// The system's; a note that cannot be read is none.
    pub fn note(&self, name: &Digest) -> Result<Option<Note>, FileError> {
        let path = format!("{NOTES}/{}", name.hex());
        Ok(record::load(&self.root, &path).unwrap_or_default())
    }

    /// Remembers them.
    ///
    /// # Errors
    /// The system's.
    pub fn put_note(&self, name: &Digest, note: &Note) -> Result<(), FileError> {
        let path = format!("{NOTES}/{}", name.hex());
        self.root.replace(&path, &record::encode(note), Durability::Volatile)
    }

    /// When something in the cache was used last.
    pub(super) fn used(&self, path: &str) -> SystemTime {
        rustix::fs::statat(self.root.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(|status| u64::try_from(status.st_mtime).ok())
            .map_or(SystemTime::UNIX_EPOCH, |seconds| {
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
            })
    }

    /// Says that something in the cache was used. That it could not be said does no harm.
    pub(super) fn touch(&self, path: &str) {
        let recently = self.used(path).elapsed().is_ok_and(|elapsed| elapsed < TOUCH);
        if recently {
            return;
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        let _unsaid =
            rustix::fs::utimensat(self.root.as_fd(), path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }
}
