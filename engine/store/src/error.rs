//! What the errors of every operation share.

use std::io;
use std::path::PathBuf;

/// A file operation that failed, with what it was about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The closed set of kinds an error maps to for the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for is not here.
    NotFound,
    /// A name is taken.
    AlreadyExists,
    /// The input cannot be right.
    Invalid,
    /// The input is right, but not in this state.
    Precondition,
    /// Something outside refused for now: a full disk, a missing kernel feature.
    Unavailable,
    /// No permission.
    Denied,
    /// A fault of the engine or of what lies on disk.
    Internal,
}

impl FileError {
    pub(crate) fn new(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self { action, path: path.into(), source: source.into() }
    }

    /// The error of the system call.
    pub fn io(&self) -> &io::Error {
        &self.source
    }

    /// What kind of error it is: a full disk or quota and a read-only file system are
    /// [`ErrorKind::Unavailable`].
    pub fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Unavailable,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Internal,
        }
    }

    /// True if there is no room: the disk is full or a quota is used up.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}
