//! What a request is refused with.

use hull_api::{ErrorKind, ErrorResponse};
use hyper::StatusCode;
use std::error::Error;

/// A request was not done: one kind, one line, perhaps advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure; decides the status code.
    pub kind: ErrorKind,
    /// What was tried, on what, and why it did not work.
    pub message: String,
    /// What the user may do about it.
    pub hint: Option<String>,
}

impl ApiError {
    /// A failure without advice.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// A failure whose message is an error and all of its sources.
    #[must_use]
    pub fn chain(kind: ErrorKind, error: &dyn Error) -> Self {
        Self::new(kind, chain(error))
    }

    /// The request makes no sense (400).
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// There is no such object (404).
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The object is in the wrong state (409).
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Precondition, message)
    }

    /// A failure of the engine (500).
    #[must_use]
    pub fn internal(error: &dyn Error) -> Self {
        Self::chain(ErrorKind::Internal, error)
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with what was tried before the message: `context: message`.
    #[must_use]
    pub fn context(mut self, context: &str) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Docker's status code for this kind.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::AlreadyExists | ErrorKind::Precondition => StatusCode::CONFLICT,
            ErrorKind::Invalid | ErrorKind::CommandNotFound | ErrorKind::CommandNotExecutable => {
                StatusCode::BAD_REQUEST
            }
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Denied => StatusCode::FORBIDDEN,
            ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The body that says it.
    #[must_use]
    pub fn body(&self) -> ErrorResponse {
        ErrorResponse {
            message: self.message.clone(),
            hint: self.hint.clone(),
            kind: Some(self.kind),
        }
    }
}

/// Maps the errors of the store, which know their kind, to answers with that kind.
macro_rules! from_store {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                Self::chain(kind_of(error.kind()), &error)
            }
        }
    )*};
}

from_store!(
    hull_store::CheckError,
    hull_store::CollectError,
    hull_store::CreateVolumeError,
    hull_store::FileError,
    hull_store::InfoError,
    hull_store::MountError,
    hull_store::OpenError,
    hull_store::RecordError,
    hull_store::UpdateError,
    hull_store::UsageError,
    hull_store::ViewError,
);

impl From<hull_store::FindContainerError> for ApiError {
    fn from(error: hull_store::FindContainerError) -> Self {
        match error {
            hull_store::FindContainerError::NotFound(name) => {
                Self::not_found(format!("No such container: {name}"))
            }
            error => Self::chain(kind_of(error.kind()), &error),
        }
    }
}

impl From<hull_store::FindVolumeError> for ApiError {
    fn from(error: hull_store::FindVolumeError) -> Self {
        match error {
            hull_store::FindVolumeError::NotFound(name) => {
                Self::not_found(format!("get {name}: no such volume"))
            }
            error => Self::chain(kind_of(error.kind()), &error),
        }
    }
}

impl From<hull_store::CreateContainerError> for ApiError {
    fn from(error: hull_store::CreateContainerError) -> Self {
        use hull_store::CreateContainerError as Error;
        match error {
            Error::NameTaken { name, owner } => Self::new(
                ErrorKind::AlreadyExists,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \
                     \"{owner}\". You have to remove (or rename) that container to be able to \
                     reuse that name."
                ),
            ),
            Error::MissingImage(digest) => Self::not_found(format!("No such image: {digest}")),
            error => Self::chain(kind_of(error.kind()), &error),
        }
    }
}

impl From<hull_store::RemoveVolumeError> for ApiError {
    fn from(error: hull_store::RemoveVolumeError) -> Self {
        match error {
            hull_store::RemoveVolumeError::InUse { name, containers } => Self::conflict(format!(
                "remove {name}: volume is in use - [{}]",
                containers.join(", ")
            )),
            error => Self::chain(kind_of(error.kind()), &error),
        }
    }
}

/// The store's kinds are those of the API.
#[must_use]
pub fn kind_of(kind: hull_store::ErrorKind) -> ErrorKind {
    match kind {
        hull_store::ErrorKind::NotFound => ErrorKind::NotFound,
        hull_store::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        hull_store::ErrorKind::Invalid => ErrorKind::Invalid,
        hull_store::ErrorKind::Precondition => ErrorKind::Precondition,
        hull_store::ErrorKind::Unavailable => ErrorKind::Unavailable,
        hull_store::ErrorKind::Denied => ErrorKind::Denied,
        hull_store::ErrorKind::Internal => ErrorKind::Internal,
    }
}

/// A process could not be started.
impl From<hull_shim::protocol::Failure> for ApiError {
    fn from(failure: hull_shim::protocol::Failure) -> Self {
        use hull_shim::protocol::FailureKind;
        let kind = match failure.kind {
            FailureKind::NotFound => ErrorKind::CommandNotFound,
            FailureKind::NotExecutable => ErrorKind::CommandNotExecutable,
            FailureKind::Invalid => ErrorKind::Invalid,
            FailureKind::Unavailable => ErrorKind::Unavailable,
            FailureKind::Precondition => ErrorKind::Precondition,
            FailureKind::Denied => ErrorKind::Denied,
            FailureKind::Internal => ErrorKind::Internal,
        };
        let mut message = failure.message;
        // Docker's client takes its exit code 127 from these words.
        const WORDS: [&str; 2] = ["executable file not found", "no such file or directory"];
        if kind == ErrorKind::CommandNotFound && !WORDS.iter().any(|words| message.contains(words))
        {
            message = format!("{message}: {}", WORDS[0]);
        }
        Self { kind, message, hint: failure.hint }
    }
}

impl From<hull_shim::client::StartError> for ApiError {
    fn from(error: hull_shim::client::StartError) -> Self {
        match error {
            hull_shim::client::StartError::Failed(failure) => failure.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<hull_shim::recover::RecoverError> for ApiError {
    fn from(error: hull_shim::recover::RecoverError) -> Self {
        match error {
            hull_shim::recover::RecoverError::NotFound { id } => {
                Self::not_found(format!("No such container: {id}"))
            }
            error => Self::internal(&error),
        }
    }
}

/// An error and its sources in one line, `what: why: why`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Transparent wrappers repeat what they wrap.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = error.source();
    }
    line
}
