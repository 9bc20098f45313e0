//! Why an archive was not loaded.

use std::io;

use hull_oci::{Digest, ParseDocumentError, ParseReferenceError, Platform};
use hull_worker::client::WorkerError;

use super::MAX_LAYERS;
use crate::error::ApiError;
use crate::images::failure;
use crate::images::select::SelectError;

/// Why an archive was not loaded. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive itself cannot be read.
    #[error("cannot read the archive")]
    Scan(#[source] WorkerError),
    /// It holds something else.
    #[error("the archive holds no image: it has neither index.json nor manifest.json")]
    NotAnImage,
    /// A document of it is not what it should be.
    #[error("cannot use {name} of the archive")]
    Document {
        /// Member or digest.
        name: String,
        /// What is wrong.
        source: ParseDocumentError,
    },
    /// A document is larger than any honest one.
    #[error("{name} of the archive has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// Member or digest.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        max: usize,
    },
    /// A blob of a layout is not there.
    #[error("blob {digest} is missing from the archive")]
    MissingBlob {
        /// Which.
        digest: Digest,
    },
    /// A file of a docker-archive is not there.
    #[error("{name:?} is missing from the archive")]
    MissingMember {
        /// Which.
        name: String,
    },
    /// A blob has another size than its descriptor says.
    #[error("blob {digest} has {actual} bytes, its descriptor says {expected}")]
    SizeMismatch {
        /// Which.
        digest: Digest,
        /// Bytes promised.
        expected: u64,
        /// Bytes there.
        actual: u64,
    },
    /// A blob is not what its digest says.
    #[error("blob {expected} has digest {actual}")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
    /// A layer is not the one the image config names.
    #[error("layer {expected} of the image config has diffID {actual} once uncompressed")]
    DiffIdMismatch {
        /// What the config says.
        expected: Digest,
        /// What the layer is.
        actual: Digest,
    },
    /// Config and manifest speak of different layers.
    #[error("image {id} has {layers} layers, its config names {diff_ids}")]
    LayerCount {
        /// The image.
        id: Digest,
        /// Layers listed.
        layers: usize,
        /// Layers in the config.
        diff_ids: usize,
    },
    /// More layers than can be mounted.
    #[error("image {id} has {layers} layers, more than the {MAX_LAYERS} that can be mounted")]
    TooManyLayers {
        /// The image.
        id: Digest,
        /// Layers it has.
        layers: usize,
    },
    /// A layer of an unknown kind.
    #[error("layer {digest} has the unknown media type {media_type:?}")]
    LayerType {
        /// Which.
        digest: Digest,
        /// What it says it is.
        media_type: String,
    },
    /// What the archive names is something else than an image.
    #[error("{digest} is no image but {media_type:?}")]
    Artifact {
        /// Which.
        digest: Digest,
        /// What it says it is.
        media_type: String,
    },
    /// A layout has no such image.
    #[error("the layout has no image {entry}, it has {count} others")]
    NoEntry {
        /// Tag or digest.
        entry: String,
        /// How many images it has.
        count: usize,
    },
    /// What was stored cannot be found again.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// An index leads nowhere.
    #[error("index {digest} lists no image that is in the archive")]
    NoImages {
        /// Which.
        digest: Digest,
    },
    /// An index leads on and on.
    #[error("index {digest} lies too deep or lists too much")]
    TooDeep {
        /// Where it was noticed.
        digest: Digest,
    },
    /// Not for this platform.
    #[error("the archive has no image for {wanted}, only for {}", list(found))]
    NoPlatform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        found: Vec<Platform>,
    },
    /// An image gives itself an impossible name.
    #[error("the archive names an image {text:?}")]
    Name {
        /// The name.
        text: String,
        /// What is wrong with it.
        source: ParseReferenceError,
    },
    /// A layer cannot be read.
    #[error("cannot read layer {diff_id}")]
    Layer {
        /// Which.
        diff_id: Digest,
        /// Why.
        source: WorkerError,
    },
    /// The worker answered another question.
    #[error("the worker gave an answer of the wrong kind")]
    Answer,
    /// The spooled archive cannot be read back.
    #[error("cannot read the spooled archive")]
    Spool(#[source] io::Error),
    /// A layer's bytes cannot be copied into the store.
    #[error("cannot copy a layer out of the spooled archive")]
    Copy(#[source] io::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] failure::StoreError),
}

fn list(platforms: &[Platform]) -> String {
    let platforms: Vec<_> = platforms.iter().map(Platform::to_string).collect();
    platforms.join(", ")
}

impl<E: Into<failure::StoreError> + failure::OfStore> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        use hull_api::ErrorKind;
        let kind = match &error {
            LoadError::Scan(source) | LoadError::Layer { source, .. } => failure::of_worker(source),
            LoadError::Store(source) => source.kind(),
            LoadError::Spool(source) | LoadError::Copy(source) => failure::of_io(source),
            LoadError::Answer => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        };
        let api = Self::chain(kind, &error);
        match &error {
            LoadError::NotAnImage => {
                api.hint("a root file system becomes an image with `hull import`")
            }
            LoadError::MissingBlob { .. } | LoadError::MissingMember { .. } => {
                api.hint("the archive is not whole: save or copy it again")
            }
            _ => api,
        }
    }
}
