//! Blobs that arrive piece by piece, and whose arrival may be interrupted.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use hull_oci::Digest;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Blob, Blobs, blob_path};
use crate::error::FileError;
use crate::root::Root;

/// How long an interrupted arrival can be continued.
pub(crate) const KEPT: Duration = Duration::from_hours(7 * 24);

/// What has arrived of a blob: a file under `ingest/` named after the digest, locked by who
/// writes it. It outlives its writer, so that another process, after a reboot even, continues
/// where it ended; a collection takes it when nobody has for a week.
///
/// Nothing is known of its bytes before they are compared with the digest: a machine that lost
/// its power may have left anything in it. Dropping it keeps what arrived.
#[derive(Debug)]
pub struct Partial<'a> {
    root: &'a Root,
    digest: Digest,
    file: File,
    finished: bool,
}

impl<'a> Blobs<'a> {
    /// What has arrived of a blob, locked for this writer; `None` while somebody else has it.
    pub fn try_partial(self, digest: &Digest) -> Result<Option<Partial<'a>>, FileError> {
        let root = &self.store.root;
        let path = partial_path(digest);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A collection looks for a lock behind the exclusive lock: it sees ours or no file.
        let _lock = root.lock_shared()?;
        loop {
            let file = rustix::fs::openat(root.as_fd(), &path, flags, Mode::from_raw_mode(0o600))
                .map(File::from)
                .map_err(|error| root.error("open", &path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(root.error("lock", &path, error));
                }
            }
            // Who had the lock before may have made it a blob or removed it.
            if is_named(root, &file, &path)? {
                return Ok(Some(Partial { root, digest: digest.clone(), file, finished: false }));
            }
        }
    }
}

impl Partial<'_> {
    /// The digest the blob is to have.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes that have arrived, for reading and writing. A duplicate of the descriptor keeps
    /// the lock.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// How many bytes have arrived.
    pub fn len(&self) -> Result<u64, FileError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|error| self.error("look at", error))?.len())
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> Result<bool, FileError> {
        Ok(self.len()? == 0)
    }

    /// Forgets what has arrived.
    pub fn restart(&self) -> Result<(), FileError> {
        self.file.set_len(0).map_err(|error| self.error("truncate", error))
    }

    /// Makes it a blob, on disk when this returns. The caller knows that the bytes have the
    /// digest: they were hashed on their way by one who is trusted to hash.
    pub fn commit(mut self) -> Result<Blob, FileError> {
        let size = self.len()?;
        let (from, to) = (partial_path(&self.digest), blob_path(&self.digest));
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(0o444))
            .map_err(|error| self.error("set the mode of", error.into()))?;
        self.root.sync_data(&self.file, &from)?;
        // A blob that is there already is the same bytes, or was cut short by a fault of the disk.
        self.root.rename(&from, &to)?;
        self.finished = true;
        self.root.sync_parent(&to)?;
        Ok(Blob { digest: self.digest.clone(), size })
    }

    /// Removes what has arrived.
    pub fn discard(mut self) -> Result<(), FileError> {
        self.finished = true;
        self.root.unlink(&partial_path(&self.digest)).map(drop)
    }

    fn error(&self, action: &'static str, error: std::io::Error) -> FileError {
        self.root.error(action, &partial_path(&self.digest), error)
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if self.finished || !matches!(self.is_empty(), Ok(true)) {
            return;
        }
        if let Err(error) = self.root.unlink(&partial_path(&self.digest)) {
            // A collection takes it by its age.
            tracing::debug!(digest = %self.digest, %error, "cannot remove an empty partial blob");
        }
    }
}

fn partial_path(digest: &Digest) -> String {
    format!("ingest/{}-{}", digest.algorithm().as_str(), digest.hex())
}

/// Whether an entry of `ingest/` is one that can be continued.
pub(crate) fn is_partial(name: &str) -> bool {
    name.split_once('-')
        .is_some_and(|(algorithm, hex)| format!("{algorithm}:{hex}").parse::<Digest>().is_ok())
}

/// Whether an entry of `ingest/` was written to lately.
pub(crate) fn is_fresh(root: &Root, path: &str) -> Result<bool, FileError> {
    let Some(file) = root.open_file(path)? else { return Ok(false) };
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|error| root.error("look at", path, error))?;
    // A clock that was set back makes the file one of the future: that is fresh too.
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    Ok(age < KEPT)
}

fn is_named(root: &Root, file: &File, path: &str) -> Result<bool, FileError> {
    let fail = |error: Errno| root.error("look at", path, error);
    let opened = rustix::fs::fstat(file.as_fd()).map_err(fail)?;
    match rustix::fs::statat(root.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(fail(error)),
    }
}
