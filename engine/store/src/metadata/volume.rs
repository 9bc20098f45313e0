//! Volumes.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::container::ContainerRecord;
use super::name::{NameError, is_name};
use super::record::{self, RecordError};
use crate::Store;
use crate::error::{ErrorKind, FileError};
use crate::root::{Durability, random_name};
use crate::tree;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its name, unique among volumes.
    pub name: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// True if nobody named it: it goes with its container.
    pub anonymous: bool,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// Why a volume was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateVolumeError {
    /// Its name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is one of this name.
    #[error("volume {0} exists")]
    Exists(String),
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a volume was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindVolumeError {
    /// There is none.
    #[error("no such volume: {0}")]
    NotFound(String),
    /// Its record cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Why a volume was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveVolumeError {
    /// Containers use it.
    #[error("volume {name} is in use by container {}", containers.join(", "))]
    InUse {
        /// Which volume.
        name: String,
        /// Full ids of those that use it.
        containers: Vec<String>,
    },
    /// A container's record cannot be read, so that nobody knows what it uses.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl From<FileError> for RemoveVolumeError {
    fn from(error: FileError) -> Self {
        Self::Record(error.into())
    }
}

impl RemoveVolumeError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Precondition,
            Self::Record(error) => error.kind(),
        }
    }
}

impl CreateVolumeError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) => ErrorKind::Invalid,
            Self::Exists(_) => ErrorKind::AlreadyExists,
            Self::File(error) => error.kind(),
        }
    }
}

impl FindVolumeError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Record(error) => error.kind(),
        }
    }
}

impl Store {
    /// Creates an empty volume.
    pub fn create_volume(
        &self,
        volume: &VolumeRecord,
        durability: Durability,
    ) -> Result<(), CreateVolumeError> {
        let root = &self.root;
        let name = &volume.name;
        if !is_name(name) {
            return Err(NameError(name.clone()).into());
        }
        let file = root.filled(&record::encode(volume), durability)?;
        let path = format!("ingest/{}", random_name());
        // What lies in `ingest` without a lock of its own is a collection's to remove.
        let lock = root.lock_shared()?;
        let made = (|| {
            root.make_directory(&path, 0o700)?;
            root.make_directory(&format!("{path}/_data"), 0o755)?;
            root.set_mode(&format!("{path}/_data"), 0o755)?;
            root.link(&file, &format!("{path}/volume.json"))?;
            root.rename_new(&path, &format!("volumes/{name}"))
        })();
        drop(lock);
        if !matches!(made, Ok(true))
            && let Err(error) = tree::remove(root.as_fd(), &path)
        {
            tracing::warn!(path, %error, "cannot remove an unfinished volume");
        }
        if !made? {
            return Err(CreateVolumeError::Exists(name.clone()));
        }
        if durability == Durability::Durable {
            root.sync_directory(&format!("volumes/{name}"))?;
            root.sync_directory("volumes")?;
        }
        Ok(())
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Result<VolumeRecord, FindVolumeError> {
        let not_found = || FindVolumeError::NotFound(name.to_owned());
        if !is_name(name) {
            return Err(not_found());
        }
        record::load(&self.root, &format!("volumes/{name}/volume.json"))?.ok_or_else(not_found)
    }

    /// All volumes. One whose record cannot be read is left out with a warning: `check` names it.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>, FileError> {
        let mut volumes = Vec::new();
        for name in self.root.list_text("volumes")? {
            match self.volume(&name) {
                Ok(volume) => volumes.push(volume),
                Err(FindVolumeError::NotFound(_)) => {}
                Err(error) => tracing::warn!(name, %error, "skipped a volume"),
            }
        }
        Ok(volumes)
    }

    /// Opens the directory with a volume's files.
    pub fn open_volume(&self, name: &str) -> Result<OwnedFd, FindVolumeError> {
        let not_found = || FindVolumeError::NotFound(name.to_owned());
        if !is_name(name) {
            return Err(not_found());
        }
        let directory = self
            .root
            .open_directory(&format!("volumes/{name}/_data"))
            .map_err(RecordError::from)?;
        directory.ok_or_else(not_found)
    }

    /// Marks a volume that goes with its container as used by another one too: a container that
    /// removes itself leaves it then.
    pub fn share_volume(&self, name: &str) -> Result<(), FileError> {
        let path = format!("volumes/{name}/shared");
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(self.root.as_fd(), &path, flags, Mode::RUSR | Mode::WUSR)
            .map(drop)
            .map_err(|error| self.root.error("create", &path, error))
    }

    /// Where a volume's files are, for people.
    pub fn volume_path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join("volumes").join(name).join("_data")
    }

    /// Removes a volume and its files unless a container uses it, also one that is being created
    /// right now; false if there was none.
    pub fn remove_unused_volume(&self, name: &str) -> Result<bool, RemoveVolumeError> {
        let mut seen = HashSet::new();
        self.refuse_used(name, &mut seen)?;
        // Whoever creates a container looks for its volumes under the shared lock: only those
        // that came since need a look.
        let lock = self.root.lock_exclusive()?;
        self.refuse_used(name, &mut seen)?;
        let trash = self.discard_volume(name)?;
        drop(lock);
        Ok(self.delete_volume(trash)?)
    }

    /// Removes a volume and its files; false if there was none. The caller knows that no
    /// container uses it.
    pub fn remove_volume(&self, name: &str) -> Result<bool, FileError> {
        let trash = self.discard_volume(name)?;
        self.delete_volume(trash)
    }

    fn refuse_used(&self, name: &str, seen: &mut HashSet<String>) -> Result<(), RemoveVolumeError> {
        let mut containers = Vec::new();
        for id in self.container_ids()? {
            if !seen.insert(id.clone()) {
                continue;
            }
            let path = format!("containers/{id}/config.json");
            let record = record::load::<ContainerRecord>(&self.root, &path)?;
            if record.is_some_and(|record| record.volumes.iter().any(|volume| volume == name)) {
                containers.push(id);
            }
        }
        if containers.is_empty() {
            Ok(())
        } else {
            Err(RemoveVolumeError::InUse { name: name.to_owned(), containers })
        }
    }

    fn discard_volume(&self, name: &str) -> Result<Option<String>, FileError> {
        if is_name(name) { self.root.discard(&volume_path(name)) } else { Ok(None) }
    }

    fn delete_volume(&self, trash: Option<String>) -> Result<bool, FileError> {
        let Some(trash) = trash else { return Ok(false) };
        self.root.sync_directory("volumes")?;
        tree::remove(self.root.as_fd(), &trash)
            .map_err(|error| self.root.error("remove", &trash, error))?;
        Ok(true)
    }
}

pub(super) fn volume_path(name: &str) -> String {
    format!("volumes/{name}")
}
