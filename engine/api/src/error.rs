//! The shape of a refused request.

use serde::{Deserialize, Serialize};

/// Body of every answer with a status of 400 and above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// What was tried, on what, and why it did not work. Docker's own words where clients match them.
    pub message: String,
    /// What the user may do about it. Hull's own addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What kind of failure it is. Hull's own addition; absent when another engine answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
}

/// The closed list of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// No such object (404).
    NotFound,
    /// The name is taken (409).
    AlreadyExists,
    /// The request makes no sense (400).
    Invalid,
    /// The object is in the wrong state (409).
    Precondition,
    /// The host or the engine lacks something (503).
    Unavailable,
    /// Not allowed (403).
    Denied,
    /// `POST /auth` only: the credentials are not right (401).
    Unauthorized,
    /// A failure of the engine (500).
    Internal,
    /// Start and exec only: the program is not in the container (400; exit code 127).
    CommandNotFound,
    /// Start and exec only: the program is there and cannot be run (400; exit code 126).
    CommandNotExecutable,
}
