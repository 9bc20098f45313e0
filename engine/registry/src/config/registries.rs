//! All that is known about registries, checked.

use serde::{Deserialize, Serialize};

/// Mirrors, certificates and exceptions of every registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registries {}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ParseRegistriesError {
    message: String,
}

impl Registries {
    /// Reads the text of a `registries.toml`.
    ///
    /// # Errors
    /// Not TOML, an unknown key, or a value that is none.
    pub fn parse(text: &str) -> Result<Self, ParseRegistriesError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        Err(ParseRegistriesError { message: "registries.toml is not read yet".to_owned() })
    }
}
