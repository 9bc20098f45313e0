//! Why nothing was pushed.

use hull_api::ErrorKind;
use hull_oci::{Digest, ParseDocumentError};

use crate::error::ApiError;
use crate::images::failure::{OfStore, StoreError};
use crate::images::remote::RemoteError;
use crate::images::resolve::Mismatch;
use crate::images::select::SelectError;
use crate::images::{CompressError, PullError};

/// Why nothing was pushed. Blobs that were sent stay there, and need not be sent again.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Nothing has this name.
    #[error("tag does not exist: {reference}")]
    NoTag {
        /// The name.
        reference: String,
    },
    /// Nothing is in this repository.
    #[error("An image does not exist locally with the tag: {name}")]
    NoImage {
        /// The repository.
        name: String,
    },
    /// What is here is for another platform.
    #[error("image {} is here for {}, not for {} as was asked", .0.name, .0.image, .0.wanted)]
    NoPlatform(Box<Mismatch>),
    /// Nothing below the name can be sent.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A document is not what it should be.
    #[error("cannot use {digest} in the store")]
    Document {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: ParseDocumentError,
    },
    /// An index leads on and on.
    #[error("index {digest} lies too deep")]
    TooDeep {
        /// Which.
        digest: Digest,
    },
    /// A layer could not be compressed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// A compressed layer is gone, and nobody is known to have it.
    #[error("the compressed layer {digest} is not kept here, and no registry is known to have it")]
    NotKept {
        /// Which.
        digest: Digest,
    },
    /// A compressed layer is gone, and could not be fetched.
    #[error("the compressed layer {digest} is not kept here, and cannot be fetched again")]
    Again {
        /// Which.
        digest: Digest,
        /// Why.
        source: Box<PullError>,
    },
    /// The registry made something else of a manifest.
    #[error("the registry gave manifest {expected} the digest {actual}")]
    OtherDigest {
        /// What was sent.
        expected: Digest,
        /// What it is called there.
        actual: Digest,
    },
    /// The registry, or the way to it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for PushError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<PushError> for ApiError {
    fn from(error: PushError) -> Self {
        let kind = match error {
            PushError::Remote(error) => return error.into(),
            PushError::Compress(error) => return error.into(),
            PushError::NoTag { .. } | PushError::NoImage { .. } | PushError::NoPlatform(_) => {
                ErrorKind::NotFound
            }
            PushError::NotKept { .. } | PushError::Again { .. } => ErrorKind::Unavailable,
            PushError::OtherDigest { .. } => ErrorKind::Invalid,
            PushError::Store(ref source) => source.kind(),
            _ => ErrorKind::Internal,
        };
        let api = Self::chain(kind, &error);
        match &error {
            PushError::NoTag { .. } | PushError::NoImage { .. } => {
                api.hint("`hull images` lists what is here, `hull tag` gives it this name")
            }
            PushError::NotKept { .. } | PushError::Again { .. } => {
                api.hint("`hull rmi` the image and pull it again, where it came from")
            }
            _ => api,
        }
    }
}
