//! What a manifest refers to, remembered: manifests never change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use hull_oci::{Descriptor, Digest, Document, MAX_MANIFEST_BYTES, ParseDocumentError};

use super::storage::{Storage, Stored};

/// How many are remembered.
const MAX: usize = 20_000;

/// A manifest or index in short.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    /// The media type it says it has.
    pub(super) media_type: Option<String>,
    /// Length in bytes.
    pub(super) size: u64,
    /// Type of the artifact, of an image manifest that of its config where it says none.
    pub(super) artifact_type: Option<String>,
    /// Free text by key.
    pub(super) annotations: BTreeMap<String, String>,
    /// The manifest it is about.
    pub(super) subject: Option<Descriptor>,
    /// Manifests it lists, if it is an index.
    pub(super) children: Option<Vec<Descriptor>>,
    /// The config of a manifest.
    pub(super) config: Option<Descriptor>,
    /// The layers of a manifest.
    pub(super) layers: Vec<Descriptor>,
}

impl Summary {
    /// Reads one.
    ///
    /// # Errors
    /// It is neither manifest nor index, or could be taken for both.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseDocumentError> {
        let size = bytes.len() as u64;
        Ok(match Document::parse(bytes)? {
            Document::Manifest(manifest) => Self {
                media_type: manifest.media_type,
                size,
                artifact_type: manifest
                    .artifact_type
                    .filter(|kind| !kind.is_empty())
                    .or_else(|| Some(manifest.config.media_type.clone())),
                annotations: manifest.annotations,
                subject: manifest.subject,
                children: None,
                config: Some(manifest.config),
                layers: manifest.layers,
            },
            Document::Index(index) => Self {
                media_type: index.media_type,
                size,
                artifact_type: index.artifact_type.filter(|kind| !kind.is_empty()),
                annotations: index.annotations,
                subject: index.subject.map(|subject| *subject),
                children: Some(index.manifests),
                config: None,
                layers: Vec::new(),
            },
        })
    }

    /// Config and layers: what a repository that holds it must give out.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// Manifests it lists, none if it is no index.
    pub(super) fn listed(&self) -> &[Descriptor] {
        self.children.as_deref().unwrap_or_default()
    }

    /// Its type where it says none: that of its shape.
    pub(super) fn kind(&self) -> &str {
        match (&self.media_type, &self.children) {
            (Some(kind), _) => kind,
            (None, Some(_)) => hull_oci::media_type::OCI_INDEX,
            (None, None) => hull_oci::media_type::OCI_MANIFEST,
        }
    }
}

/// Whether a registry need not have a layer: it may not be given out by it.
pub(super) fn is_foreign(layer: &Descriptor) -> bool {
    let kind = &layer.media_type;
    !layer.urls.is_empty() || kind.contains(".foreign.") || kind.contains(".nondistributable.")
}

/// Summaries by digest.
#[derive(Debug, Default)]
pub(super) struct Summaries(Mutex<HashMap<Digest, Arc<Summary>>>);

impl Summaries {
    /// The summary of a manifest, `None` if it is not here or cannot be read.
    pub(super) fn of(
        &self,
        storage: &dyn Storage,
        digest: &Digest,
    ) -> Stored<Option<Arc<Summary>>> {
        if let Some(known) = self.known(digest) {
            return Ok(Some(known));
        }
        let Some(bytes) = storage.read(digest, MAX_MANIFEST_BYTES)? else { return Ok(None) };
        let Ok(summary) = Summary::parse(&bytes) else { return Ok(None) };
        Ok(Some(self.remember(digest, summary)))
    }

    pub(super) fn remember(&self, digest: &Digest, summary: Summary) -> Arc<Summary> {
        let summary = Arc::new(summary);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX {
            // Any half: which are asked for next is not known.
            let mut keep = false;
            known.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        known.insert(digest.clone(), Arc::clone(&summary));
        summary
    }

    fn known(&self, digest: &Digest) -> Option<Arc<Summary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }
}
