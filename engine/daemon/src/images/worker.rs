//! Asking the sealed worker.

use std::os::fd::BorrowedFd;
use std::path::Path;

use hull_worker::client::{self, WorkerError};
use hull_worker::job::{Answer, Job, Limits};

/// Largest layer and largest archive that is read, bytes once uncompressed.
pub(super) const MAX_BYTES: u64 = 1 << 40;

/// A layer of any size may grow to this many bytes when it is uncompressed.
const FREE_GROWTH: u64 = 1 << 30;

/// How many times its size a layer may grow beyond [`FREE_GROWTH`]. File systems compress five-
/// to tenfold; zeros compress a thousandfold.
const MAX_GROWTH: u64 = 100;

/// Entries of a layer: three times the largest seen.
const MAX_ENTRIES: u64 = 4_000_000;

/// Runs one job to its answer.
pub(super) fn run(
    worker: &Path,
    job: &Job,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Answer, WorkerError> {
    client::run(worker, job, descriptors)
}

/// Bounds for a layer of `size` bytes as it came.
pub(super) fn limits(size: u64) -> Limits {
    let max_bytes = size.saturating_mul(MAX_GROWTH).clamp(FREE_GROWTH.max(size), MAX_BYTES);
    Limits { max_bytes, max_entries: MAX_ENTRIES }
}
