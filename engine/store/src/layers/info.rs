//! `layer.json`: what is known of a layer.

use hull_oci::Digest;
use serde::{Deserialize, Serialize};

use super::fresh::fresh_path;
use super::{LayerMode, Layers, diff_id_of, layer_path};
use crate::error::{ErrorKind, FileError};
use crate::layer::LayerReport;
use crate::metadata::record::{self, RecordError};

/// A layer that is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the bytes as they came.
    pub digest: Digest,
    /// Bytes as they came.
    pub size: u64,
    /// Bytes of the uncompressed tar.
    pub tar_size: u64,
    /// How it was compressed: `""`, `gzip` or `zstd`.
    pub compression: String,
    /// Entries of the tar.
    pub entries: u64,
    /// Highest user or group id in it.
    pub max_id: u32,
    /// It hides every layer below it.
    pub opaque: bool,
    /// How it is kept.
    pub mode: LayerMode,
    /// Erofs mode: digest of the index. Unpack mode: fingerprint of the tree's names, owners,
    /// modes, sizes and times.
    pub tree: Digest,
}

/// Why nothing can be said of a layer.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// It is not here.
    #[error("no layer {0}")]
    NotFound(Digest),
    /// Its `layer.json` cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl InfoError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Record(error) => error.kind(),
        }
    }
}

impl LayerInfo {
    pub(super) fn new(report: &LayerReport, mode: LayerMode, tree: Digest) -> Self {
        let report = report.clone();
        Self {
            diff_id: report.diff_id,
            digest: report.digest,
            size: report.size,
            tar_size: report.tar_size,
            compression: report.compression,
            entries: report.entries,
            max_id: report.max_id,
            opaque: report.opaque,
            mode,
            tree,
        }
    }
}

impl Layers<'_> {
    /// True if the layer is here. Without a lease that holds it, it may be gone right after.
    pub fn contains(self, diff_id: &Digest) -> Result<bool, FileError> {
        self.store.root.exists(&layer_path(diff_id))
    }

    /// True if the layer can be used, though it may not be on disk for certain (see
    /// [`Layers::publish_fresh`]).
    pub fn is_usable(self, diff_id: &Digest) -> Result<bool, FileError> {
        Ok(self.store.root.exists(&fresh_path(diff_id))? || self.contains(diff_id)?)
    }

    /// What is known of the layer.
    pub fn info(self, diff_id: &Digest) -> Result<LayerInfo, InfoError> {
        // A fresh one moves to its place at any time: the order of the two looks matters.
        for directory in [fresh_path(diff_id), layer_path(diff_id)] {
            let path = format!("{directory}/layer.json");
            if let Some(info) = record::load(&self.store.root, &path)? {
                return Ok(info);
            }
        }
        Err(InfoError::NotFound(diff_id.clone()))
    }

    /// DiffIDs of all layers, sorted.
    pub fn list(self) -> Result<Vec<Digest>, FileError> {
        let names = self.store.root.list_text("layers")?;
        Ok(names.iter().filter_map(|name| diff_id_of(name)).collect())
    }

    /// Looks for a layer that came as the compressed bytes with this digest.
    ///
    /// Reads every `layer.json`: a convenience of a load, not for the start of a container.
    pub fn find_by_digest(self, digest: &Digest) -> Result<Option<LayerInfo>, FileError> {
        let found = self
            .list()?
            .iter()
            .find_map(|diff_id| self.info(diff_id).ok().filter(|info| info.digest == *digest));
        Ok(found)
    }
}
