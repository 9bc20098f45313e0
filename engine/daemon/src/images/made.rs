//! Keeping images that are made here: by commit, by import.

use std::fs::File;

use hull_oci::{Descriptor, Digest, Manifest, Reference, media_type};
use hull_store::{ImageRecord, LayerIngest, LayerReport, Lease};

use super::failure::StoreError;
use super::{Images, now};

/// A layer that was read and is not in the store yet.
pub(super) struct Received<'s> {
    pub(super) ingest: LayerIngest<'s>,
    pub(super) report: LayerReport,
    /// The bytes as they came, where the layer itself does not hold them.
    pub(super) copy: Option<File>,
}

/// What there is of an image beside its layers.
pub(super) struct Made<'a> {
    /// Its config.
    pub(super) config: &'a [u8],
    /// Its layers, which `lease` holds in the store.
    pub(super) layers: Vec<Descriptor>,
    /// The name to give it.
    pub(super) name: Option<&'a Reference>,
    /// How it came to be, for its record.
    pub(super) origin: &'a str,
}

impl Images<'_> {
    /// Publishes a layer, held by `lease`; how a manifest describes it.
    pub(super) fn keep_layer(
        &self,
        lease: &Lease<'_>,
        received: Received<'_>,
    ) -> Result<Descriptor, StoreError> {
        let Received { ingest, report, copy } = received;
        lease.add(&report.diff_id)?;
        lease.add(&report.digest)?;
        if let Some(file) = copy {
            self.store.blobs().commit_file(&file, &report.digest)?;
        }
        let kind = media_type::oci_layer(&report.compression);
        let descriptor = Descriptor::new(kind, report.digest.clone(), report.size);
        self.store.layers().publish(ingest, report)?;
        Ok(descriptor)
    }

    /// Writes an image's config, manifest, record and name, in this order; its ID.
    pub(super) fn keep(&self, lease: &Lease<'_>, made: Made<'_>) -> Result<Digest, StoreError> {
        let Made { config, layers, name, origin } = made;
        let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, config);
        let id = config_descriptor.digest.clone();
        let manifest = Manifest::of(config_descriptor, layers).to_bytes();
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
        for (digest, bytes) in [(&id, config), (&descriptor.digest, manifest.as_slice())] {
            lease.add(digest)?;
            self.store.blobs().put_bytes(bytes)?;
        }
        self.store.put_image(&ImageRecord {
            descriptor: descriptor.clone(),
            created: now(),
            origin: origin.to_owned(),
        })?;
        if let Some(name) = name {
            self.store.set_ref(name, &descriptor)?;
        }
        Ok(id)
    }
}
