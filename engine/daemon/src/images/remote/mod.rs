//! What pulls, pushes and questions to registries share: one sealed process that holds the
//! connections, who asks, how far it is, when to stop.

mod again;
mod failure;
pub(super) mod http;
mod progress;
mod serve;
mod session;
mod stop;

pub(super) use again::{fetch_again, of_record};
pub use failure::RemoteError;
pub(super) use progress::Progress;
pub(super) use serve::{run, stream};
pub(crate) use session::{anonymous, registries};
pub(super) use session::{credentials, of_auth, session};
pub(crate) use stop::Stop;

use hull_oci::Digest;
use hull_transfer::Transfer;

use super::Images;

/// Images here and registries elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Remote<'a> {
    /// What is here.
    pub(super) images: Images<'a>,
    /// The process that speaks to registries.
    pub(super) transfer: &'a Transfer,
    /// Who hears how far it is.
    pub(super) progress: &'a Progress<'a>,
    /// Whether to go on.
    pub(super) stop: &'a Stop,
}

impl Remote<'_> {
    /// The error of a call, unless it failed because we were told to stop.
    pub(super) fn failed(&self, error: hull_transfer::TransferError) -> RemoteError {
        if self.stop.is_stopped() { RemoteError::Stopped } else { error.into() }
    }
}

/// The first 12 hex digits, as progress names a layer.
pub(super) fn short(digest: &Digest) -> &str {
    super::short(digest)
}
