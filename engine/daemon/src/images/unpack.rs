//! Layers of an image that came as they are and were never used: pushed to a registry of ours.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use hull_api::ErrorKind;
use hull_oci::{Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest};
use hull_store::Store;
use hull_worker::job::{Answer, Job};

use super::failure::{self, OfStore, StoreError};
use super::{ResolvedImage, worker};
use crate::error::ApiError;

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Nothing of it is here.
    #[error("layer {0} of the image is not here")]
    Missing(Digest),
    /// The worker failed on it.
    #[error("cannot read layer {digest}")]
    Layer {
        /// As it came.
        digest: Digest,
        /// What went wrong.
        source: hull_worker::client::WorkerError,
    },
    /// It is not what manifest and config say.
    #[error("layer {expected} of the image is {actual}")]
    Mismatch {
        /// What was promised.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The manifest is not one.
    #[error("cannot use manifest {digest}")]
    Manifest {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: hull_oci::ParseDocumentError,
    },
    /// The worker said something else.
    #[error("the worker gave an answer of the wrong kind")]
    Answer,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for UnpackError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<UnpackError> for ApiError {
    fn from(error: UnpackError) -> Self {
        let kind = match &error {
            UnpackError::Missing(_) => ErrorKind::NotFound,
            UnpackError::Layer { source, .. } => failure::of_worker(source),
            UnpackError::Mismatch { .. } | UnpackError::Manifest { .. } => ErrorKind::Invalid,
            UnpackError::Answer => ErrorKind::Internal,
            UnpackError::Store(source) => source.kind(),
        };
        let api = Self::chain(kind, &error);
        match error {
            UnpackError::Missing(_) => api.hint("pull or push the image again"),
            _ => api,
        }
    }
}

/// Unpacks the layers of an image that are here only as they came, each in a sealed worker of its
/// own. Two who do so at once both succeed.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack(store: &Store, program: &Path, image: &ResolvedImage) -> Result<(), UnpackError> {
    let lease = store.lease()?;
    let bytes = store.blobs().read(&image.manifest_digest, MAX_MANIFEST_BYTES)?;
    let manifest = Manifest::parse(&bytes).map_err(|source| UnpackError::Manifest {
        digest: image.manifest_digest.clone(),
        source,
    })?;
    for (place, diff_id) in image.layers.iter().enumerate() {
        lease.add(diff_id)?;
        if store.layers().contains(diff_id)? {
            continue;
        }
        let missing = || UnpackError::Missing(diff_id.clone());
        let layer = manifest.layers.get(place).ok_or_else(missing)?;
        lease.add(&layer.digest)?;
        if !store.blobs().contains(&layer.digest)? {
            return Err(missing());
        }
        unpack_one(store, program, layer, diff_id)?;
    }
    Ok(())
}

fn unpack_one(
    store: &Store,
    program: &Path,
    layer: &Descriptor,
    diff_id: &Digest,
) -> Result<(), UnpackError> {
    let blob = store.blobs().open(&layer.digest)?;
    let ingest = store.layers().prepare()?;
    let range = Some((0, layer.size));
    let job = Job::Layer {
        range,
        mode: ingest.mode(),
        algorithm: layer.digest.algorithm(),
        limits: worker::limits(layer.size),
    };
    let outputs = ingest.descriptors_for(layer.size)?;
    let descriptors: Vec<BorrowedFd<'_>> =
        std::iter::once(blob.as_fd()).chain(outputs.iter().map(|output| output.as_fd())).collect();
    let answer = worker::run(program, &job, &descriptors)
        .map_err(|source| UnpackError::Layer { digest: layer.digest.clone(), source })?;
    let Answer::Layer(report) = answer else { return Err(UnpackError::Answer) };
    for (expected, actual) in [(&layer.digest, &report.digest), (diff_id, &report.diff_id)] {
        if expected != actual {
            let (expected, actual) = (expected.clone(), actual.clone());
            return Err(UnpackError::Mismatch { expected, actual });
        }
    }
    store.layers().publish(ingest, report)?;
    Ok(store.learn(&layer.digest, layer.size, Some(diff_id), None)?)
}
