//! Containers and their names.

use hull_oci::Digest;
use serde::{Deserialize, Serialize};

use super::image::image_path;
use super::name::{self, NameError, is_name};
use super::record::{self, RecordError};
use super::volume::volume_path;
use crate::Store;
use crate::error::{ErrorKind, FileError};
use crate::root::{Durability, Root, uninterrupted};
use crate::tree;

/// What a container is made of. Its state is not here: that is its shim's to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 lower-case hex digits.
    pub id: String,
    /// Its name, unique among containers.
    pub name: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Digest of the image's manifest for its platform.
    pub image: Digest,
    /// Digest of the image config: the image ID.
    pub image_id: Digest,
    /// The reference it was created from, as the user wrote it.
    pub image_name: String,
    /// DiffIDs of the image's layers, the bottom first.
    pub layers: Vec<Digest>,
    /// Names of its volumes, anonymous ones too.
    pub volumes: Vec<String>,
    /// The merged configuration; opaque here.
    pub config: serde_json::Value,
}

/// Why a container was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateContainerError {
    /// Its name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its id is not 64 lower-case hex digits.
    #[error("{0:?} is not a container id")]
    Id(String),
    /// Another container has the name.
    #[error("the container name {name:?} is already in use by container {owner}")]
    NameTaken {
        /// The name.
        name: String,
        /// Id of the container that has it.
        owner: String,
    },
    /// The id is taken.
    #[error("container {0} exists")]
    Exists(String),
    /// The image was removed meanwhile.
    #[error("image {0} is not here")]
    MissingImage(Digest),
    /// One of its volumes was removed meanwhile.
    #[error("volume {0} is not here")]
    MissingVolume(String),
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a container was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindContainerError {
    /// There is none.
    #[error("no such container: {0}")]
    NotFound(String),
    /// Several ids begin like this.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// Its record cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Why a container's record was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It cannot be found.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// The new name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another container has the new name.
    #[error("the container name {name:?} is already in use by container {owner}")]
    NameTaken {
        /// The name.
        name: String,
        /// Id of the container that has it.
        owner: String,
    },
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CreateContainerError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::Id(_) => ErrorKind::Invalid,
            Self::NameTaken { .. } | Self::Exists(_) => ErrorKind::AlreadyExists,
            Self::MissingImage(_) | Self::MissingVolume(_) => ErrorKind::NotFound,
            Self::File(error) => error.kind(),
        }
    }
}

impl FindContainerError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Ambiguous(_) => ErrorKind::Invalid,
            Self::Record(error) => error.kind(),
        }
    }
}

impl From<FileError> for FindContainerError {
    fn from(error: FileError) -> Self {
        Self::Record(error.into())
    }
}

impl UpdateError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Find(error) => error.kind(),
            Self::Name(_) => ErrorKind::Invalid,
            Self::NameTaken { .. } => ErrorKind::AlreadyExists,
            Self::File(error) => error.kind(),
        }
    }
}

impl Store {
    /// Creates a container with its name and its `rw` and `work` directories. From now on
    /// it keeps its image's layers and its volumes, which must be here.
    ///
    /// # Errors
    /// Nothing is left behind by any of them.
    pub fn create_container(
        &self,
        container: &ContainerRecord,
        durability: Durability,
    ) -> Result<(), CreateContainerError> {
        let ContainerRecord { id, name, image, .. } = container;
        if !is_container_id(id) {
            return Err(CreateContainerError::Id(id.clone()));
        }
        if !is_name(name) {
            return Err(NameError(name.clone()).into());
        }
        let root = &self.root;
        let file = root.filled(&record::encode(container), durability)?;
        loop {
            let lock = root.lock_shared()?;
            // An image that is here keeps its layers until the exclusive lock is free again, and
            // by then this container does.
            if !root.exists(&image_path(image))? {
                return Err(CreateContainerError::MissingImage(image.clone()));
            }
            for volume in &container.volumes {
                if !is_name(volume) || !root.exists(&volume_path(volume))? {
                    return Err(CreateContainerError::MissingVolume(volume.clone()));
                }
            }
            if name::take(root, name, id)? {
                let made = make_directory(root, id, &file);
                if !matches!(made, Ok(true)) {
                    name::give_back(root, name, id)?;
                }
                if !made? {
                    return Err(CreateContainerError::Exists(id.clone()));
                }
                break;
            }
            drop(lock);
            if !name::release_stale(root, name)? {
                let owner = name::owner(root, name)?.unwrap_or_default();
                return Err(CreateContainerError::NameTaken { name: name.clone(), owner });
            }
        }
        if durability == Durability::Durable {
            root.sync_directory(&format!("containers/{id}"))?;
            root.sync_directory("containers")?;
            root.sync_directory("names")?;
        }
        Ok(())
    }

    /// Finds a container as people name it: by full id, name or unique prefix of an id.
    pub fn container(&self, text: &str) -> Result<ContainerRecord, FindContainerError> {
        let id = self.container_id(text)?;
        record::load(&self.root, &format!("containers/{id}/config.json"))?
            .ok_or_else(|| FindContainerError::NotFound(text.to_owned()))
    }

    /// The full id of a container, without reading its record.
    pub fn container_id(&self, text: &str) -> Result<String, FindContainerError> {
        if is_container_id(text) && self.root.exists(&format!("containers/{text}"))? {
            return Ok(text.to_owned());
        }
        if is_name(text)
            && let Some(id) = name::owner(&self.root, text)?
            && is_container_id(&id)
        {
            return Ok(id);
        }
        let not_found = || FindContainerError::NotFound(text.to_owned());
        if text.is_empty() || !text.bytes().all(is_hex) {
            return Err(not_found());
        }
        let mut matching = self.container_ids()?.into_iter().filter(|id| id.starts_with(text));
        let id = matching.next().ok_or_else(not_found)?;
        match matching.next() {
            Some(_) => Err(FindContainerError::Ambiguous(text.to_owned())),
            None => Ok(id),
        }
    }

    /// All containers. One whose record cannot be read is left out with a warning: `check` names
    /// it.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>, FileError> {
        let mut containers = Vec::new();
        for id in self.container_ids()? {
            match record::load(&self.root, &format!("containers/{id}/config.json")) {
                Ok(record) => containers.extend(record),
                Err(error) => tracing::warn!(container_id = id, %error, "skipped a container"),
            }
        }
        Ok(containers)
    }

    /// Full ids of all containers, sorted.
    pub fn container_ids(&self) -> Result<Vec<String>, FileError> {
        let mut ids = self.root.list_text("containers")?;
        ids.retain(|id| is_container_id(id));
        Ok(ids)
    }

    /// The directory of the container with this full id.
    pub fn container_directory(&self, id: &str) -> std::path::PathBuf {
        self.root.path().join("containers").join(id)
    }

    /// Changes a container's record (`text` as for [`Store::container`]), on disk when this
    /// returns. Its id cannot be changed; its name can, if the new one is free.
    pub fn update_container(
        &self,
        text: &str,
        change: impl FnOnce(&mut ContainerRecord),
    ) -> Result<ContainerRecord, UpdateError> {
        let root = &self.root;
        let id = self.container_id(text)?;
        let directory = format!("containers/{id}");
        let not_found = || FindContainerError::NotFound(text.to_owned());
        let lock = std::fs::File::from(root.open_directory(&directory)?.ok_or_else(not_found)?);
        uninterrupted(|| lock.lock()).map_err(|error| root.error("lock", &directory, error))?;
        let path = format!("{directory}/config.json");
        let old: ContainerRecord =
            record::load(root, &path).map_err(FindContainerError::from)?.ok_or_else(not_found)?;
        let mut new = old.clone();
        change(&mut new);
        new.id.clone_from(&id);
        if new.name != old.name {
            self.take_second_name(&new)?;
        }
        let written = root.replace(&path, &record::encode(&new), Durability::Durable);
        let obsolete = if written.is_ok() { &old.name } else { &new.name };
        if new.name != old.name {
            name::give_back(root, obsolete, &id)?;
            root.sync_directory("names")?;
        }
        written?;
        Ok(new)
    }

    fn take_second_name(&self, container: &ContainerRecord) -> Result<(), UpdateError> {
        let ContainerRecord { id, name, .. } = container;
        if !is_name(name) {
            return Err(NameError(name.clone()).into());
        }
        while !name::take(&self.root, name, id)? {
            if !name::release_stale(&self.root, name)? {
                let owner = name::owner(&self.root, name)?.unwrap_or_default();
                return Err(UpdateError::NameTaken { name: name.clone(), owner });
            }
        }
        Ok(())
    }

    /// Removes a container (full id) with its name, writable directory and logs; false if it was
    /// not there. It is gone for everybody at once; its files are removed after that. It must not
    /// be running.
    pub fn remove_container(&self, id: &str) -> Result<bool, FileError> {
        let root = &self.root;
        let path = format!("containers/{id}");
        if !is_container_id(id) {
            return Ok(false);
        }
        // The name goes by the record, or, if that cannot be read, with the next collection.
        let record = record::load::<ContainerRecord>(root, &format!("{path}/config.json"));
        if let Ok(Some(record)) = record {
            name::give_back(root, &record.name, id)?;
        }
        let Some(trash) = root.discard(&path)? else { return Ok(false) };
        root.sync_directory("containers")?;
        tree::remove(root.as_fd(), &trash).map_err(|error| root.error("remove", &trash, error))?;
        Ok(true)
    }
}

/// Fills a directory and gives it its place; false if the place is taken.
fn make_directory(root: &Root, id: &str, config: &std::fs::File) -> Result<bool, FileError> {
    let path = format!("ingest/{id}");
    if !root.make_directory(&path, 0o700)? {
        // Somebody makes one of this id right now: ours comes second.
        return Ok(false);
    }
    let made = (|| {
        // The mode of `rw` is the container's `/`, whatever the umask of whoever creates it.
        root.make_directory(&format!("{path}/rw"), 0o755)?;
        root.set_mode(&format!("{path}/rw"), 0o755)?;
        root.make_directory(&format!("{path}/work"), 0o700)?;
        root.link(config, &format!("{path}/config.json"))?;
        root.rename_new(&path, &format!("containers/{id}"))
    })();
    if !matches!(made, Ok(true))
        && let Err(error) = tree::remove(root.as_fd(), &path)
    {
        tracing::warn!(path, %error, "cannot remove an unfinished container");
    }
    made
}

/// True for 64 lower-case hex digits.
pub(crate) fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hex)
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
