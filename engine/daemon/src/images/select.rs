//! From a manifest or index to one image of it.

use hull_oci::{
    Descriptor, Digest, Document, ImageConfig, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest,
    Platform, media_type,
};
use hull_store::{ReadError, Store};

use super::failure::{OfStore, StoreError};

/// How deep indexes may lie in indexes; a load allows no more.
const MAX_DEPTH: usize = 8;

/// One image that is here.
#[derive(Debug, Clone)]
pub(super) struct Selected {
    /// Digest of its manifest.
    pub(super) manifest: Digest,
    /// Digest of its config.
    pub(super) image_id: Digest,
    /// Its config.
    pub(super) config: ImageConfig,
}

/// Why no image was found below a descriptor.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A document in the store cannot be understood.
    #[error("cannot use {digest} in the store")]
    Document {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: hull_oci::ParseDocumentError,
    },
    /// Nothing of it is here.
    #[error("{0} leads to no image that is here")]
    Nothing(Digest),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for SelectError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// The image that suits `platform` best, or whatever is here if none does: who runs it must
/// compare the platforms.
pub(super) fn best(
    store: &Store,
    root: &Descriptor,
    platform: &Platform,
) -> Result<Selected, SelectError> {
    let mut candidates = Vec::new();
    manifests(store, root, 0, &mut candidates)?;
    let mut best: Option<(Option<u32>, Selected)> = None;
    for (listed, digest, manifest) in candidates {
        // What an index says spares reading configs of platforms that do not fit.
        let listed = listed.and_then(|listed| platform.preference(&listed));
        if best.as_ref().is_some_and(|(found, _)| found.is_some() && listed <= *found) {
            continue;
        }
        let Some(selected) = read(store, digest, &manifest)? else { continue };
        let preference = platform.preference(&selected.config.platform()).or(listed);
        if best.as_ref().is_none_or(|(found, _)| preference > *found) {
            best = Some((preference, selected));
        }
    }
    best.map(|(_, selected)| selected).ok_or_else(|| SelectError::Nothing(root.digest.clone()))
}

/// The image that this host would run, or whatever is here.
pub(super) fn any(store: &Store, root: &Descriptor) -> Result<Selected, SelectError> {
    best(store, root, &Platform::host())
}

/// DiffIDs of every image below `root`, each image's lowest first.
pub(super) fn all(store: &Store, root: &Descriptor) -> Result<Vec<Selected>, SelectError> {
    let mut candidates = Vec::new();
    manifests(store, root, 0, &mut candidates)?;
    let read = |(_, digest, manifest): (_, _, Manifest)| read(store, digest, &manifest).transpose();
    candidates.into_iter().filter_map(read).collect()
}

type Candidate = (Option<Platform>, Digest, Manifest);

/// Collects the manifests below `descriptor` that are here.
fn manifests(
    store: &Store,
    descriptor: &Descriptor,
    depth: usize,
    into: &mut Vec<Candidate>,
) -> Result<(), SelectError> {
    let digest = &descriptor.digest;
    let kind = descriptor.media_type.as_str();
    let image = media_type::is_manifest(kind) || media_type::is_index(kind) || kind.is_empty();
    if depth > MAX_DEPTH || !image || descriptor.is_attestation() {
        return Ok(());
    }
    let bytes = match store.blobs().read(digest, MAX_MANIFEST_BYTES) {
        Ok(bytes) => bytes,
        // An index may list more than was in the archive.
        Err(ReadError::NotFound(_)) if depth > 0 => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let parsed = Document::parse(&bytes);
    match parsed.map_err(|source| SelectError::Document { digest: digest.clone(), source })? {
        Document::Index(index) => {
            index.manifests.iter().try_for_each(|child| manifests(store, child, depth + 1, into))
        }
        Document::Manifest(manifest) => {
            if media_type::is_image_config(&manifest.config.media_type) {
                into.push((descriptor.platform.clone(), digest.clone(), *manifest));
            }
            Ok(())
        }
    }
}

/// Reads the config of a manifest; `None` if the image is not whole.
fn read(
    store: &Store,
    manifest_digest: Digest,
    manifest: &Manifest,
) -> Result<Option<Selected>, SelectError> {
    let image_id = manifest.config.digest.clone();
    let bytes = match store.blobs().read(&image_id, MAX_CONFIG_BYTES) {
        Ok(bytes) => bytes,
        Err(ReadError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let config = ImageConfig::parse(&bytes)
        .map_err(|source| SelectError::Document { digest: image_id.clone(), source })?;
    Ok(Some(Selected { manifest: manifest_digest, image_id, config }))
}
