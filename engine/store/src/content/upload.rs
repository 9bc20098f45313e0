//! Blobs that come in pieces.
//!
//! An upload belongs to nobody's process: its bytes lie under a name, and whoever is asked next
//! goes on at their end. While one adds to it, a lock keeps others out.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use hull_oci::{Algorithm, Digest};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::ingest::Blob;
use super::{Blobs, CommitError, blob_path, size_of};
use crate::error::FileError;
use crate::metadata::record;
use crate::root::{Durability, random_name};
use crate::tree;

/// An upload to which nothing was added for this long is collected.
pub const UPLOAD_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What an upload is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Name of the registry.
    pub registry: String,
    /// Name of the repository.
    pub repository: String,
}

/// An upload, locked: nobody else adds to it meanwhile.
#[derive(Debug)]
pub struct Upload {
    id: String,
    file: File,
    size: u64,
    record: UploadRecord,
}

/// What [`Blobs::open_upload`] found.
#[derive(Debug)]
pub enum OpenUpload {
    /// There is no such upload.
    Missing,
    /// Somebody else adds to it.
    Busy,
    /// It is the caller's now.
    Open(Upload),
}

/// An upload from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadInfo {
    /// Its id.
    pub id: String,
    /// Bytes so far.
    pub size: u64,
    /// When something was added last.
    pub since: SystemTime,
}

impl UploadInfo {
    /// Whether nothing was added for `life`.
    pub fn is_stale(&self, life: Duration) -> bool {
        self.since.elapsed().is_ok_and(|age| age >= life)
    }
}

impl Upload {
    /// 32 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What it is for.
    pub fn record(&self) -> &UploadRecord {
        &self.record
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let written =
            self.file.seek(SeekFrom::Start(self.size)).and_then(|_| self.file.write_all(bytes));
        if let Err(error) = written {
            // A part may have been written: who goes on must find what was confirmed.
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// A reader of all its bytes, from the first.
    pub fn reader(&mut self) -> std::io::Result<impl Read + '_> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(&self.file)
    }

    /// The digest of its bytes, read anew.
    pub fn digest(&mut self, algorithm: Algorithm) -> std::io::Result<Digest> {
        tree::digest_as(algorithm, &mut self.reader()?)
    }
}

impl Blobs<'_> {
    /// Starts an upload. Nothing of it is durable before it is committed.
    pub fn start_upload(self, about: &UploadRecord) -> Result<Upload, FileError> {
        let root = &self.store.root;
        // A store of an older engine has no such directory.
        root.make_directory("uploads", 0o700)?;
        let id = random_name();
        let record = root.filled(&record::encode(about), Durability::Volatile)?;
        let path = directory(&id);
        root.make_directory(&path, 0o700)?;
        root.link(&record, &format!("{path}/upload.json"))?;
        let data = format!("{path}/data");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(root.as_fd(), &data, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| root.error("create", &data, error))?;
        file.try_lock().map_err(|error| root.error("lock", &data, std::io::Error::from(error)))?;
        Ok(Upload { id, file, size: 0, record: about.clone() })
    }

    /// Takes an upload over.
    pub fn open_upload(self, id: &str) -> Result<OpenUpload, FileError> {
        let root = &self.store.root;
        if !is_id(id) {
            return Ok(OpenUpload::Missing);
        }
        let path = format!("{}/data", directory(id));
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(root.as_fd(), &path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(OpenUpload::Missing),
            Err(error) => return Err(root.error("open", &path, error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(OpenUpload::Busy),
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(root.error("lock", &path, error));
            }
        }
        // Between opening and locking it may have become a blob, whose bytes never change.
        let found = rustix::fs::statat(root.as_fd(), &path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        let own = rustix::fs::fstat(&file).map_err(|error| root.error("look at", &path, error))?;
        if !found.is_ok_and(|found| (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)) {
            return Ok(OpenUpload::Missing);
        }
        let about = format!("{}/upload.json", directory(id));
        let Ok(Some(record)) = record::load::<UploadRecord>(root, &about) else {
            return Ok(OpenUpload::Missing);
        };
        let size = u64::try_from(own.st_size).unwrap_or(0);
        Ok(OpenUpload::Open(Upload { id: id.to_owned(), file, size, record }))
    }

    /// Makes an upload a blob, on disk when this returns. The caller has seen that its bytes have
    /// this digest, since it holds it.
    pub fn commit_upload(self, upload: &Upload, digest: &Digest) -> Result<Blob, CommitError> {
        let root = &self.store.root;
        let (from, to) = (format!("{}/data", directory(&upload.id)), blob_path(digest));
        rustix::fs::fchmod(upload.file.as_fd(), Mode::from_raw_mode(0o444))
            .map_err(|error| root.error("set the mode of", &from, error))?;
        root.sync_data(&upload.file, &from)?;
        // Moved, not linked: nobody may find the file of a blob under the name of an upload.
        if !root.rename_new(&from, &to)? {
            let there = size_of(root, &to)?;
            if there != Some(upload.size) {
                root.rename(&from, &to)?;
            }
        }
        root.sync_parent(&to)?;
        self.cancel_upload(&upload.id)?;
        Ok(Blob { digest: digest.clone(), size: upload.size })
    }

    /// Removes an upload; false if there is none.
    pub fn cancel_upload(self, id: &str) -> Result<bool, FileError> {
        let root = &self.store.root;
        if !is_id(id) {
            return Ok(false);
        }
        let Some(trash) = root.discard(&directory(id))? else { return Ok(false) };
        // What resists is in the trash, and the next collection's.
        if let Err(error) = tree::remove(root.as_fd(), &trash) {
            tracing::warn!(path = trash, %error, "cannot remove an upload");
        }
        Ok(true)
    }

    /// All uploads.
    pub fn uploads(self) -> Result<Vec<UploadInfo>, FileError> {
        let root = &self.store.root;
        let mut found = Vec::new();
        for id in root.list_text("uploads")?.into_iter().filter(|id| is_id(id)) {
            let path = directory(&id);
            let stat = |path: &str| {
                rustix::fs::statat(root.as_fd(), path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            };
            // Killed between the two, it has a directory only.
            let Ok(stat) = stat(&format!("{path}/data")).or_else(|_| stat(&path)) else { continue };
            let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let since = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            found.push(UploadInfo { id, size, since });
        }
        Ok(found)
    }
}

fn directory(id: &str) -> String {
    format!("uploads/{id}")
}

fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
