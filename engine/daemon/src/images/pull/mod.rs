//! Images from registries.
//!
//! 1. Ask what the name means now: one round trip, and the only one if that image is here.
//! 2. Read the small documents ([`tree`]): an index leads to the one manifest for the platform.
//! 3. Bring the layers, several at once ([`layers`]). What is here is not asked for: by diffID,
//!    then by the digest it came as. The bytes go into a file and through a worker in one pass.
//!    A layer that is whole and verified is published at once, so that another pull that waits
//!    for it goes on; nothing refers to it yet.
//! 4. Only when all of it is what it claims to be: documents, the image record, then names.
//!
//! A pull that ends early, in whatever way, leaves what arrived: the next one goes on from there.
//! A lease keeps a collection from what is being put together.

mod error;
mod fetch;
mod layers;
mod tree;

pub use error::PullError;

use hull_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use hull_store::ImageRecord;

use super::remote::Remote;
use super::{now, select};
pub(super) use fetch::keep_blob;
pub(super) use layers::bring_listed as bring_layers;
use tree::{Content, Tree};
pub(super) use tree::{cache, judge};

/// What to pull.
#[derive(Debug, Clone)]
pub(super) struct PullOptions {
    /// Without tag and digest: every tag of the repository.
    pub(super) reference: Reference,
    /// Another platform than this host's.
    pub(super) platform: Option<Platform>,
}

/// Pulls what `options` says.
///
/// # Errors
/// See [`PullError`]. No name was set or moved then; with several tags, those before are pulled.
pub(super) fn pull(remote: Remote<'_>, options: &PullOptions) -> Result<(), PullError> {
    let reference = &options.reference;
    let references = if reference.tag().is_some() || reference.digest().is_some() {
        vec![reference.clone()]
    } else {
        let tags = remote.transfer.tags(reference).map_err(|error| remote.failed(error))?;
        // Tags that cannot be ones are the registry's fault and nothing to ask for.
        let tags: Vec<_> = tags.iter().filter_map(|tag| reference.with_tag(tag).ok()).collect();
        if tags.is_empty() {
            return Err(PullError::NoTags { reference: reference.clone() });
        }
        tags
    };
    let mut news = false;
    for reference in &references {
        news |= Pull { remote, reference, platform: options.platform.as_ref() }.run()?;
    }
    let name = reference.familiar();
    remote.progress.say(if news {
        format!("Status: Downloaded newer image for {name}")
    } else {
        format!("Status: Image is up to date for {name}")
    });
    Ok(())
}

/// One reference being pulled.
struct Pull<'a> {
    remote: Remote<'a>,
    reference: &'a Reference,
    platform: Option<&'a Platform>,
}

impl Pull<'_> {
    /// True if the name leads to something else now than before.
    fn run(&self) -> Result<bool, PullError> {
        let store = self.remote.images.store;
        let target = self.resolve()?;
        let tag = self.reference.digest().map(Digest::as_str).or(self.reference.tag());
        let from = format!("Pulling from {}", self.reference.repository());
        self.remote.progress.about(tag.unwrap_or_default(), from);
        let lease = store.lease()?;
        lease.add(&target.digest)?;
        let (descriptor, image) = match self.present(&target)? {
            Some(found) => found,
            None => self.fetch(&target, &lease)?,
        };
        let moved = self.name(&descriptor)?;
        self.remote.progress.say(format!("Digest: {}", descriptor.digest));
        self.tell(image.as_ref());
        Ok(moved)
    }

    /// What the reference means now. A digest means itself.
    fn resolve(&self) -> Result<Descriptor, PullError> {
        if let Some(digest) = self.reference.digest() {
            return Ok(match self.remote.images.store.image(digest)? {
                Some(record) => record.descriptor,
                None => Descriptor::new("", digest.clone(), 0),
            });
        }
        Ok(self.remote.transfer.resolve(self.reference).map_err(|e| self.remote.failed(e))?)
    }

    /// The record of the image, if all of it that is asked for is here.
    fn present(
        &self,
        target: &Descriptor,
    ) -> Result<Option<(Descriptor, Option<ImageConfig>)>, PullError> {
        let store = self.remote.images.store;
        let Some(record) = store.image(&target.digest)? else { return Ok(None) };
        let host = Platform::host();
        let wanted = self.platform.unwrap_or(&host);
        // What cannot be read is pulled anew.
        let Ok(found) = select::best(store, &record.descriptor, wanted) else { return Ok(None) };
        let listed = hull_oci::media_type::is_index(&record.descriptor.media_type);
        if (listed || self.platform.is_some()) && !wanted.matches(&found.config.platform()) {
            return Ok(None);
        }
        for diff_id in &found.config.rootfs.diff_ids {
            if !store.layers().contains(diff_id)? {
                return Ok(None);
            }
        }
        Ok(Some((record.descriptor, Some(found.config))))
    }

    fn fetch(
        &self,
        target: &Descriptor,
        lease: &hull_store::Lease<'_>,
    ) -> Result<(Descriptor, Option<ImageConfig>), PullError> {
        let store = self.remote.images.store;
        let Tree { root, mut documents, content } =
            tree::read(self.remote, self.reference, target, self.platform)?;
        for (digest, _) in &documents {
            lease.add(digest)?;
        }
        let mut image = None;
        match content {
            Content::Image(manifest) => {
                let config = layers::bring(self.remote, self.reference, &manifest, lease)?;
                self.check_platform(&root, &config.parsed)?;
                documents.push((manifest.config.digest.clone(), config.bytes));
                image = Some(config.parsed);
            }
            Content::Artifact(manifest) => {
                let kind = manifest.artifact_type.as_ref().unwrap_or(&manifest.config.media_type);
                self.remote.progress.say(format!(
                    "This is no image but {kind}: it is kept as it is and cannot be run"
                ));
                layers::bring_blobs(self.remote, self.reference, &manifest, lease)?;
            }
        }
        // Those that others lead to come first.
        for (digest, bytes) in documents.iter().rev() {
            let mut ingest = store.blobs().ingest_as(digest.algorithm())?;
            ingest.write_bytes(bytes)?;
            ingest.commit(Some(digest))?;
        }
        store.put_image(&ImageRecord {
            descriptor: root.clone(),
            created: now(),
            origin: self.reference.to_string(),
        })?;
        Ok((root, image))
    }

    /// Refuses an image for another platform than was asked for. An index was searched for the
    /// right one; a single image only says in its config what it is for.
    fn check_platform(&self, root: &Descriptor, config: &ImageConfig) -> Result<(), PullError> {
        let Some(wanted) = self.platform else { return Ok(()) };
        let image = config.platform();
        if hull_oci::media_type::is_index(&root.media_type) || wanted.matches(&image) {
            return Ok(());
        }
        let (reference, wanted) = (self.reference.clone(), wanted.clone());
        Err(PullError::OtherPlatform(Box::new(error::OtherPlatform { reference, image, wanted })))
    }

    /// Names the image: by what it was asked for and by its digest. True if the former is new.
    fn name(&self, descriptor: &Descriptor) -> Result<bool, PullError> {
        let store = self.remote.images.store;
        let by_digest = self.reference.with_digest(descriptor.digest.clone());
        let mut moved = false;
        for reference in [&by_digest, self.reference] {
            let before = store.resolve(reference)?;
            moved = before.is_none_or(|before| before.digest != descriptor.digest);
            if moved {
                store.set_ref(reference, descriptor)?;
            }
        }
        Ok(moved)
    }

    fn tell(&self, image: Option<&ImageConfig>) {
        let labels = image.map(|image| image.runtime().labels).unwrap_or_default();
        let (id, name) = (self.reference.familiar(), self.reference.familiar_name());
        self.remote.images.happened(&id, &labels, "pull", &name);
    }
}
