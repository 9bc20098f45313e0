//! Waiting without a thread until a descriptor can be read.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when `descriptor` can be read.
///
/// # Errors
/// What has no such event, such as a regular file.
#[expect(deprecated, reason = "its successor is unsafe; what is passed here owns its descriptor")]
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
