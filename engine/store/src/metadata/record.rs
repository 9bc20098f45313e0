//! JSON objects with a format number.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ErrorKind, FileError};
use crate::format::OBJECT_FORMAT;
use crate::root::Root;

/// Objects are far smaller: a container's configuration is the largest.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why an object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by another version of the engine.
    #[error("{} has format {found}, this engine knows {OBJECT_FORMAT}", path.display())]
    UnknownFormat {
        /// Where it lies.
        path: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// Not what it should be.
    #[error("{} cannot be understood", path.display())]
    Malformed {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl RecordError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownFormat { .. } => ErrorKind::Precondition,
            Self::Malformed { .. } => ErrorKind::Internal,
            Self::File(error) => error.kind(),
        }
    }
}

#[derive(Serialize)]
struct Stamped<'a, T> {
    format: u32,
    #[serde(flatten)]
    object: &'a T,
}

#[derive(serde::Deserialize)]
struct Stamp {
    format: u32,
}

pub(crate) fn encode<T: Serialize>(object: &T) -> Vec<u8> {
    let stamped = Stamped { format: OBJECT_FORMAT, object };
    let mut json = serde_json::to_vec(&stamped).expect("records have text keys");
    json.push(b'\n');
    json
}

pub(crate) fn load<T: DeserializeOwned>(root: &Root, path: &str) -> Result<Option<T>, RecordError> {
    let Some(bytes) = root.read(path, MAX_BYTES)? else { return Ok(None) };
    let malformed = |source| RecordError::Malformed { path: root.path().join(path), source };
    // The format first: the rest of an unknown one need not make sense.
    let stamp: Stamp = serde_json::from_slice(&bytes).map_err(malformed)?;
    if stamp.format != OBJECT_FORMAT {
        let path = root.path().join(path);
        return Err(RecordError::UnknownFormat { path, found: stamp.format });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}
