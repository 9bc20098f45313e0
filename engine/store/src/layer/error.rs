//! What can go wrong with a layer, an archive or a tree.

use std::io;

use serde::{Deserialize, Serialize};

use super::inside::Refusal;
use super::path::PathError;

/// Why a job failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The bytes are not what they claim to be, or try something they may not.
    Invalid,
    /// A bound was passed.
    TooLarge,
    /// Reading or writing failed (full disk and the like).
    Io,
}

/// A layer, archive or tree that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The tar stream is not one, or holds what it may not.
    #[error("tar at byte {offset}: {problem}")]
    Tar {
        /// Where in the uncompressed stream the header or data begins, bytes.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// One entry cannot be part of a layer.
    #[error("tar entry {name:?} at byte {offset}: {problem}")]
    Entry {
        /// Its name as far as it can be shown.
        name: String,
        /// Where its header begins in the uncompressed stream, bytes.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The compressed stream is damaged, cut short or followed by something else.
    #[error("{format} stream at byte {offset}: {problem}")]
    Compression {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// How far the compressed input had been read, bytes.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A bound was passed.
    #[error("more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// Much more comes out than went in.
    #[error("{written} bytes came out of {read} compressed ones: more than {ratio} times as much")]
    Bomb {
        /// Compressed bytes read.
        read: u64,
        /// Bytes that came out.
        written: u64,
        /// The largest ratio that is allowed.
        ratio: u64,
    },
    /// Something in a directory tree is not as it must be.
    #[error("{path:?}: {problem}")]
    Tree {
        /// Relative to the tree's root.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Something of another kind is in the way.
    #[error("cannot overwrite {there} {path:?} with {comes} {place:?}")]
    InTheWay {
        /// What is there: a directory or not.
        there: &'static str,
        /// Where, relative to the place to extract to.
        path: String,
        /// What was to come.
        comes: &'static str,
        /// The place to extract to.
        place: String,
    },
    /// There is nothing to do at the place that was asked for.
    #[error("{}", said(*.refusal))]
    Place {
        /// Why.
        refusal: Refusal,
    },
    /// A read, write or other file operation failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, on what.
        action: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl LayerError {
    /// The kind, for the API's status codes.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Tar { .. }
            | Self::Entry { .. }
            | Self::Compression { .. }
            | Self::InTheWay { .. }
            | Self::Place { .. }
            | Self::Tree { .. } => FailureKind::Invalid,
            Self::TooLarge { .. } | Self::Bomb { .. } => FailureKind::TooLarge,
            Self::Io { .. } => FailureKind::Io,
        }
    }

    pub(super) fn entry(name: &[u8], offset: u64, problem: impl Into<String>) -> Self {
        Self::Entry { name: shown(name), offset, problem: problem.into() }
    }

    pub(super) fn path(error: &PathError, name: &[u8], offset: u64) -> Self {
        Self::entry(name, offset, error.to_string())
    }

    pub(super) fn tree(path: &[u8], problem: impl Into<String>) -> Self {
        Self::Tree { path: shown(path), problem: problem.into() }
    }

    pub(super) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { action: action.into(), source: source.into() }
    }
}

fn said(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotFound => "no such file or directory",
        Refusal::NotADirectory => "not a directory",
        Refusal::ReadOnlyRoot | Refusal::ReadOnlyMount => "read-only file system",
    }
}

/// A name as text, at most 200 bytes of it: names may be long and are not always UTF-8.
pub(super) fn shown(name: &[u8]) -> String {
    const MOST: usize = 200;
    match name.get(..MOST) {
        Some(start) if name.len() > MOST => format!("{}...", String::from_utf8_lossy(start)),
        _ => String::from_utf8_lossy(name).into_owned(),
    }
}
