//! Refusals of the store and of workers, told the way the API tells them.

use hull_api::ErrorKind;
use hull_store as store;
use hull_worker::client::WorkerError;

use crate::error::ApiError;

/// Any refusal of the store.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum StoreError {
    /// A file operation.
    File(#[from] store::FileError),
    /// Preparing a layer.
    Prepare(#[from] store::PrepareError),
    /// Publishing layers.
    Publish(#[from] store::PublishError),
    /// Committing a blob.
    Commit(#[from] store::CommitError),
    /// Reading a blob.
    Read(#[from] store::ReadError),
    /// Reading a record.
    Record(#[from] store::RecordError),
    /// Looking at a layer.
    Info(#[from] store::InfoError),
    /// Recording an image.
    PutImage(#[from] store::PutImageError),
    /// Setting a reference.
    SetRef(#[from] store::SetRefError),
    /// Collecting garbage.
    Collect(#[from] store::CollectError),
}

/// What [`StoreError`] is made from, so that every operation's error can take it by `?`.
pub trait OfStore {}

impl OfStore for store::FileError {}
impl OfStore for store::PrepareError {}
impl OfStore for store::PublishError {}
impl OfStore for store::CommitError {}
impl OfStore for store::ReadError {}
impl OfStore for store::RecordError {}
impl OfStore for store::InfoError {}
impl OfStore for store::PutImageError {}
impl OfStore for store::SetRefError {}
impl OfStore for store::CollectError {}

impl StoreError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        let kind = match self {
            Self::File(error) => error.kind(),
            Self::Prepare(error) => error.kind(),
            Self::Publish(error) => error.kind(),
            Self::Commit(error) => error.kind(),
            Self::Read(error) => error.kind(),
            Self::Record(error) => error.kind(),
            Self::Info(error) => error.kind(),
            Self::PutImage(error) => error.kind(),
            Self::SetRef(error) => error.kind(),
            Self::Collect(error) => error.kind(),
        };
        match kind {
            // What lies below an image is missing: that is a fault of the store, not a request
            // for something that does not exist.
            store::ErrorKind::NotFound | store::ErrorKind::Internal => ErrorKind::Internal,
            store::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            store::ErrorKind::Invalid => ErrorKind::Invalid,
            store::ErrorKind::Precondition => ErrorKind::Precondition,
            store::ErrorKind::Unavailable => ErrorKind::Unavailable,
            store::ErrorKind::Denied => ErrorKind::Denied,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::chain(error.kind(), &error)
    }
}

/// What kind of failure a worker met.
pub(super) fn of_worker(error: &WorkerError) -> ErrorKind {
    use hull_worker::job::FailureKind;
    match error {
        WorkerError::Failed { kind: FailureKind::Invalid | FailureKind::TooLarge, .. } => {
            ErrorKind::Invalid
        }
        WorkerError::Failed { kind: FailureKind::Io, .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// What kind of failure a file operation met.
pub(super) fn of_io(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::ReadOnlyFilesystem => ErrorKind::Unavailable,
        Io::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Internal,
    }
}
