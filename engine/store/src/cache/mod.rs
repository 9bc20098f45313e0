//! What the builder keeps: results of steps, directories that steps share, digests of files.
//!
//! ```text
//! cache/steps/<hex>            one step's result by its key; used last at its modification time
//! cache/notes/<hex>            what the inputs of a step were the last time, for explanations
//! cache/locks/<hex>            whoever makes a result holds it; gone when nobody does
//! cache/fresh-<boot>/<hex>/    layers not on disk for certain, see `layers`
//! cache/work/<random>/         overlays of steps that run; void when nobody holds its lock
//! cachemounts/<hex>/           `{data/,id}`: one directory of `RUN --mount=type=cache`
//! statcache/<hex>              digests of the files of one build context
//! ```
//!
//! All of it can be made again: what cannot be read is taken for absent, and nothing waits for the
//! disk. A step's record keeps its layer from a collection.

mod mounts;
mod prune;
mod stat;
mod steps;
mod work;

pub use mounts::{CacheMount, Sharing};
pub use prune::{PruneCache, PrunedCache};
pub use stat::{FileKey, StatCache};
pub use steps::{Note, StepLock, StepRecord};
pub use work::{Scratch, WorkArea};

use crate::Store;
use crate::error::FileError;

const STEPS: &str = "cache/steps";
const NOTES: &str = "cache/notes";
const LOCKS: &str = "cache/locks";
const WORK: &str = "cache/work";
const MOUNTS: &str = "cachemounts";
const STATS: &str = "statcache";

impl Store {
    /// Makes the directories of the builder's cache, which a store of an earlier version lacks.
    ///
    /// # Errors
    /// The system's.
    pub fn prepare_cache(&self) -> Result<(), FileError> {
        for directory in ["cache", STEPS, NOTES, LOCKS, WORK, MOUNTS, STATS] {
            self.root.make_directory(directory, 0o700)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
