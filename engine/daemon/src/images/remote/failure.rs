//! What registries refuse, told the way the API tells it.

use hull_api::ErrorKind;
use hull_transfer::{FailureKind, TransferError};

use crate::error::ApiError;

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The registry, or the way to it.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// Who asked does not want it any more.
    #[error("context canceled")]
    Stopped,
}

impl RemoteError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        let Self::Transfer(error) = self else { return ErrorKind::Unavailable };
        match error.kind() {
            FailureKind::NotFound => ErrorKind::NotFound,
            FailureKind::Unauthorized | FailureKind::Denied => ErrorKind::Denied,
            FailureKind::Invalid | FailureKind::Unsupported => ErrorKind::Invalid,
            FailureKind::Unavailable => ErrorKind::Unavailable,
            FailureKind::Internal => ErrorKind::Internal,
        }
    }

    /// What kind of failure the registry's side names.
    pub(in crate::images) fn failure(&self) -> Option<FailureKind> {
        match self {
            Self::Transfer(error) => Some(error.kind()),
            Self::Stopped => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transfer(error) => error.hint().map(str::to_owned),
            Self::Stopped => None,
        }
    }
}

impl From<RemoteError> for ApiError {
    fn from(error: RemoteError) -> Self {
        let api = Self::chain(error.kind(), &error);
        match error.hint() {
            Some(hint) => api.hint(hint),
            None => api,
        }
    }
}
