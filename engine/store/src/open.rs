//! Opening and making a store.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;

use crate::error::{ErrorKind, FileError};
use crate::format::{DIRECTORIES, GC_LOCK, STORE_FORMAT, VERSION};
use crate::layers::LayerMode;
use crate::root::{Durability, Root};

/// State on disk. Cheap to open, safe to use by many threads and processes at once.
#[derive(Debug)]
pub struct Store {
    pub(crate) root: Root,
    pub(crate) exec_root: PathBuf,
    pub(crate) chosen_mode: Option<LayerMode>,
    pub(crate) probed_mode: OnceLock<crate::layers::Probe>,
}

/// Where a store lies.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Everything that outlives a boot; made if it is missing.
    pub data_root: PathBuf,
    /// What dies with the boot: mounts of layers.
    pub exec_root: PathBuf,
    /// How new layers are kept; `None` takes what a probe mount says.
    pub layer_mode: Option<LayerMode>,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Made by another version of the engine.
    #[error("store {} has format {found:?}, this engine knows {STORE_FORMAT}", path.display())]
    UnknownFormat {
        /// The data root.
        path: PathBuf,
        /// What its `VERSION` says.
        found: String,
    },
    /// Something else lies there.
    #[error("{} is not a store and not empty: it holds {found:?}", path.display())]
    NotAStore {
        /// The data root.
        path: PathBuf,
        /// The first name that is not of a store.
        found: String,
    },
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl OpenError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownFormat { .. } | Self::NotAStore { .. } => ErrorKind::Precondition,
            Self::File(error) => error.kind(),
        }
    }
}

impl Store {
    /// Opens the store below `data_root`, and makes it first if there is none.
    ///
    /// An existing store costs four system calls; nothing is cleaned, probed or listed here.
    ///
    /// # Errors
    /// A foreign directory and an unknown format are refused and not touched.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|error| FileError::new("locate", path, error))
        };
        let data_root = absolute(options.data_root)?;
        let root = match Root::open(&data_root)? {
            Some(root) if is_current(&root)? => root,
            _ => create(&data_root)?,
        };
        Ok(Self {
            root,
            exec_root: absolute(options.exec_root)?,
            chosen_mode: options.layer_mode,
            probed_mode: OnceLock::new(),
        })
    }

    /// The data root, an absolute path.
    pub fn data_root(&self) -> &Path {
        self.root.path()
    }

    /// The exec root, an absolute path.
    pub fn exec_root(&self) -> &Path {
        &self.exec_root
    }
}

/// False if there is no `VERSION` yet.
fn is_current(root: &Root) -> Result<bool, OpenError> {
    let Some(version) = root.read(VERSION, 4096)? else { return Ok(false) };
    let found = String::from_utf8_lossy(&version).trim().to_owned();
    if found == STORE_FORMAT.to_string() {
        Ok(true)
    } else {
        Err(OpenError::UnknownFormat { path: root.path().to_owned(), found })
    }
}

/// Makes a store. Several processes may do so at once, and any of them may die half-way.
fn create(path: &Path) -> Result<Root, OpenError> {
    make_parents(path)?;
    let root = Root::open(path)?.ok_or_else(|| FileError::new("open", path, Errno::NOENT))?;
    refuse_foreign(&root)?;
    rustix::fs::fchmod(root.as_fd(), Mode::from_raw_mode(0o700))
        .map_err(|error| FileError::new("set the mode of", path, error))?;
    for directory in DIRECTORIES {
        root.make_directory(directory, 0o700)?;
    }
    let lock = root.filled(b"", Durability::Durable)?;
    root.link(&lock, GC_LOCK)?;
    for directory in [".", "blobs", "images"] {
        root.sync_directory(directory)?;
    }
    let version = root.filled(format!("{STORE_FORMAT}\n").as_bytes(), Durability::Durable)?;
    if !root.link(&version, VERSION)? && !is_current(&root)? {
        return Err(FileError::new("read", path.join(VERSION), Errno::NOENT).into());
    }
    root.sync_directory(".")?;
    Ok(root)
}

/// Refuses a directory with anything in it that a half-made store does not have.
fn refuse_foreign(root: &Root) -> Result<(), OpenError> {
    for name in root.list(".")? {
        let name = name.to_string_lossy();
        let ours = DIRECTORIES.contains(&name.as_ref())
            || ["cache", "cachemounts", "statcache"].contains(&name.as_ref())
            || [GC_LOCK, VERSION, "lost+found"].contains(&name.as_ref());
        if !ours {
            return Err(OpenError::NotAStore {
                path: root.path().to_owned(),
                found: name.into_owned(),
            });
        }
    }
    Ok(())
}

fn make_parents(path: &Path) -> Result<(), FileError> {
    for directory in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
        let mode = if directory == path { 0o700 } else { 0o755 };
        match rustix::fs::mkdirat(CWD, directory, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // A parent on a read-only file system says so even if the directory is there.
            Err(Errno::ROFS) if directory.is_dir() => {}
            Err(error) => return Err(FileError::new("create", directory, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
