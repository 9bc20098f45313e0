//! Bounded JSON: the one way foreign documents become values.

use serde::de::DeserializeOwned;

/// Largest manifest, index or archive manifest that is read, in bytes (as registries agree on).
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// Largest image config that is read, in bytes (as containerd has it).
pub const MAX_CONFIG_BYTES: usize = 8 << 20;

/// A document that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ParseDocumentError {
    /// More bytes than the bound.
    #[error("{what} has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// What was parsed.
        what: &'static str,
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// Not JSON, or not of the right shape.
    #[error("{what} cannot be read")]
    Json {
        /// What was parsed.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Well-formed, but contradicts the specification.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// What was parsed.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Parses `bytes` as one JSON document of at most `limit` bytes.
pub(crate) fn json<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, ParseDocumentError> {
    if bytes.len() > limit {
        return Err(ParseDocumentError::TooLarge { what, bytes: bytes.len(), limit });
    }
    serde_json::from_slice(bytes).map_err(|source| ParseDocumentError::Json { what, source })
}

pub(crate) fn invalid(what: &'static str, reason: impl Into<String>) -> ParseDocumentError {
    ParseDocumentError::Invalid { what, reason: reason.into() }
}
