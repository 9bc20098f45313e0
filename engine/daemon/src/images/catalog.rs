//! Every image that is here, grouped by image ID.

use std::collections::BTreeMap;

use hull_oci::{Digest, MAX_MANIFEST_BYTES, Manifest, Reference};
use hull_store::{ContainerRecord, ImageRecord, Store};

use super::failure::StoreError;
use super::is_made_here;
use super::select::{self, SelectError, Selected};

/// All records and names that lead to one image ID.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// What this host would run of it.
    pub(super) selected: Selected,
    /// Its records, at least one.
    pub(super) records: Vec<ImageRecord>,
    /// Its names with a tag, sorted.
    pub(super) names: Vec<Reference>,
    /// Its names with a digest: it was pulled or pushed as that.
    pub(super) digest_names: Vec<Reference>,
    /// `repository@digest` for those, and for names of content that has its digest from elsewhere:
    /// a manifest made here is nothing anybody else could ask for.
    pub(super) digests: Vec<String>,
}

/// Everything that is here.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    /// The images, newest first.
    pub(super) images: Vec<Image>,
}

impl Image {
    fn new(selected: Selected) -> Self {
        Self {
            selected,
            records: Vec::new(),
            names: Vec::new(),
            digest_names: Vec::new(),
            digests: Vec::new(),
        }
    }

    fn add_name(&mut self, name: Reference, target: &Digest) {
        let foreign = |record: &ImageRecord| !is_made_here(&record.origin);
        let mut records = self.records.iter().filter(|record| record.descriptor.digest == *target);
        if name.digest().is_some() || records.any(foreign) {
            let digest = name.with_digest(target.clone()).familiar();
            if !self.digests.contains(&digest) {
                self.digests.push(digest);
            }
        }
        if name.digest().is_some() {
            self.digest_names.push(name);
        } else {
            self.names.push(name);
        }
    }

    /// All its names.
    pub(super) fn all_names(&self) -> Vec<Reference> {
        self.names.iter().chain(&self.digest_names).cloned().collect()
    }

    /// Whether it has at most one tag, and no name of another repository.
    pub(super) fn is_single(&self) -> bool {
        let mut repositories = self.all_names();
        for name in &mut repositories {
            *name = name.without_tag_and_digest();
        }
        repositories.dedup();
        self.names.len() <= 1 && repositories.len() <= 1
    }

    /// The image ID.
    pub(super) fn id(&self) -> &Digest {
        &self.selected.image_id
    }

    /// Names with a tag, in the form people write.
    pub(super) fn tags(&self) -> Vec<String> {
        self.names.iter().map(Reference::familiar).collect()
    }

    /// Whether a container was made from it, be it from the part for another platform.
    pub(super) fn is_used_by(&self, container: &ContainerRecord) -> bool {
        let mut records = self.records.iter();
        container.image_id == *self.id()
            || records.any(|record| record.descriptor.digest == container.image)
    }

    /// When it was built, seconds since 1970.
    pub(super) fn created(&self) -> i64 {
        super::seconds(self.selected.config.created.as_deref())
    }

    /// Bytes of its layers, uncompressed.
    pub(super) fn size(&self, store: &Store) -> u64 {
        let diff_ids = &self.selected.config.rootfs.diff_ids;
        let sizes = diff_ids.iter().enumerate().map(|(place, diff_id)| {
            store
                .layers()
                .info(diff_id)
                .map_or_else(|_| self.packed(store, place), |it| it.tar_size)
        });
        sizes.sum()
    }

    /// What a layer takes that was pushed to a registry of ours and never used: as it came. A layer
    /// that `check` would miss is no reason to list nothing.
    fn packed(&self, store: &Store, place: usize) -> u64 {
        let read = store.blobs().read(&self.selected.manifest, MAX_MANIFEST_BYTES).ok();
        let manifest = read.and_then(|bytes| Manifest::parse(&bytes).ok());
        manifest.and_then(|manifest| Some(manifest.layers.get(place)?.size)).unwrap_or(0)
    }
}

impl Catalog {
    /// Reads everything. What cannot be read is left out with a warning: `check` names it.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let mut groups: BTreeMap<Digest, Image> = BTreeMap::new();
        let mut id_of: BTreeMap<Digest, Digest> = BTreeMap::new();
        for record in store.images()? {
            let digest = record.descriptor.digest.clone();
            let selected = match select::any(store, &record.descriptor) {
                Ok(selected) => selected,
                // Something that is kept in registries beside images.
                Err(SelectError::Nothing(_)) => {
                    tracing::debug!(%digest, "is no image");
                    continue;
                }
                Err(error) => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(%digest, error, "skipped an image");
                    continue;
                }
            };
            id_of.insert(digest, selected.image_id.clone());
            groups
                .entry(selected.image_id.clone())
                .or_insert_with(|| Image::new(selected))
                .records
                .push(record);
        }
        for (reference, target) in store.refs()? {
            if let Some(image) = id_of.get(&target.digest).and_then(|id| groups.get_mut(id)) {
                image.add_name(reference, &target.digest);
            }
        }
        let mut images: Vec<Image> = groups.into_values().collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.created()));
        Ok(Self { images })
    }

    /// Whether a record is that of an image.
    pub(super) fn has(&self, record: &Digest) -> bool {
        let mut records = self.images.iter().flat_map(|image| &image.records);
        records.any(|known| known.descriptor.digest == *record)
    }

    /// Images whose ID, or the digest of one of whose records, begins with `prefix`: hex digits,
    /// with or without `sha256:`.
    pub(super) fn by_prefix(&self, prefix: &str) -> Vec<&Image> {
        let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if hex.is_empty() || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Vec::new();
        }
        let by_id = |image: &&Image| image.id().hex().starts_with(hex);
        let found: Vec<_> = self.images.iter().filter(by_id).collect();
        if !found.is_empty() {
            return found;
        }
        let by_record = |image: &&Image| {
            image.records.iter().any(|record| record.descriptor.digest.hex().starts_with(hex))
        };
        self.images.iter().filter(by_record).collect()
    }
}
