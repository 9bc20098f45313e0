//! Keeping compressed copies of layers within a budget.
//!
//! A layer that is here is of use without the compressed bytes it came as; those spare fetching
//! or compressing it again for a push, a `save` or a registry of our own. They go when they take
//! more than they are worth, the least recently used first. What could not be had again stays:
//! a copy whose layer is not here, or that no repository is known to have.

use std::time::SystemTime;

use hull_oci::Digest;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::collect::{CollectError, Collected};
use super::mark::Marks;
use crate::Store;
use crate::content::{Blobs, blob_path};
use crate::error::FileError;
use crate::tree::Meter;

/// Renames under one holding of the exclusive lock.
const BATCH: usize = 64;

/// What an eviction removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Copies that are gone.
    pub copies: Vec<Digest>,
    /// Bytes they took on disk.
    pub bytes: u64,
}

struct Copy {
    digest: Digest,
    bytes: u64,
    used: SystemTime,
}

impl Store {
    /// Removes compressed copies of layers until what is left of them takes at most `budget` bytes
    /// on disk, or nothing more can be spared.
    pub fn evict_copies(&self, budget: u64) -> Result<Evicted, CollectError> {
        let mut evicted = Evicted::default();
        let mut marks = Marks::default();
        marks.update(self)?;
        marks.pin_served(self)?;
        let (mut total, mut copies) = self.spare_copies(&marks)?;
        copies.sort_by_key(|copy| copy.used);
        let mut victims = Vec::new();
        for copy in copies {
            if total <= budget {
                break;
            }
            total -= copy.bytes;
            victims.push(copy);
        }
        for batch in victims.chunks(BATCH) {
            let _lock = self.root.lock_exclusive()?;
            marks.update(self)?;
            marks.pin_served(self)?;
            for copy in batch.iter().filter(|copy| can_go(&marks, &copy.digest)) {
                if self.root.discard(&blob_path(&copy.digest))?.is_some() {
                    evicted.copies.push(copy.digest.clone());
                    evicted.bytes += copy.bytes;
                }
            }
        }
        if !evicted.copies.is_empty() {
            self.empty_trash(&mut Collected::default())?;
        }
        Ok(evicted)
    }

    /// What all compressed copies take, and which of them could be had again.
    fn spare_copies(&self, marks: &Marks) -> Result<(u64, Vec<Copy>), FileError> {
        let mut meter = Meter::default();
        let (mut total, mut spare) = (0, Vec::new());
        for digest in marks.compressed.keys() {
            let path = blob_path(digest);
            let fail = |error: std::io::Error| self.root.error("look at", &path, error);
            let stat = rustix::fs::statat(self.root.as_fd(), &path, AtFlags::SYMLINK_NOFOLLOW);
            let used = match stat {
                Ok(stat) => time(stat.st_mtime, stat.st_mtime_nsec),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(fail(error.into())),
            };
            let bytes = meter.measure_one(self.root.as_fd(), &path).map_err(fail)?;
            if marks.documents.contains(digest) {
                continue;
            }
            total += bytes;
            let again = self.provenance(digest)?.is_some_and(|known| !known.origins.is_empty());
            if again && can_go(marks, digest) && self.layer_of(digest)?.is_some() {
                spare.push(Copy { digest: digest.clone(), bytes, used });
            }
        }
        Ok((total, spare))
    }
}

impl Blobs<'_> {
    /// Notes that a blob was used now. Of copies that have to go, the longest unused goes first.
    pub fn used(self, digest: &Digest) -> Result<(), FileError> {
        let root = &self.store().root;
        let path = blob_path(digest);
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        match rustix::fs::utimensat(root.as_fd(), &path, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(root.error("set the time of", &path, error)),
        }
    }
}

fn can_go(marks: &Marks, digest: &Digest) -> bool {
    marks.gaps.is_empty()
        && marks.compressed.contains_key(digest)
        && !marks.documents.contains(digest)
        && !marks.pinned.contains(digest)
        && !marks.leased.contains(digest)
        && !marks.is_recent(digest)
}

fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> SystemTime {
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    let since = std::time::Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds);
    SystemTime::UNIX_EPOCH + since
}
