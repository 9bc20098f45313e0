//! Blobs by digest.
//!
//! A blob is written once through an [`Ingest`] and never changes. Nothing here knows what a blob
//! means: manifest, config and layer are all bytes.
//!
//! On disk:
//!   `blobs/<algorithm>/<hex>`   finished blobs, mode 0444
//!   `layers/<hex>/tar`          bytes that are named by their digest too: an uncompressed layer.
//!                               Reading looks here second, so they are never kept twice
//!
//! A collection removes blobs that nothing refers to: whoever writes one adds its digest to a
//! [`Lease`](crate::Lease) first and holds that until something else refers to it.
//!
//! An unfinished write is a file without a name: it is gone with its process. What comes over a
//! network has a name from the beginning, see [`Partial`]: it can be continued. So has what somebody
//! else sends in pieces, perhaps to several processes: an [`Upload`], gone a week after its last.
//!
//! Invariant: a file under `blobs/` hashes to its own name.

mod ingest;
mod partial;
mod read;
mod upload;

pub use ingest::{Blob, CommitError, Ingest};
pub use partial::Partial;
pub(crate) use partial::{is_fresh, is_partial};
pub use read::ReadError;
pub(crate) use read::size_of;
pub use upload::{OpenUpload, UPLOAD_LIFE, Upload, UploadInfo, UploadRecord};

use crate::Store;

/// The blobs of a store.
#[derive(Debug, Clone, Copy)]
pub struct Blobs<'a> {
    store: &'a Store,
}

impl<'a> Blobs<'a> {
    pub(crate) fn store(self) -> &'a Store {
        self.store
    }
}

impl Store {
    /// Blobs by digest.
    pub fn blobs(&self) -> Blobs<'_> {
        Blobs { store: self }
    }
}

pub(crate) fn blob_path(digest: &hull_oci::Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

#[cfg(test)]
mod tests;
