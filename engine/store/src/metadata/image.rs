//! Images that are here.

use hull_oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::record::{self, RecordError};
use crate::Store;
use crate::content::blob_path;
use crate::error::{ErrorKind, FileError};
use crate::root::Durability;

/// An image that is here: its presence keeps the manifest or index and all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The manifest or index. Its digest names the record.
    pub descriptor: Descriptor,
    /// When it came here, RFC 3339.
    pub created: String,
    /// Where it came from, for people: `load`, `import`, a reference it was pulled from.
    pub origin: String,
}

/// Why an image cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum PutImageError {
    /// What it is about was never committed.
    #[error("the manifest {0} of the image is not here")]
    MissingManifest(Digest),
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PutImageError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingManifest(_) => ErrorKind::Precondition,
            Self::File(error) => error.kind(),
        }
    }
}

impl Store {
    /// Records an image, on disk when this returns. All it is made of must be committed before,
    /// under a lease that is still held. An image that is here already keeps its record.
    pub fn put_image(&self, record: &ImageRecord) -> Result<(), PutImageError> {
        let digest = &record.descriptor.digest;
        if !self.root.exists(&blob_path(digest))? {
            return Err(PutImageError::MissingManifest(digest.clone()));
        }
        let path = image_path(digest);
        let file = self.root.filled(&record::encode(record), Durability::Durable)?;
        self.root.link(&file, &path)?;
        Ok(self.root.sync_parent(&path)?)
    }

    /// The image with this manifest or index, `None` if it is not here.
    pub fn image(&self, digest: &Digest) -> Result<Option<ImageRecord>, RecordError> {
        record::load(&self.root, &image_path(digest))
    }

    /// All images. One whose record cannot be read is left out with a warning: `check` names it.
    pub fn images(&self) -> Result<Vec<ImageRecord>, FileError> {
        let mut images = Vec::new();
        for digest in self.image_digests()? {
            match self.image(&digest) {
                Ok(record) => images.extend(record),
                Err(error) => tracing::warn!(%digest, %error, "skipped an image record"),
            }
        }
        Ok(images)
    }

    /// Forgets an image; false if it was not here. References to it are the caller's to remove
    /// first; its bytes stay until a collection.
    pub fn remove_image(&self, digest: &Digest) -> Result<bool, FileError> {
        let path = image_path(digest);
        let removed = self.root.unlink(&path)?;
        if removed {
            self.root.sync_parent(&path)?;
        }
        Ok(removed)
    }

    /// Forgets an image that no reference names; false if one does, or it was not here. Nobody can
    /// name it while this is decided: who sets a reference to a record that was put before puts it
    /// again after.
    pub fn remove_unnamed_image(&self, digest: &Digest) -> Result<bool, FileError> {
        let _lock = self.root.lock_exclusive()?;
        if self.refs()?.iter().any(|(_, target)| target.digest == *digest) {
            return Ok(false);
        }
        self.root.unlink(&image_path(digest))
    }

    /// Digests of all image records, sorted.
    pub(crate) fn image_digests(&self) -> Result<Vec<Digest>, FileError> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for hex in self.root.list_text(&format!("images/{algorithm}"))? {
                digests.extend(format!("{algorithm}:{hex}").parse::<Digest>());
            }
        }
        Ok(digests)
    }
}

pub(crate) fn image_path(digest: &Digest) -> String {
    format!("images/{}/{}", digest.algorithm().as_str(), digest.hex())
}
