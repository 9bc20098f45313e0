//! An image out of another one and what a container changed.
//!
//! Two sealed workers in a row: one writes the changes as a layer's tar, the other reads that tar
//! as any layer that comes from outside. The image appears only when both were content.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_api::ErrorKind;
use hull_oci::{
    Descriptor, Digest, History, ImageConfig, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest,
    Platform, Reference, RootFs, RuntimeConfig, media_type,
};
use hull_store::{Lease, ReadError};
use hull_worker::client::{Worker, WorkerError};
use hull_worker::job::Job;

use super::failure::{self, OfStore, StoreError};
use super::import::{ChangeError, ImportError, apply};
use super::load::MAX_LAYERS;
use super::made::{Made, Received};
use super::tag::{TagError, new_name};
use super::{Images, ORIGIN_COMMIT, now, select};
use crate::error::ApiError;

/// What a new image is made from.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Digest of its image record.
    pub record: Digest,
    /// Digest of its config.
    pub image_id: Digest,
    /// DiffIDs of its layers, lowest first.
    pub layers: Vec<Digest>,
}

/// What to make.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Name to give; without one the image is only known by its ID.
    pub repository: Option<String>,
    /// Tag of the name.
    pub tag: Option<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The command that led to the changes.
    pub created_by: String,
    /// Dockerfile instructions to apply to `runtime`.
    pub changes: Vec<String>,
    /// Defaults for containers.
    pub runtime: RuntimeConfig,
}

/// Why no image was made. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
pub enum CommitImageError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] TagError),
    /// A change cannot be applied.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The container has as many layers as there can be.
    #[error("the container's image has {MAX_LAYERS} layers, more are not possible")]
    TooManyLayers,
    /// A layer of the container's image is not kept as it came.
    #[error("layer {0} of the container's image is not kept as it came")]
    MissingLayer(Digest),
    /// The changes could not be read.
    #[error("cannot read what the container changed")]
    Pack(#[source] WorkerError),
    /// The changes could not be made a layer.
    #[error("cannot keep what the container changed")]
    Receive(#[from] ImportError),
    /// A document of the parent makes no sense.
    #[error("cannot use {digest} in the store")]
    Document {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: hull_oci::ParseDocumentError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for CommitImageError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<CommitImageError> for ApiError {
    fn from(error: CommitImageError) -> Self {
        let kind = match error {
            CommitImageError::Name(error) => return error.into(),
            CommitImageError::Receive(error) => return error.into(),
            CommitImageError::Change(_) | CommitImageError::TooManyLayers => ErrorKind::Invalid,
            CommitImageError::MissingLayer(_) => ErrorKind::Unavailable,
            CommitImageError::Pack(ref source) => failure::of_worker(source),
            CommitImageError::Document { .. } => ErrorKind::Internal,
            CommitImageError::Store(ref source) => source.kind(),
        };
        Self::chain(kind, &error)
    }
}

impl CommitOptions {
    /// The name to give, if any.
    ///
    /// # Errors
    /// That it is none.
    pub fn name(&self) -> Result<Option<Reference>, TagError> {
        let name = |repository: &String| new_name(repository, self.tag.as_deref());
        self.repository.as_ref().map(name).transpose()
    }
}

impl Images<'_> {
    /// Makes an image of `parent` and what `tree` holds: a container's own directory and a view of
    /// the image below. Returns the image ID.
    ///
    /// Without changes there is no new layer, only a new config.
    ///
    /// # Errors
    /// See [`CommitImageError`]. On an error nothing is kept.
    pub fn commit(
        &self,
        parent: &Parent,
        tree: &[OwnedFd; 2],
        stubs: Vec<String>,
        options: &CommitOptions,
    ) -> Result<Digest, CommitImageError> {
        let name = options.name()?;
        let runtime = apply(options.runtime.clone(), &options.changes)?;
        if parent.layers.len() >= MAX_LAYERS {
            return Err(CommitImageError::TooManyLayers);
        }
        let labels = runtime.labels.clone();
        let lease = self.store.lease()?;
        let mut layers = self.layers_of(parent, &lease)?;
        let before = self.config_of(parent)?;
        let received = self.pack(tree, stubs)?;
        let mut diff_ids = parent.layers.clone();
        let has_layer = received.report.entries > 0;
        if has_layer {
            diff_ids.push(received.report.diff_id.clone());
            layers.push(self.keep_layer(&lease, received)?);
        }
        let config = config(before, options, runtime, diff_ids, has_layer).to_bytes();
        let (name_given, origin) = (name.as_ref(), ORIGIN_COMMIT);
        let id = self.keep(&lease, Made { config: &config, layers, name: name_given, origin })?;
        let text = id.to_string();
        self.happened(&text, &labels, "create", &text);
        if let Some(name) = name {
            self.happened(&text, &labels, "tag", &name.familiar());
        }
        Ok(id)
    }

    /// Has one worker write the changes and another read them.
    fn pack(
        &self,
        [upper, lower]: &[OwnedFd; 2],
        stubs: Vec<String>,
    ) -> Result<Received<'_>, CommitImageError> {
        let (reader, writer) = std::io::pipe().map_err(ImportError::Receive)?;
        let descriptors: [BorrowedFd<'_>; 3] = [upper.as_fd(), lower.as_fd(), writer.as_fd()];
        let packing = Worker::spawn(self.worker, &Job::PackLayer { stubs }, &descriptors)
            .map_err(CommitImageError::Pack)?;
        drop(writer);
        let received = self.receive(reader.as_fd());
        drop(reader);
        // An archive that was cut short is the first one's fault, whatever the second one says.
        let packed = packing.answer();
        match (packed, received) {
            (Err(error @ WorkerError::Failed { .. }), Ok(_)) => Err(CommitImageError::Pack(error)),
            // It lost its reader.
            (Err(WorkerError::Failed { .. }), Err(error @ ImportError::Layer(_))) => {
                Err(error.into())
            }
            (Err(error), _) => Err(CommitImageError::Pack(error)),
            (Ok(_), received) => Ok(received?),
        }
    }

    /// The parent's layers as its manifest has them, or as they are kept if it is gone.
    pub(crate) fn layers_of(
        &self,
        parent: &Parent,
        lease: &Lease<'_>,
    ) -> Result<Vec<Descriptor>, CommitImageError> {
        for diff_id in &parent.layers {
            lease.add(diff_id)?;
        }
        if let Some(layers) = self.layers_of_manifest(parent, lease)? {
            return Ok(layers);
        }
        let mut descriptors = Vec::new();
        for diff_id in &parent.layers {
            let info = self.store.layers().info(diff_id)?;
            lease.add(&info.digest)?;
            let as_it_came =
                Descriptor::new(media_type::oci_layer(&info.compression), info.digest, info.size);
            let plain = Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), info.tar_size);
            let mut kept = None;
            for candidate in [as_it_came, plain] {
                if kept.is_none() && self.store.blobs().contains(&candidate.digest)? {
                    kept = Some(candidate);
                }
            }
            let missing = || CommitImageError::MissingLayer(diff_id.clone());
            descriptors.push(kept.ok_or_else(missing)?);
        }
        Ok(descriptors)
    }

    fn layers_of_manifest(
        &self,
        parent: &Parent,
        lease: &Lease<'_>,
    ) -> Result<Option<Vec<Descriptor>>, CommitImageError> {
        let Some(record) = self.store.image(&parent.record)? else { return Ok(None) };
        let Ok(images) = select::all(self.store, &record.descriptor) else { return Ok(None) };
        let mut same = images.into_iter().filter(|image| image.image_id == parent.image_id);
        let Some(image) = same.next() else { return Ok(None) };
        let bytes = self.store.blobs().read(&image.manifest, MAX_MANIFEST_BYTES)?;
        let manifest = Manifest::parse(&bytes).map_err(|source| CommitImageError::Document {
            digest: image.manifest.clone(),
            source,
        })?;
        for layer in &manifest.layers {
            lease.add(&layer.digest)?;
            if !self.store.blobs().contains(&layer.digest)? {
                return Ok(None);
            }
        }
        Ok(Some(manifest.layers))
    }

    /// The parent's config; an empty one if it is gone.
    fn config_of(&self, parent: &Parent) -> Result<ImageConfig, CommitImageError> {
        let bytes = match self.store.blobs().read(&parent.image_id, MAX_CONFIG_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::NotFound(_)) => {
                let Platform { os, architecture, variant } = Platform::host();
                return Ok(ImageConfig { os, architecture, variant, ..ImageConfig::default() });
            }
            Err(error) => return Err(error.into()),
        };
        ImageConfig::parse(&bytes).map_err(|source| CommitImageError::Document {
            digest: parent.image_id.clone(),
            source,
        })
    }
}

fn config(
    before: ImageConfig,
    options: &CommitOptions,
    runtime: RuntimeConfig,
    diff_ids: Vec<Digest>,
    has_layer: bool,
) -> ImageConfig {
    let created = Some(now());
    let mut history = before.history;
    history.push(History {
        created: created.clone(),
        created_by: options.created_by.clone(),
        author: options.author.clone(),
        comment: options.comment.clone(),
        empty_layer: !has_layer,
    });
    ImageConfig {
        architecture: before.architecture,
        variant: before.variant,
        os: before.os,
        author: options.author.clone(),
        comment: options.comment.clone(),
        created,
        config: Some(runtime),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        history,
        build_cache: None,
    }
}
