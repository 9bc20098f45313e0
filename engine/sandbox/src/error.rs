//! Why a container or an exec did not start: a value that travels from the child to its parent,
//! and from the shim to whoever asked.

use std::io;

use serde::{Deserialize, Serialize};

/// A start that failed and left nothing behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What sort of failure it was; decides the exit code.
    pub kind: StartErrorKind,
    /// What was tried, on what, and why it failed.
    pub message: String,
    /// What to do about it, where there is something.
    pub hint: Option<String>,
}

/// The sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartErrorKind {
    /// There is no such command in the container (exit code 127).
    NotFound,
    /// The command is there and cannot be executed (exit code 126).
    NotExecutable,
    /// The request or the image asks for something that makes no sense.
    Invalid,
    /// The host has no room or no support for what was asked.
    Unavailable,
    /// The kernel or the container's own limits forbid it.
    Denied,
    /// Something broke that should not.
    Internal,
}

impl StartError {
    pub(crate) fn new(kind: StartErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StartErrorKind::Invalid, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StartErrorKind::Internal, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Names the step that a system call was part of.
pub(crate) trait Step<T> {
    /// Turns the error into "cannot `what`: reason".
    fn step(self, what: &str) -> Result<T, StartError>;

    /// The same where naming the step costs something.
    fn step_with(self, what: impl FnOnce() -> String) -> Result<T, StartError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: &str) -> Result<T, StartError> {
        self.map_err(|error| failed(what, &error.into()))
    }

    fn step_with(self, what: impl FnOnce() -> String) -> Result<T, StartError> {
        self.map_err(|error| failed(&what(), &error.into()))
    }
}

fn failed(what: &str, error: &io::Error) -> StartError {
    use rustix::io::Errno;
    let kind = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => StartErrorKind::Denied,
        Some(Errno::NOMEM | Errno::NOSPC | Errno::NOSYS | Errno::AGAIN | Errno::MFILE) => {
            StartErrorKind::Unavailable
        }
        _ => StartErrorKind::Internal,
    };
    StartError::new(kind, format!("cannot {what}: {}", reason(error)))
}

/// The error's text without the "(os error N)" that Rust adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut text = text[..end].to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}
