//! Preparing and publishing a layer.

use std::fs::File;
use std::os::fd::OwnedFd;

use hull_oci::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use super::{LayerInfo, LayerMode, Layers, OPAQUE, layer_path};
use crate::error::{ErrorKind, FileError};
use crate::layer::LayerReport;
use crate::layer::aligned::BLOCK;
use crate::metadata::record;
use crate::root::{Durability, Root, random_name, uninterrupted};
use crate::tree;

/// A layer of so many bytes as it comes is large: to read it anew from the disk takes longer than
/// to start what is in it.
const LARGE: u64 = 16 << 20;

/// A layer being written: a locked directory under `ingest/`. Dropping it removes the directory.
#[derive(Debug)]
pub struct LayerIngest<'a> {
    root: &'a Root,
    pub(super) path: String,
    directory: File,
    mode: LayerMode,
    pub(super) published: bool,
}

/// Why no layer can be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The operator asked for erofs layers where they do not work.
    #[error("layers cannot be kept as erofs in this data root: {reason}")]
    ErofsUnavailable {
        /// What the probe mount said.
        reason: String,
    },
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a prepared layer was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What was written is not what the report says.
    #[error("layer {diff_id} should be {expected} bytes of tar, {actual} were written")]
    Incomplete {
        /// Which layer.
        diff_id: Digest,
        /// Bytes the report promises.
        expected: u64,
        /// Bytes in the file.
        actual: u64,
    },
    /// The index on disk is not the one the worker wrote.
    #[error("the index of layer {diff_id} should have digest {expected}, it has {actual}")]
    IndexMismatch {
        /// Which layer.
        diff_id: Digest,
        /// What the report promises.
        expected: Digest,
        /// What is in the file.
        actual: Digest,
    },
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PrepareError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ErofsUnavailable { .. } => ErrorKind::Unavailable,
            Self::File(error) => error.kind(),
        }
    }
}

impl PublishError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Incomplete { .. } | Self::IndexMismatch { .. } => ErrorKind::Internal,
            Self::File(error) => error.kind(),
        }
    }
}

impl<'a> Layers<'a> {
    /// Makes room for a layer, in the mode of this store.
    pub fn prepare(self) -> Result<LayerIngest<'a>, PrepareError> {
        let probe = self.store.layer_mode()?;
        if let (LayerMode::Erofs, Some(reason)) = (probe.mode, &probe.reason) {
            return Err(PrepareError::ErofsUnavailable { reason: reason.clone() });
        }
        let root = &self.store.root;
        let path = format!("ingest/{}", random_name());
        let directory = make_locked(root, &path)?;
        let ingest = LayerIngest { root, path, directory, mode: probe.mode, published: false };
        ingest.make_content()?;
        Ok(ingest)
    }

    /// Publishes one layer; see [`Layers::publish_all`].
    pub fn publish(self, ingest: LayerIngest<'_>, report: LayerReport) -> Result<(), PublishError> {
        self.publish_all(vec![(ingest, report)])
    }

    /// Makes prepared layers visible, on disk when this returns, with one sync of the file system
    /// for all that are unpacked. A layer that is here already is left as it is.
    pub fn publish_all(
        self,
        layers: Vec<(LayerIngest<'_>, LayerReport)>,
    ) -> Result<(), PublishError> {
        let root = &self.store.root;
        let mut unsynced = false;
        for (ingest, report) in &layers {
            ingest.finish(report, Durability::Durable)?;
            unsynced |= ingest.mode == LayerMode::Unpack;
        }
        if unsynced {
            rustix::fs::syncfs(root.as_fd())
                .map_err(|error| root.error("sync the file system of", "layers", error))?;
        }
        for (mut ingest, report) in layers {
            let path = layer_path(&report.diff_id);
            ingest.published = root.rename_new(&ingest.path, &path)?;
        }
        Ok(root.sync_directory("layers")?)
    }
}

impl LayerIngest<'_> {
    /// How the layer is to be written.
    pub fn mode(&self) -> LayerMode {
        self.mode
    }

    /// What a worker writes the layer to. Erofs: the empty, read-write files for the tar and the
    /// index. Unpack: the empty directory for the tree.
    pub fn descriptors(&self) -> Result<Vec<OwnedFd>, FileError> {
        self.open_outputs(OFlags::empty())
    }

    /// As [`LayerIngest::descriptors`], for a layer of `size` bytes as it comes. The tar of a large
    /// one is written past the page cache where the file system can: that saves copying every byte
    /// once more, and the memory stays with what runs.
    pub fn descriptors_for(&self, size: u64) -> Result<Vec<OwnedFd>, FileError> {
        let direct = size >= LARGE && self.mode == LayerMode::Erofs && self.writes_blocks()?;
        self.open_outputs(if direct { OFlags::DIRECT } else { OFlags::empty() })
    }

    /// Whether the tar can be written past the page cache in blocks of [`BLOCK`].
    fn writes_blocks(&self) -> Result<bool, FileError> {
        let stat = rustix::fs::statx(
            &self.directory,
            "tar",
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::DIOALIGN,
        )
        .map_err(|error| self.error("look at", "tar", error))?;
        let fits = |align: u32| align > 0 && (BLOCK as u64).is_multiple_of(u64::from(align));
        // Without an answer both are zero.
        Ok(fits(stat.stx_dio_mem_align) && fits(stat.stx_dio_offset_align))
    }

    fn open_outputs(&self, tar: OFlags) -> Result<Vec<OwnedFd>, FileError> {
        let open = |name: &str, flags| {
            rustix::fs::openat(
                &self.directory,
                name,
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|error| self.error("open", name, error))
        };
        match self.mode {
            LayerMode::Erofs => {
                Ok(vec![open("tar", OFlags::RDWR | tar)?, open("erofs", OFlags::RDWR)?])
            }
            LayerMode::Unpack => Ok(vec![open("fs", OFlags::RDONLY | OFlags::DIRECTORY)?]),
        }
    }

    fn make_content(&self) -> Result<(), FileError> {
        match self.mode {
            LayerMode::Erofs => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                for name in ["tar", "erofs"] {
                    rustix::fs::openat(&self.directory, name, flags, Mode::from_raw_mode(0o600))
                        .map_err(|error| self.error("create", name, error))?;
                }
            }
            LayerMode::Unpack => {
                let path = format!("{}/fs", self.path);
                self.root.make_directory(&path, 0o755)?;
                self.root.set_mode(&path, 0o755)?;
            }
        }
        Ok(())
    }

    /// Describes the content, and brings both to disk if they are to be durable.
    pub(super) fn finish(
        &self,
        report: &LayerReport,
        durability: Durability,
    ) -> Result<(), PublishError> {
        let tree = match self.mode {
            LayerMode::Erofs => {
                let tar = self.seal("tar", durability)?;
                let actual =
                    tar.metadata().map_err(|error| self.error("look at", "tar", error))?.len();
                if actual != report.tar_size {
                    return Err(PublishError::Incomplete {
                        diff_id: report.diff_id.clone(),
                        expected: report.tar_size,
                        actual,
                    });
                }
                self.index_digest(report, durability)?
            }
            LayerMode::Unpack => {
                let [fs] = <[OwnedFd; 1]>::try_from(self.descriptors()?)
                    .expect("an unpacked layer has one descriptor");
                tree::fingerprint(fs).map_err(|error| self.error("read", "fs", error))?
            }
        };
        if report.opaque && self.mode == LayerMode::Unpack {
            let marker = self.root.filled(b"", durability)?;
            self.root.link(&marker, &format!("{}/{OPAQUE}", self.path))?;
        }
        let info = LayerInfo::new(report, self.mode, tree);
        let json = record::encode(&info);
        let file = self.root.filled(&json, durability)?;
        self.root.link(&file, &format!("{}/layer.json", self.path))?;
        if durability == Durability::Durable {
            rustix::fs::fsync(&self.directory).map_err(|error| self.error("sync", "", error))?;
        }
        Ok(())
    }

    fn index_digest(
        &self,
        report: &LayerReport,
        durability: Durability,
    ) -> Result<Digest, PublishError> {
        let mut index = self.seal("erofs", durability)?;
        let actual =
            tree::digest_of(&mut index).map_err(|error| self.error("read", "erofs", error))?;
        match &report.index {
            Some(expected) if *expected != actual => Err(PublishError::IndexMismatch {
                diff_id: report.diff_id.clone(),
                expected: expected.clone(),
                actual,
            }),
            _ => Ok(actual),
        }
    }

    fn seal(&self, name: &str, durability: Durability) -> Result<File, FileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty())
            .map_err(|error| self.error("open", name, error))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))
            .map_err(|error| self.error("set the mode of", name, error))?;
        if durability == Durability::Durable {
            rustix::fs::fdatasync(&file).map_err(|error| self.error("sync", name, error))?;
        }
        Ok(File::from(file))
    }

    fn error(
        &self,
        action: &'static str,
        name: &str,
        source: impl Into<std::io::Error>,
    ) -> FileError {
        self.root.error(action, &format!("{}/{name}", self.path), source)
    }
}

impl Drop for LayerIngest<'_> {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Err(error) = tree::remove(self.root.as_fd(), &self.path) {
            // The next collection finds it without a lock and removes it.
            tracing::warn!(path = self.path, %error, "cannot remove an unfinished layer");
        }
    }
}

/// Makes a directory and locks it, with no moment at which a collection sees it unlocked.
fn make_locked(root: &Root, path: &str) -> Result<File, FileError> {
    let _lock = root.lock_shared()?;
    root.make_directory(path, 0o700)?;
    let directory = root
        .open_directory(path)?
        .ok_or_else(|| root.error("open", path, rustix::io::Errno::NOENT))?;
    let directory = File::from(directory);
    uninterrupted(|| directory.lock()).map_err(|error| root.error("lock", path, error))?;
    Ok(directory)
}
