//! Writing blobs.

use std::fs::File;
use std::io::{self, Write};

use hull_oci::{Algorithm, Digest, Hasher};
use rustix::fs::Mode;

use super::{Blobs, blob_path};
use crate::error::{ErrorKind, FileError};
use crate::root::Root;

/// A write that is not yet a blob: bytes go in, [`Ingest::commit`] names them. Dropping it leaves
/// nothing behind.
#[derive(Debug)]
pub struct Ingest<'a> {
    root: &'a Root,
    file: File,
    hasher: Hasher,
    size: u64,
}

/// A committed blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

/// Why an ingest did not become a blob.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The bytes are not those that were promised.
    #[error("blob {expected} has digest {actual} after {bytes} bytes")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
        /// How many bytes came.
        bytes: u64,
    },
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CommitError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::DigestMismatch { .. } => ErrorKind::Invalid,
            Self::File(error) => error.kind(),
        }
    }
}

impl<'a> Blobs<'a> {
    /// Starts a blob whose digest will be sha256.
    pub fn ingest(self) -> Result<Ingest<'a>, FileError> {
        self.ingest_as(Algorithm::Sha256)
    }

    /// Starts a blob whose digest will be of `algorithm`.
    pub fn ingest_as(self, algorithm: Algorithm) -> Result<Ingest<'a>, FileError> {
        let root = &self.store.root;
        Ok(Ingest { root, file: root.temporary()?, hasher: Hasher::new(algorithm), size: 0 })
    }

    /// Stores bytes that are in memory.
    pub fn put_bytes(self, bytes: &[u8]) -> Result<Blob, CommitError> {
        let mut ingest = self.ingest()?;
        ingest.write_bytes(bytes)?;
        ingest.commit(None)
    }

    /// An empty file without a name, read-write, for somebody else to fill (a worker) and for
    /// [`Blobs::commit_file`] to name.
    pub fn temporary(self) -> Result<File, FileError> {
        self.store.root.temporary()
    }

    /// Names a file of [`Blobs::temporary`] whose content the caller knows to have `digest`:
    /// it was hashed while it was written, by one who is trusted to hash.
    pub fn commit_file(self, file: &File, digest: &Digest) -> Result<Blob, CommitError> {
        let root = &self.store.root;
        let path = blob_path(digest);
        let fail = |error| root.error("commit", &path, error);
        let size = file.metadata().map_err(fail)?.len();
        publish(root, file, digest, size)?;
        Ok(Blob { digest: digest.clone(), size })
    }
}

impl Blobs<'_> {
    /// Moves a blob whose bytes are not those of its name to the trash; false if there is none.
    /// Who refers to it lacks it then, until the same bytes are committed again.
    pub fn quarantine(self, digest: &Digest) -> Result<bool, FileError> {
        Ok(self.store.root.discard(&blob_path(digest))?.is_some())
    }
}

impl Ingest<'_> {
    /// Takes in the next bytes.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(bytes)
            .map_err(|error| self.root.error("write a blob in", "ingest", error))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes a blob, on disk when this returns.
    ///
    /// # Errors
    /// [`CommitError::DigestMismatch`] if `expected` is given and is another digest; nothing is
    /// kept then.
    pub fn commit(self, expected: Option<&Digest>) -> Result<Blob, CommitError> {
        let actual = self.hasher.finish();
        if let Some(expected) = expected.filter(|expected| **expected != actual) {
            return Err(CommitError::DigestMismatch {
                expected: expected.clone(),
                actual,
                bytes: self.size,
            });
        }
        publish(self.root, &self.file, &actual, self.size)?;
        Ok(Blob { digest: actual, size: self.size })
    }
}

impl Write for Ingest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn publish(root: &Root, file: &File, digest: &Digest, size: u64) -> Result<(), FileError> {
    let path = blob_path(digest);
    rustix::fs::fchmod(file, Mode::from_raw_mode(0o444))
        .map_err(|error| root.error("set the mode of", &path, error))?;
    root.sync_data(file, &path)?;
    if !root.link(file, &path)? {
        // The same bytes are there already, unless a fault of the disk cut them short.
        let stat = rustix::fs::statat(root.as_fd(), &path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| u64::try_from(stat.st_size) == Ok(size)) {
            return Ok(());
        }
        root.link_over(file, &path)?;
    }
    root.sync_parent(&path)
}
