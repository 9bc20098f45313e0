//! Why nothing was pulled.

use std::io;

use hull_api::ErrorKind;
use hull_oci::{Digest, ParseDocumentError, Platform, Reference};
use hull_worker::client::WorkerError;

use crate::error::ApiError;
use crate::images::failure::{self, OfStore, StoreError};
use crate::images::load::MAX_LAYERS;
use crate::images::remote::RemoteError;

/// Why nothing was pulled. What arrived of its layers is kept, to go on from.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A repository without tags.
    #[error("repository {} has no tags", .reference.familiar_name())]
    NoTags {
        /// Which.
        reference: Reference,
    },
    /// The registry, or the way to it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A document is not what it should be.
    #[error("cannot use the manifest {digest}")]
    Document {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: ParseDocumentError,
    },
    /// An image config is not what it should be.
    #[error("cannot use the image config {digest}")]
    Config {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: ParseDocumentError,
    },
    /// The format of before 2016.
    #[error(
        "manifest {digest} has schema version 1, which is not supported: it cannot be verified"
    )]
    Schema1 {
        /// Which.
        digest: Digest,
    },
    /// A document is called another thing than it is.
    #[error("manifest {digest} is {found:?}, but was announced or sent as {said:?}")]
    MediaType {
        /// Which.
        digest: Digest,
        /// What was said.
        said: String,
        /// What it is.
        found: String,
    },
    /// A document has another size than its descriptor says.
    #[error("manifest {digest} has {actual} bytes, its descriptor says {expected}")]
    Size {
        /// Which.
        digest: Digest,
        /// Bytes promised.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// An index leads on and on.
    #[error("the index lists too much or lies too deep, seen at {digest}")]
    TooMuch {
        /// Where it was noticed.
        digest: Digest,
    },
    /// Nothing in the index suits.
    #[error(
        "no matching manifest for {} in the manifest list entries of {}",
        .0.wanted,
        .0.reference.familiar()
    )]
    NoPlatform(Box<NoPlatform>),
    /// The only image is for another platform.
    #[error(
        "image {} is for {}, not for {} as was asked",
        .0.reference.familiar(),
        .0.image,
        .0.wanted
    )]
    OtherPlatform(Box<OtherPlatform>),
    /// Config and manifest speak of different layers.
    #[error("the image has {layers} layers, its config {id} names {diff_ids}")]
    LayerCount {
        /// The config.
        id: Digest,
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the config.
        diff_ids: usize,
    },
    /// More layers than can be mounted.
    #[error("the image has {layers} layers, more than the {MAX_LAYERS} that can be mounted")]
    TooManyLayers {
        /// Layers it has.
        layers: usize,
    },
    /// A layer that is none.
    #[error("layer {digest} has the unknown media type {media_type:?}")]
    LayerType {
        /// Which.
        digest: Digest,
        /// What it says it is.
        media_type: String,
    },
    /// A config that names a layer's content by another algorithm.
    #[error(
        "the image config names a layer {diff_id}; Hull keeps layers by the sha256 of their content"
    )]
    DiffIdAlgorithm {
        /// Which.
        diff_id: Digest,
    },
    /// A layer larger than any.
    #[error("layer {digest} has {size} bytes, more than Hull reads")]
    LayerSize {
        /// Which.
        digest: Digest,
        /// Bytes it is said to have.
        size: u64,
    },
    /// A layer that lies elsewhere.
    #[error("layer {digest} is not kept by the registry but at {url}")]
    Foreign {
        /// Which.
        digest: Digest,
        /// Where it says it is.
        url: String,
    },
    /// A blob is not what was promised.
    #[error("blob {expected} has digest {actual} and {bytes} bytes")]
    Mismatch {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
        /// How much came.
        bytes: u64,
    },
    /// A layer is not the one the config names.
    #[error(
        "layer {digest} has diffID {actual} once uncompressed, the image config says {expected}"
    )]
    DiffId {
        /// Which.
        digest: Digest,
        /// What the config says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// A layer cannot be read.
    #[error("cannot read layer {digest}")]
    Layer {
        /// Which.
        digest: Digest,
        /// Why.
        source: WorkerError,
    },
    /// The worker answered another question.
    #[error("the worker gave an answer of the wrong kind")]
    Answer,
    /// No pipe to a worker.
    #[error("cannot make a pipe to a worker")]
    Pipe(#[source] io::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an index lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlatform {
    /// What was asked for.
    pub reference: Reference,
    /// For what.
    pub wanted: Platform,
    /// What there is.
    pub found: Vec<Platform>,
}

/// An image for one platform where another was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherPlatform {
    /// What was asked for.
    pub reference: Reference,
    /// What it is for.
    pub image: Platform,
    /// What was asked for.
    pub wanted: Platform,
}

impl<E: Into<StoreError> + OfStore> From<E> for PullError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<PullError> for ApiError {
    fn from(error: PullError) -> Self {
        let kind = match error {
            PullError::Remote(error) => return error.into(),
            PullError::NoTags { .. } | PullError::NoPlatform(_) => ErrorKind::NotFound,
            PullError::OtherPlatform(_) => ErrorKind::Precondition,
            PullError::Layer { ref source, .. } => failure::of_worker(source),
            PullError::Store(ref source) => source.kind(),
            PullError::Pipe(ref source) => failure::of_io(source),
            PullError::Answer => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        };
        let api = Self::chain(kind, &error);
        match &error {
            PullError::Schema1 { .. } => {
                api.hint("ask its owner to push it again with a tool of this decade")
            }
            PullError::NoPlatform(missing) if missing.found.is_empty() => {
                api.hint("the index names no platform at all")
            }
            PullError::NoPlatform(missing) => {
                let mut found: Vec<_> = missing.found.iter().map(ToString::to_string).collect();
                found.dedup();
                api.hint(format!("it is there for {}: choose one by --platform", found.join(", ")))
            }
            PullError::Foreign { .. } => api.hint(
                "addresses that an image names are followed only to hosts that `foreign-layers` in \
                 registries.toml lists for its registry",
            ),
            PullError::Mismatch { .. } | PullError::DiffId { .. } => {
                api.hint("the registry, a mirror or a proxy changed it: nothing of it was kept")
            }
            PullError::Store(source) if source.kind() == ErrorKind::Unavailable => api.hint(
                "what arrived is kept: make room and pull again, or `hull system prune` to drop it",
            ),
            _ => api,
        }
    }
}
