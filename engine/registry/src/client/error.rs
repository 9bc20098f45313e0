//! Why something was not done.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The registry has no such repository, manifest or blob.
    NotFound,
    /// The registry does not know who asks, or refuses the credentials.
    Unauthorized,
    /// It knows, and says no; or the operator does.
    Denied,
    /// What came is not what it says it is, or breaks the protocol.
    Invalid,
    /// The registry cannot be reached, does not answer, or is too busy.
    Unavailable,
    /// The registry does not have this feature.
    Unsupported,
    /// A fault on our side.
    Internal,
}

/// Something that was not done: what, on what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// What kind.
    pub kind: FailureKind,
    /// One line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether trying again may help.
    pub(crate) again: Again,
}

/// Whether trying again may help, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It will not.
    No,
    /// After a while of our own choice.
    Soon,
    /// After this many seconds, the server says.
    After(u64),
}

impl ClientError {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, again: Again::No }
    }

    /// What came is not acceptable.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    /// The network failed in a way that may pass.
    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self { again: Again::Soon, ..Self::new(FailureKind::Unavailable, message) }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With what was tried before the reason.
    #[must_use]
    pub(crate) fn on(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// What a foreign server says, fit to be shown on one line.
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 300;
    let mut shown = String::new();
    for character in text.chars() {
        if shown.len() >= MAX {
            shown.push_str("...");
            break;
        }
        let bidi = matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        shown.push(if character.is_control() || bidi { ' ' } else { character });
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_one_harmless_line() {
        assert_eq!(shown("a\r\n\u{1b}[31mb\u{202e}c "), "a   [31mb c");
        assert_eq!(shown(&"x".repeat(1000)).len(), 303);
    }
}
