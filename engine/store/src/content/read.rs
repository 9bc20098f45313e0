//! Reading blobs.

use std::fs::File;

use hull_oci::Digest;

use super::{Blobs, blob_path};
use crate::error::{ErrorKind, FileError};

/// Why a blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such blob is committed.
    #[error("no blob {0}")]
    NotFound(Digest),
    /// It is larger than the caller takes.
    #[error("blob {digest} has {size} bytes, more than {max}")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
        /// The bound in bytes.
        max: usize,
    },
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ReadError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::TooLarge { .. } => ErrorKind::Invalid,
            Self::File(error) => error.kind(),
        }
    }
}

impl Blobs<'_> {
    /// Opens a blob, at its first byte.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if no such blob is committed.
    pub fn open(self, digest: &Digest) -> Result<File, ReadError> {
        let root = &self.store.root;
        for path in [blob_path(digest), tar_path(digest)] {
            if let Some(file) = root.open_file(&path)? {
                return Ok(file);
            }
        }
        Err(ReadError::NotFound(digest.clone()))
    }

    /// The bytes of a blob of at most `max` bytes. They are not hashed again. Three system calls
    /// for what fits into 16 KiB.
    pub fn read(self, digest: &Digest, max: usize) -> Result<Vec<u8>, ReadError> {
        let root = &self.store.root;
        for path in [blob_path(digest), tar_path(digest)] {
            match root.read(&path, max) {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => {}
                Err(error) if error.io().kind() == std::io::ErrorKind::FileTooLarge => {
                    let size = size_of(root, &path)?.unwrap_or(0);
                    return Err(ReadError::TooLarge { digest: digest.clone(), size, max });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReadError::NotFound(digest.clone()))
    }

    /// Length in bytes, `None` if there is no such blob.
    pub fn stat(self, digest: &Digest) -> Result<Option<u64>, FileError> {
        let root = &self.store.root;
        for path in [blob_path(digest), tar_path(digest)] {
            if let Some(size) = size_of(root, &path)? {
                return Ok(Some(size));
            }
        }
        Ok(None)
    }

    /// True if the blob is committed. Without a lease that holds it, it may be gone right after.
    pub fn contains(self, digest: &Digest) -> Result<bool, FileError> {
        Ok(self.stat(digest)?.is_some())
    }

    /// Every digest under `blobs/`, sorted.
    pub fn list(self) -> Result<Vec<Digest>, FileError> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for hex in self.store.root.list_text(&format!("blobs/{algorithm}"))? {
                digests.extend(format!("{algorithm}:{hex}").parse::<Digest>());
            }
        }
        Ok(digests)
    }
}

fn tar_path(digest: &Digest) -> String {
    format!("layers/{}/tar", digest.hex())
}

pub(crate) fn size_of(root: &crate::root::Root, path: &str) -> Result<Option<u64>, FileError> {
    use rustix::fs::AtFlags;
    use rustix::io::Errno;
    match rustix::fs::statat(root.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(root.error("look up", path, error)),
    }
}
