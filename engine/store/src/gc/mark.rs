//! What is reachable from images, containers and leases.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use hull_oci::{Descriptor, Digest, Document};
use serde::Deserialize;

use crate::Store;
use crate::content::ReadError;
use crate::error::FileError;
use crate::metadata::{ContainerRecord, digests_of, record};

/// The largest manifest, index or config that is looked into.
const MAX_DOCUMENT: usize = 64 * 1024 * 1024;

/// What is reachable, and as what.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Manifests, indexes and configs.
    pub(crate) documents: HashSet<Digest>,
    /// Compressed layers and other blobs a manifest lists, with the size it gives.
    pub(crate) compressed: HashMap<Digest, u64>,
    /// DiffIDs.
    pub(crate) layers: HashSet<Digest>,
    /// Compressed layers that must stay whatever the budget says.
    pub(crate) pinned: HashSet<Digest>,
    /// DiffIDs that the builder's cache holds.
    pub(crate) cached: HashSet<Digest>,
    /// Blobs or layers that a living lease holds.
    pub(crate) leased: HashSet<Digest>,
    /// Blobs that were pushed to a repository a short while ago.
    recent: HashSet<Digest>,
    /// Manifests whose layers are pinned.
    served: HashSet<Digest>,
    /// What was looked into already.
    explored: HashSet<Digest>,
    containers: HashSet<String>,
    /// Why the marks may lack something: nothing may be swept then.
    pub(crate) gaps: Vec<String>,
}

impl Marks {
    /// Marks all that is reachable now and was not when this was called last. What is not
    /// reachable any more keeps its marks.
    pub(crate) fn update(&mut self, store: &Store) -> Result<(), FileError> {
        self.add_leases(store)?;
        for (step, _) in store.steps()? {
            self.cached.extend(step.layer);
        }
        for digest in store.image_digests()? {
            self.add_image(store, digest, true)?;
        }
        let (manifests, blobs) = store.pushed()?;
        self.recent.extend(blobs);
        for digest in manifests {
            self.add_image(store, digest, false)?;
        }
        for id in store.container_ids()? {
            if self.containers.insert(id.clone()) {
                self.add_container(store, &id)?;
            }
        }
        Ok(())
    }

    /// Pins the compressed layers of all that registries served from here give out.
    pub(crate) fn pin_served(&mut self, store: &Store) -> Result<(), FileError> {
        let mut pending = store.served_manifests()?;
        while let Some(digest) = pending.pop() {
            if !self.served.insert(digest.clone()) {
                continue;
            }
            let Some(bytes) = read(store, &digest)? else { continue };
            match Document::parse(&bytes) {
                Ok(Document::Index(index)) => {
                    pending.extend(index.manifests.into_iter().map(|child| child.digest));
                }
                Ok(Document::Manifest(manifest)) => {
                    self.pinned.extend(manifest.layers.into_iter().map(|layer| layer.digest));
                }
                // Nothing is given out of what nobody can read.
                Err(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn is_recent(&self, digest: &Digest) -> bool {
        self.recent.contains(digest)
    }

    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.documents.contains(digest)
            || self.compressed.contains_key(digest)
            || self.leased.contains(digest)
            || self.recent.contains(digest)
    }

    pub(crate) fn has_layer(&self, diff_id: &Digest) -> bool {
        self.layers.contains(diff_id)
            || self.cached.contains(diff_id)
            || self.leased.contains(diff_id)
    }

    fn add_leases(&mut self, store: &Store) -> Result<(), FileError> {
        for name in store.root.list_text("leases")? {
            let path = format!("leases/{name}");
            let Some(file) = store.root.open_file(&path)? else { continue };
            if is_locked(&file) {
                let text = store.root.read(&path, usize::MAX)?.unwrap_or_default();
                digests_of(&text, &mut self.leased);
            }
        }
        Ok(())
    }

    fn add_container(&mut self, store: &Store, id: &str) -> Result<(), FileError> {
        let path = format!("containers/{id}/config.json");
        match record::load::<ContainerRecord>(&store.root, &path) {
            Ok(Some(container)) => {
                self.layers.extend(container.layers);
                self.documents.extend([container.image, container.image_id]);
            }
            // Removed meanwhile.
            Ok(None) => {}
            Err(error) => self.gaps.push(format!("container {id}: {error}")),
        }
        Ok(())
    }

    /// An image record is named after its manifest or index: that is a root even if the record
    /// cannot be read. What else a repository holds and is missing can be pushed again.
    fn add_image(&mut self, store: &Store, image: Digest, record: bool) -> Result<(), FileError> {
        let mut pending = vec![(image, record)];
        while let Some((digest, is_root)) = pending.pop() {
            self.documents.insert(digest.clone());
            if !self.explored.insert(digest.clone()) {
                continue;
            }
            let bytes = match read(store, &digest)? {
                Some(bytes) => bytes,
                // An index lists platforms that were never asked for.
                None if !is_root => continue,
                None => {
                    self.gaps.push(format!("manifest {digest} is missing"));
                    continue;
                }
            };
            match Document::parse(&bytes) {
                Ok(Document::Index(index)) => {
                    pending.extend(index.manifests.into_iter().map(|child| (child.digest, false)));
                }
                Ok(Document::Manifest(manifest)) => {
                    self.add_compressed(manifest.layers);
                    self.add_config(store, manifest.config.digest)?;
                }
                Err(error) => self.gaps.push(format!("manifest {digest}: {error}")),
            }
        }
        Ok(())
    }

    fn add_compressed(&mut self, layers: Vec<Descriptor>) {
        self.compressed.extend(layers.into_iter().map(|layer| (layer.digest, layer.size)));
    }

    fn add_config(&mut self, store: &Store, digest: Digest) -> Result<(), FileError> {
        if self.explored.insert(digest.clone())
            && let Some(bytes) = read(store, &digest)?
        {
            self.layers.extend(diff_ids(&bytes));
        }
        self.documents.insert(digest);
        Ok(())
    }
}

/// DiffIDs of all layers of images and containers.
pub(crate) fn image_layers(store: &Store) -> Result<HashSet<Digest>, FileError> {
    let mut marks = Marks::default();
    marks.update(store)?;
    Ok(marks.layers)
}

/// The diffIDs an image config lists; what is not an image config lists none.
pub(crate) fn diff_ids(config: &[u8]) -> Vec<Digest> {
    #[derive(Default, Deserialize)]
    struct Config {
        #[serde(default)]
        rootfs: RootFs,
    }
    #[derive(Default, Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Vec<Digest>,
    }
    serde_json::from_slice::<Config>(config).unwrap_or_default().rootfs.diff_ids
}

/// A document, `None` if it is not here or absurdly large.
pub(crate) fn read(store: &Store, digest: &Digest) -> Result<Option<Vec<u8>>, FileError> {
    match store.blobs().read(digest, MAX_DOCUMENT) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::NotFound(_) | ReadError::TooLarge { .. }) => Ok(None),
        Err(ReadError::File(error)) => Err(error),
    }
}

/// True if somebody holds the file's lock.
pub(crate) fn is_locked(file: &File) -> bool {
    // Succeeding takes the lock until the file is closed; who makes such a file waits for it.
    file.try_lock_shared().is_err()
}
