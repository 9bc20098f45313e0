//! Removing images: `docker rmi`'s rules and words.

use std::collections::HashSet;

use hull_api::ErrorKind;
use hull_api::image::ImageDeleted;
use hull_oci::{Digest, Reference, chain_id};
use hull_store::ContainerRecord;

use super::catalog::{Catalog, Image};
use super::failure::{OfStore, StoreError};
use super::resolve::{self, Found, ResolveError};
use super::{Images, select, short};
use crate::error::ApiError;

/// Whether a container runs.
pub type IsRunning<'a> = &'a dyn Fn(&ContainerRecord) -> bool;

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The image was not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The last name of an image that a container was made from.
    #[error(
        "conflict: unable to remove repository reference {name:?} (must force) - container \
         {container} is using its referenced image {image}"
    )]
    LastName {
        /// The name as it was given.
        name: String,
        /// Short container ID.
        container: String,
        /// Short image ID.
        image: String,
    },
    /// Only with force.
    #[error("conflict: unable to delete {image} (must be forced) - {reason}")]
    Force {
        /// Short image ID.
        image: String,
        /// Why.
        reason: String,
    },
    /// Not even with force.
    #[error("conflict: unable to delete {image} (cannot be forced) - {reason}")]
    InUse {
        /// Short image ID.
        image: String,
        /// Why.
        reason: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for RemoveError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Resolve(error) => error.into(),
            RemoveError::Store(ref source) => Self::chain(source.kind(), &error),
            _ => Self::chain(ErrorKind::Precondition, &error),
        }
    }
}

impl Images<'_> {
    /// Removes the name or image called `name`.
    ///
    /// A name is removed alone while the image has others. The last name takes the image with it,
    /// as does an ID of which there is at most one name. `force` removes all names, and images of
    /// stopped containers; an image of a running container only loses its names.
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub fn delete(
        &self,
        name: &str,
        force: bool,
        is_running: IsRunning<'_>,
    ) -> Result<Vec<ImageDeleted>, RemoveError> {
        let found = resolve::find(self.store, name)?;
        let catalog = Catalog::read(self.store)?;
        if let Found::Name(reference, target) = &found
            && !catalog.has(&target.digest)
        {
            return self.delete_artifact(reference, &target.digest);
        }
        let mut image = resolve::image(&catalog, self.store, name)?;
        let users = self.users(&image)?;
        let running = users.iter().find(|container| is_running(container));
        let mut removed = Vec::new();
        if let Found::Name(reference, _) = &found {
            let by_tag = || image.names.iter().find(|known| names_same(known, reference));
            let by_digest = image.digest_names.iter().find(|known| *known == reference);
            let Some(reference) = by_digest.or_else(by_tag) else {
                return Err(ResolveError::NotFound(reference.familiar()).into());
            };
            let reference = reference.clone();
            if let (true, false, [user, ..]) = (image.is_single(), force, users.as_slice()) {
                return Err(RemoveError::LastName {
                    name: name.to_owned(),
                    container: user.id.chars().take(12).collect(),
                    image: short(image.id()).to_owned(),
                });
            }
            self.untag(&mut image, &reference, &mut removed)?;
            if reference.digest().is_none() {
                self.untag_digests(&mut image, &reference, &mut removed)?;
            }
            if !image.all_names().is_empty() || (force && running.is_some()) {
                return Ok(removed);
            }
        }
        self.check(&image, force, running, users.first())?;
        for reference in image.all_names() {
            self.untag(&mut image, &reference, &mut removed)?;
        }
        self.remove_records(&catalog, &image, &mut removed)?;
        self.store.collect()?;
        Ok(removed)
    }

    /// Removes the names by digest of a repository whose last tag went.
    fn untag_digests(
        &self,
        image: &mut Image,
        gone: &Reference,
        removed: &mut Vec<ImageDeleted>,
    ) -> Result<(), RemoveError> {
        let repository = gone.without_tag_and_digest();
        let same = |name: &&Reference| name.without_tag_and_digest() == repository;
        if image.names.iter().any(|name| same(&name)) {
            return Ok(());
        }
        for name in image.digest_names.clone().iter().filter(same) {
            self.untag(image, name, removed)?;
        }
        Ok(())
    }

    /// Removes a name of something that is no image, and with its last name the thing itself.
    fn delete_artifact(
        &self,
        reference: &Reference,
        target: &Digest,
    ) -> Result<Vec<ImageDeleted>, RemoveError> {
        let mut removed = Vec::new();
        let mut untag = |name: &Reference| -> Result<(), RemoveError> {
            self.store.remove_ref(name)?;
            let untagged = Some(name.familiar());
            removed.push(ImageDeleted { untagged, ..ImageDeleted::default() });
            Ok(())
        };
        untag(reference)?;
        let mut names: Vec<Reference> = self
            .store
            .refs()?
            .into_iter()
            .filter(|(_, descriptor)| descriptor.digest == *target)
            .map(|(name, _)| name)
            .collect();
        if names.iter().all(|name| name.digest().is_some()) {
            for name in std::mem::take(&mut names) {
                untag(&name)?;
            }
        }
        if names.is_empty() && self.store.remove_image(target)? {
            let deleted = Some(target.to_string());
            removed.push(ImageDeleted { deleted, ..ImageDeleted::default() });
        }
        self.store.collect()?;
        Ok(removed)
    }

    /// Containers made from the image.
    pub(super) fn users(&self, image: &Image) -> Result<Vec<ContainerRecord>, RemoveError> {
        let mut containers = self.store.containers()?;
        containers.retain(|container| image.is_used_by(container));
        Ok(containers)
    }

    fn check(
        &self,
        image: &Image,
        force: bool,
        running: Option<&ContainerRecord>,
        user: Option<&ContainerRecord>,
    ) -> Result<(), RemoveError> {
        let id = || short(image.id()).to_owned();
        let container = |record: &ContainerRecord| record.id.chars().take(12).collect::<String>();
        if let Some(running) = running {
            let reason = format!("image is being used by running container {}", container(running));
            return Err(RemoveError::InUse { image: id(), reason });
        }
        if force {
            return Ok(());
        }
        if !image.is_single() {
            let reason = "image is referenced in multiple repositories".to_owned();
            return Err(RemoveError::Force { image: id(), reason });
        }
        if let Some(user) = user {
            let reason = format!("image is being used by stopped container {}", container(user));
            return Err(RemoveError::Force { image: id(), reason });
        }
        Ok(())
    }

    /// Removes one name.
    pub(super) fn untag(
        &self,
        image: &mut Image,
        reference: &Reference,
        removed: &mut Vec<ImageDeleted>,
    ) -> Result<(), RemoveError> {
        self.store.remove_ref(reference)?;
        self.tell(image, "untag");
        image.names.retain(|name| name != reference);
        image.digest_names.retain(|name| name != reference);
        removed
            .push(ImageDeleted { untagged: Some(reference.familiar()), ..ImageDeleted::default() });
        Ok(())
    }

    fn tell(&self, image: &Image, action: &str) {
        let id = image.id().to_string();
        self.happened(&id, &image.selected.config.runtime().labels, action, &id);
    }

    /// Removes an image that has no names left, and tells which chains of layers went with it.
    pub(super) fn remove_records(
        &self,
        catalog: &Catalog,
        image: &Image,
        removed: &mut Vec<ImageDeleted>,
    ) -> Result<(), RemoveError> {
        for record in &image.records {
            self.store.remove_image(&record.descriptor.digest)?;
        }
        let mut deleted = |digest: &Digest| {
            let deleted = Some(digest.to_string());
            removed.push(ImageDeleted { deleted, ..ImageDeleted::default() });
        };
        deleted(image.id());
        self.tell(image, "delete");
        let mut kept = HashSet::new();
        for other in catalog.images.iter().filter(|other| other.id() != image.id()) {
            for record in &other.records {
                // What cannot be read is told as deleted; the collection is what decides.
                for one in select::all(self.store, &record.descriptor).unwrap_or_default() {
                    kept.extend(chains(&one.config.rootfs.diff_ids));
                }
            }
        }
        for chain in chains(&image.selected.config.rootfs.diff_ids).iter().rev() {
            if !kept.contains(chain) {
                deleted(chain);
            }
        }
        Ok(())
    }
}

/// The chainID of every layer, lowest first.
fn chains(diff_ids: &[Digest]) -> Vec<Digest> {
    (1..=diff_ids.len()).filter_map(|count| chain_id(&diff_ids[..count])).collect()
}

/// Whether a reference the user gave means this name: the same, or by the digest it leads to.
fn names_same(known: &Reference, given: &Reference) -> bool {
    known == given
        || (given.digest().is_some()
            && known.without_tag_and_digest() == given.without_tag_and_digest())
}
