//! What a load will store, decided from the small documents before any layer is read.

use std::collections::HashMap;

use hull_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};

use super::archive::Range;
use super::{LoadError, MAX_LAYERS};

/// Everything a load will store.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What gets an image record, in the order of the archive.
    pub(super) targets: Vec<Target>,
}

/// One thing that names can lead to.
#[derive(Debug)]
pub(super) struct Target {
    /// Where it comes from.
    pub(super) root: Root,
    /// Its images, one per platform that is in the archive.
    pub(super) images: Vec<PlannedImage>,
    /// Names to give it, all with a tag.
    pub(super) names: Vec<Reference>,
}

/// The manifest or index of a target.
#[derive(Debug)]
pub(super) enum Root {
    /// It is in the archive, with every document below it that is there.
    Found {
        /// Of the manifest or index itself.
        descriptor: Box<Descriptor>,
        /// Digest and bytes of it and of those below.
        documents: Vec<(Digest, Vec<u8>)>,
    },
    /// The archive has none: one is made for the target's only image.
    Made,
}

/// One image for one platform.
#[derive(Debug)]
pub(super) struct PlannedImage {
    /// Digest of the config: the image ID.
    pub(super) id: Digest,
    /// The config as it came.
    pub(super) config: Vec<u8>,
    /// What it says it runs on.
    pub(super) platform: Platform,
    /// Its layers, lowest first.
    pub(super) layers: Vec<PlannedLayer>,
}

/// One layer of an image.
#[derive(Debug, Clone)]
pub(super) struct PlannedLayer {
    /// What the config says it is once uncompressed.
    pub(super) diff_id: Digest,
    /// What the manifest says its bytes are, if there is a manifest.
    pub(super) descriptor: Option<Descriptor>,
    /// Its bytes; `None` if only the store has it.
    pub(super) range: Option<Range>,
}

impl PlannedImage {
    /// Joins a config with the layers that a manifest or archive lists for it.
    pub(super) fn new(
        id: Digest,
        bytes: Vec<u8>,
        config: &ImageConfig,
        layers: Vec<(Option<Descriptor>, Option<Range>)>,
    ) -> Result<Self, LoadError> {
        let diff_ids = &config.rootfs.diff_ids;
        if layers.len() != diff_ids.len() {
            let (layers, diff_ids) = (layers.len(), diff_ids.len());
            return Err(LoadError::LayerCount { id, layers, diff_ids });
        }
        if layers.len() > MAX_LAYERS {
            return Err(LoadError::TooManyLayers { id, layers: layers.len() });
        }
        let join = |((descriptor, range), diff_id): (_, &Digest)| PlannedLayer {
            diff_id: diff_id.clone(),
            descriptor,
            range,
        };
        let layers = layers.into_iter().zip(diff_ids).map(join).collect();
        Ok(Self { id, config: bytes, platform: config.platform(), layers })
    }
}

impl Target {
    /// The image that `platform` would run, else the first.
    pub(super) fn image_for(&self, platform: &Platform) -> &PlannedImage {
        let best = |image: &&PlannedImage| platform.preference(&image.platform);
        self.images
            .iter()
            .filter(|image| best(image).is_some())
            .max_by_key(best)
            .unwrap_or(&self.images[0])
    }
}

impl Plan {
    /// Layers to read, each once: what several images share is read for the first.
    pub(super) fn layers(&self) -> Vec<&PlannedLayer> {
        let mut unique: Vec<&PlannedLayer> = Vec::new();
        let mut places = HashMap::new();
        for layer in self.targets.iter().flat_map(|t| &t.images).flat_map(|image| &image.layers) {
            let key = (&layer.diff_id, layer.descriptor.as_ref().map(|it| &it.digest));
            places.entry(key).or_insert_with(|| unique.push(layer));
        }
        unique
    }

    /// Leaves each name to one target: the one `host` can run, else the first that claims it.
    pub(super) fn settle_names(&mut self, host: &Platform) {
        let runs = |target: &Target| target.images.iter().any(|i| host.matches(&i.platform));
        let mut owner: HashMap<Reference, usize> = HashMap::new();
        for (place, target) in self.targets.iter().enumerate() {
            for name in &target.names {
                let first = *owner.entry(name.clone()).or_insert(place);
                if !runs(&self.targets[first]) && runs(target) {
                    owner.insert(name.clone(), place);
                }
            }
        }
        for (place, target) in self.targets.iter_mut().enumerate() {
            let mut seen = std::collections::HashSet::new();
            target.names.retain(|name| owner[name] == place && seen.insert(name.clone()));
        }
    }
}
