//! The last part of a load: everything becomes visible, data before names.

use hull_api::image::ProgressMessage;
use hull_oci::{Descriptor, Digest, Manifest, Platform, media_type};
use hull_store::{ImageRecord, Lease};

use super::LoadError;
use super::layers::ReadLayer;
use super::plan::{Plan, PlannedImage, Root, Target};
use crate::images::{Images, now};

/// Everything a plan will put into the store that is known beforehand.
pub(super) fn digests(plan: &Plan) -> Vec<&Digest> {
    let mut digests = Vec::new();
    for target in &plan.targets {
        if let Root::Found { documents, .. } = &target.root {
            digests.extend(documents.iter().map(|(digest, _)| digest));
        }
        for image in &target.images {
            digests.push(&image.id);
            for layer in &image.layers {
                digests.push(&layer.diff_id);
                digests.extend(layer.descriptor.iter().map(|descriptor| &descriptor.digest));
            }
        }
    }
    digests
}

impl Images<'_> {
    /// Stores what was read; returns the manifest or index of each target.
    pub(super) fn keep_read(
        &self,
        plan: &Plan,
        read: Vec<ReadLayer<'_>>,
        lease: &Lease<'_>,
    ) -> Result<Vec<Descriptor>, LoadError> {
        let mut layers = Vec::new();
        for ReadLayer { layer, copy } in read {
            if let Some((file, digest)) = copy {
                lease.add(&digest)?;
                self.store.blobs().commit_file(&file, &digest)?;
            }
            layers.extend(layer);
        }
        self.store.layers().publish_all(layers)?;
        plan.targets.iter().map(|target| self.store_documents(target, lease)).collect()
    }

    /// Stores what was read and names it.
    pub(super) fn publish(
        &self,
        plan: &Plan,
        read: Vec<ReadLayer<'_>>,
        lease: &Lease<'_>,
        progress: &mut dyn FnMut(ProgressMessage),
    ) -> Result<(), LoadError> {
        let descriptors = self.keep_read(plan, read, lease)?;
        for (target, descriptor) in plan.targets.iter().zip(descriptors) {
            let origin = match target.root {
                Root::Found { .. } => super::super::ORIGIN_LAYOUT,
                Root::Made => super::super::ORIGIN_DOCKER_ARCHIVE,
            };
            self.store.put_image(&ImageRecord {
                descriptor: descriptor.clone(),
                created: now(),
                origin: origin.to_owned(),
            })?;
            self.name(target, &descriptor, progress)?;
            if let Ok(image) = crate::images::select::any(self.store, &descriptor) {
                let id = image.image_id.to_string();
                self.happened(&id, &image.config.runtime().labels, "load", &id);
            }
        }
        Ok(())
    }

    /// Stores configs and manifests; returns what the target's names lead to.
    fn store_documents(&self, target: &Target, lease: &Lease<'_>) -> Result<Descriptor, LoadError> {
        for image in &target.images {
            self.put(&image.id, &image.config)?;
        }
        match &target.root {
            Root::Found { descriptor, documents } => {
                for (digest, bytes) in documents {
                    self.put(digest, bytes)?;
                }
                let mut descriptor = Descriptor::clone(descriptor);
                if descriptor.media_type.is_empty() {
                    let index = documents.len() > 1;
                    let kind = if index { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
                    kind.clone_into(&mut descriptor.media_type);
                }
                Ok(descriptor)
            }
            Root::Made => {
                let bytes = self.make_manifest(&target.images[0])?;
                let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
                lease.add(&descriptor.digest)?;
                self.put(&descriptor.digest, &bytes)?;
                Ok(descriptor)
            }
        }
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), LoadError> {
        let mut ingest = self.store.blobs().ingest_as(digest.algorithm())?;
        ingest.write_bytes(bytes)?;
        ingest.commit(Some(digest))?;
        Ok(())
    }

    /// A manifest for an image that came without: the layers as the store has them.
    fn make_manifest(&self, image: &PlannedImage) -> Result<Vec<u8>, LoadError> {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let info = self.store.layers().info(&layer.diff_id)?;
            let kind = media_type::oci_layer(&info.compression);
            layers.push(Descriptor::new(kind, info.digest, info.size));
        }
        let size = image.config.len() as u64;
        let config = Descriptor::new(media_type::OCI_CONFIG, image.id.clone(), size);
        Ok(Manifest::of(config, layers).to_bytes())
    }

    /// Gives a target its names and says so in Docker's words.
    fn name(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        progress: &mut dyn FnMut(ProgressMessage),
    ) -> Result<(), LoadError> {
        let host = Platform::host();
        let id = &target.image_for(&host).id;
        if target.names.is_empty() {
            progress(ProgressMessage::stream(format!("Loaded image ID: {id}\n")));
        }
        for name in &target.names {
            let before = self.store.resolve(name)?;
            let before = before.filter(|before| before.digest != descriptor.digest);
            self.store.set_ref(name, descriptor)?;
            let familiar = name.familiar();
            if let Some(old) = before.and_then(|old| self.superseded(&old, id)) {
                progress(ProgressMessage::stream(format!(
                    "The image {familiar} already exists, renaming the old one with ID {old} to \
                     empty string\n"
                )));
            }
            progress(ProgressMessage::stream(format!("Loaded image: {familiar}\n")));
        }
        Ok(())
    }

    /// The ID of the image a name led to before, if it is another one now.
    fn superseded(&self, old: &Descriptor, id: &Digest) -> Option<Digest> {
        let old = crate::images::select::any(self.store, old).ok()?;
        (old.image_id != *id).then_some(old.image_id)
    }
}
