//! What a push sends: manifests, those that others lead to first, and the blobs they list.

use std::collections::{HashMap, HashSet};

use hull_oci::{
    Descriptor, Digest, Document, ImageConfig, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Platform,
    Reference, media_type,
};
use hull_store::{ImageRecord, Lease, ReadError, Store};

use super::{PushError, PushOptions};
use crate::images::Compressing;
use crate::images::remote::{Remote, of_record, short};
use crate::images::resolve::Mismatch;
use crate::images::{is_made_here, now, select};

/// How deep indexes may lie in indexes; a pull and a load allow no more.
const MAX_DEPTH: usize = 8;

/// One blob to be sent.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) descriptor: Descriptor,
    /// If it is a layer: its diffID, where it is known.
    pub(super) diff_id: Option<Digest>,
    /// Whether it is a layer, which progress tells of.
    pub(super) is_layer: bool,
}

/// Everything a push sends.
pub(super) struct Plan<'a> {
    pub(super) remote: Remote<'a>,
    pub(super) lease: &'a Lease<'a>,
    options: &'a PushOptions,
    reference: Reference,
    /// The repository the image was pulled from.
    pub(super) origin: Option<Reference>,
    /// Manifests and indexes, those that others lead to first.
    pub(super) manifests: Vec<(Descriptor, Vec<u8>)>,
    /// Blobs, each once.
    pub(super) parts: Vec<Part>,
    seen: HashSet<Digest>,
    /// What documents became whose layers had to be compressed.
    changed: HashMap<Digest, Descriptor>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        remote: Remote<'a>,
        lease: &'a Lease<'a>,
        reference: &Reference,
        options: &'a PushOptions,
    ) -> Result<Self, PushError> {
        Ok(Self {
            remote,
            lease,
            options,
            reference: reference.clone(),
            origin: None,
            manifests: Vec::new(),
            parts: Vec::new(),
            seen: HashSet::new(),
            changed: HashMap::new(),
        })
    }

    fn store(&self) -> &'a Store {
        self.remote.images.store
    }

    /// Plans what a name leads to; returns what it leads to there.
    pub(super) fn root(&mut self, root: &Descriptor) -> Result<Descriptor, PushError> {
        let record = self.store().image(&root.digest)?;
        let origin = record.map(|record| record.origin).unwrap_or_default();
        let made_here = is_made_here(&origin);
        self.origin = of_record(&origin);
        let (descriptor, document) = self.document(root)?;
        let chosen = match (&document, &self.options.platform) {
            (Document::Manifest(_), None) => None,
            (_, Some(platform)) => Some(self.choose(root, platform)?),
            (Document::Index(_), None) if self.is_whole(root, 0)? => None,
            (Document::Index(_), None) => {
                let chosen = self.choose(root, &Platform::host())?;
                self.remote.progress.say(format!(
                    "Not every platform of {} is here: only {} is pushed, not the index",
                    self.reference.familiar(),
                    chosen.digest
                ));
                Some(chosen)
            }
        };
        self.add(&chosen.unwrap_or(descriptor), made_here, 0)
    }

    /// The manifest below `root` for a platform.
    fn choose(&self, root: &Descriptor, wanted: &Platform) -> Result<Descriptor, PushError> {
        let found = select::best(self.store(), root, wanted)?;
        let image = found.config.platform();
        if !wanted.matches(&image) {
            let (name, wanted) = (self.reference.familiar(), wanted.clone());
            return Err(PushError::NoPlatform(Box::new(Mismatch { name, image, wanted })));
        }
        let digest = found.manifest;
        let size = self.store().blobs().stat(&digest)?.unwrap_or(0);
        Ok(self.document(&Descriptor::new("", digest, size))?.0)
    }

    /// A document that is here, and what it says it is.
    fn document(&self, descriptor: &Descriptor) -> Result<(Descriptor, Document), PushError> {
        let digest = &descriptor.digest;
        self.lease.add(digest)?;
        let bytes = self.store().blobs().read(digest, MAX_MANIFEST_BYTES)?;
        let document = Document::parse(&bytes)
            .map_err(|source| PushError::Document { digest: digest.clone(), source })?;
        let own = match &document {
            Document::Manifest(manifest) => manifest.media_type.clone(),
            Document::Index(index) => index.media_type.clone(),
        };
        let kind = match (&document, own) {
            (_, Some(own)) => own,
            (_, None) if !descriptor.media_type.is_empty() => descriptor.media_type.clone(),
            (Document::Manifest(_), None) => media_type::OCI_MANIFEST.to_owned(),
            (Document::Index(_), None) => media_type::OCI_INDEX.to_owned(),
        };
        Ok((Descriptor::new(kind, digest.clone(), bytes.len() as u64), document))
    }

    /// Whether everything below an index is here, but for the bytes of layers.
    fn is_whole(&self, root: &Descriptor, depth: usize) -> Result<bool, PushError> {
        if !self.store().blobs().contains(&root.digest)? {
            return Ok(false);
        }
        match self.document(root)?.1 {
            Document::Manifest(manifest) => {
                Ok(self.store().blobs().contains(&manifest.config.digest)?)
            }
            Document::Index(index) => {
                if depth >= MAX_DEPTH {
                    return Err(PushError::TooDeep { digest: root.digest.clone() });
                }
                for child in &index.manifests {
                    if !self.is_whole(child, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Adds a document and all below it; returns what it is there.
    fn add(
        &mut self,
        descriptor: &Descriptor,
        made_here: bool,
        depth: usize,
    ) -> Result<Descriptor, PushError> {
        if let Some(changed) = self.changed.get(&descriptor.digest) {
            return Ok(changed.clone());
        }
        let (found, document) = self.document(descriptor)?;
        if !self.seen.insert(found.digest.clone()) {
            return Ok(found);
        }
        if depth > MAX_DEPTH {
            return Err(PushError::TooDeep { digest: found.digest });
        }
        let after = match document {
            Document::Index(mut index) => {
                for child in &mut index.manifests {
                    let there = self.add(child, made_here, depth + 1)?;
                    (child.digest, child.size) = (there.digest, there.size);
                }
                index.to_bytes()
            }
            Document::Manifest(mut manifest) => {
                let diff_ids = self.diff_ids(&manifest.config)?;
                self.part(Part {
                    descriptor: manifest.config.clone(),
                    diff_id: None,
                    is_layer: false,
                })?;
                for (place, layer) in manifest.layers.iter_mut().enumerate() {
                    let diff_id = diff_ids.get(place).cloned();
                    if made_here && diff_id.as_ref() == Some(&layer.digest) {
                        let compressing = Compressing {
                            images: self.remote.images,
                            lease: self.lease,
                            method: self.options.compression,
                            level: None,
                        };
                        let id = short(&layer.digest).to_owned();
                        let begin = || self.remote.progress.step(&id, "Compressing");
                        *layer = compressing.layer(layer, &begin)?;
                    }
                    self.part(Part { descriptor: layer.clone(), diff_id, is_layer: true })?;
                }
                manifest.to_bytes()
            }
        };
        let bytes = self.store().blobs().read(&found.digest, MAX_MANIFEST_BYTES)?;
        // What was not changed is sent as it came: written anew it might not be the same bytes.
        if !made_here || after == bytes {
            self.manifests.push((found.clone(), bytes));
            return Ok(found);
        }
        let there = Descriptor::of(found.media_type, &after);
        self.lease.add(&there.digest)?;
        self.changed.insert(found.digest, there.clone());
        self.manifests.push((there.clone(), after));
        Ok(there)
    }

    fn part(&mut self, part: Part) -> Result<(), PushError> {
        self.lease.add(&part.descriptor.digest)?;
        if self.seen.insert(part.descriptor.digest.clone()) {
            self.parts.push(part);
        }
        Ok(())
    }

    /// DiffIDs of an image config that is here; none of what is no image.
    fn diff_ids(&self, config: &Descriptor) -> Result<Vec<Digest>, PushError> {
        if !media_type::is_image_config(&config.media_type) {
            return Ok(Vec::new());
        }
        let bytes = match self.store().blobs().read(&config.digest, MAX_CONFIG_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::NotFound(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let digest = config.digest.clone();
        let config =
            ImageConfig::parse(&bytes).map_err(|source| PushError::Document { digest, source })?;
        Ok(config.rootfs.diff_ids)
    }

    /// Adds what is here about the manifests that are sent.
    pub(super) fn referrers(&mut self) -> Result<(), PushError> {
        let subjects: HashSet<Digest> =
            self.manifests.iter().map(|(descriptor, _)| descriptor.digest.clone()).collect();
        for record in self.store().images()? {
            if self.seen.contains(&record.descriptor.digest) {
                continue;
            }
            let Ok(bytes) =
                self.store().blobs().read(&record.descriptor.digest, MAX_MANIFEST_BYTES)
            else {
                continue;
            };
            if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes)
                && manifest.subject.is_some_and(|subject| subjects.contains(&subject.digest))
            {
                self.add(&record.descriptor, false, 0)?;
            }
        }
        Ok(())
    }

    /// Whether a document is another one there.
    pub(super) fn is_changed(&self, root: &Descriptor) -> bool {
        self.changed.contains_key(&root.digest)
    }

    /// Keeps the documents that had to be changed, and makes the name lead there: the next push
    /// then finds everything compressed, and the digest stays.
    pub(super) fn keep(
        &self,
        reference: &Reference,
        root: &Descriptor,
        target: &Descriptor,
    ) -> Result<(), PushError> {
        let store = self.store();
        for (descriptor, bytes) in &self.manifests {
            if self.changed.values().any(|changed| changed.digest == descriptor.digest) {
                store.blobs().put_bytes(bytes)?;
            }
        }
        let origin = reference.to_string();
        store.put_image(&ImageRecord { descriptor: target.clone(), created: now(), origin })?;
        store.set_ref(reference, target)?;
        self.remote.progress.say(format!(
            "Layers were compressed: {} is {} now, it was {}",
            reference.familiar(),
            target.digest,
            root.digest
        ));
        if store.refs()?.iter().all(|(_, target)| target.digest != root.digest) {
            store.remove_image(&root.digest)?;
        }
        Ok(())
    }
}
