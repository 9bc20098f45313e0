//! What a server asks of those who reach other registries for it.

use std::fmt::Debug;
use std::os::fd::BorrowedFd;

use hull_oci::{Descriptor, Reference};

/// Why another registry did not give something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// It does not have it, or does not show it.
    #[error("the registry does not have it")]
    Unknown,
    /// It cannot be reached, or what it sent was refused.
    #[error("{0}")]
    Failed(String),
}

/// Other registries. Every call blocks and comes from a thread that may wait.
pub trait Upstream: Debug + Send + Sync + 'static {
    /// What a tag names now.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    fn resolve(&self, reference: &Reference) -> Result<Descriptor, UpstreamError>;

    /// The bytes of a manifest by its digest, which they have.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    fn manifest(&self, reference: &Reference) -> Result<Vec<u8>, UpstreamError>;

    /// Writes a blob to `into`, from its begin to its end; `had` bytes are there already.
    /// The file grows as they come, and holds nothing else at any time: who waits for the blob
    /// reads along. When this returns well, it has the blob's digest and length.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    fn blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        into: BorrowedFd<'_>,
        had: u64,
    ) -> Result<(), UpstreamError>;
}
