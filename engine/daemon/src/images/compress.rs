//! Compressing layers that are not, for registries and archives.

use std::io::Read;
use std::os::fd::AsFd;

use hull_oci::{Descriptor, Digest, media_type};
use hull_store::{Lease, Store};
use hull_worker::client::WorkerError;
use hull_worker::job::{Answer, Job, Method};

use super::failure::{self, OfStore, StoreError};
use super::{Images, worker};
use crate::error::ApiError;

/// Why a layer was not compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// The worker failed.
    #[error("cannot compress layer {diff_id}")]
    Worker {
        /// Which.
        diff_id: Digest,
        /// Why.
        source: WorkerError,
    },
    /// The layer is not what its name says.
    #[error("layer {diff_id} is damaged: it has digest {actual}")]
    Damaged {
        /// Which.
        diff_id: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The worker answered another question.
    #[error("the worker gave an answer of the wrong kind")]
    Answer,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for CompressError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<CompressError> for ApiError {
    fn from(error: CompressError) -> Self {
        use hull_api::ErrorKind;
        let kind = match &error {
            CompressError::Worker { source, .. } => failure::of_worker(source),
            CompressError::Store(source) => source.kind(),
            CompressError::Damaged { .. } | CompressError::Answer => ErrorKind::Internal,
        };
        let api = Self::chain(kind, &error);
        match error {
            CompressError::Damaged { .. } => api.hint("`hull system check --deep` tells more"),
            _ => api,
        }
    }
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compressing<'a> {
    pub(crate) images: Images<'a>,
    /// Keeps what is made.
    pub(crate) lease: &'a Lease<'a>,
    pub(crate) method: Method,
    /// The method's own level; `None` is the usual one.
    pub(crate) level: Option<i32>,
}

impl Compressing<'_> {
    /// What an uncompressed layer is once compressed: a copy that is here, or a new one, before
    /// which `begin` is called.
    ///
    /// # Errors
    /// See [`CompressError`].
    pub(crate) fn layer(
        &self,
        layer: &Descriptor,
        begin: &dyn Fn(),
    ) -> Result<Descriptor, CompressError> {
        let diff_id = &layer.digest;
        // Of a copy nobody knows the level.
        let kept = match self.level {
            None => kept(self.images.store, diff_id, self.method)?,
            Some(_) => None,
        };
        let (digest, size) = match kept {
            Some(kept) => kept,
            None => {
                begin();
                self.compress(layer)?
            }
        };
        self.lease.add(&digest)?;
        let mut after = layer.clone();
        after.media_type = match self.method {
            Method::Gzip => media_type::OCI_LAYER_GZIP,
            Method::Zstd => media_type::OCI_LAYER_ZSTD,
        }
        .to_owned();
        (after.digest, after.size) = (digest, size);
        Ok(after)
    }

    fn compress(&self, layer: &Descriptor) -> Result<(Digest, u64), CompressError> {
        let store = self.images.store;
        let diff_id = &layer.digest;
        let input = store.blobs().open(diff_id)?;
        let output = store.blobs().temporary()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (method, level) = (self.method, self.level);
        let job = Job::Compress { size: layer.size, method, level, threads };
        let descriptors = [input.as_fd(), output.as_fd()];
        let answer = worker::run(self.images.worker, &job, &descriptors)
            .map_err(|source| CompressError::Worker { diff_id: diff_id.clone(), source })?;
        let Answer::Compressed(report) = answer else { return Err(CompressError::Answer) };
        if report.diff_id != *diff_id {
            let actual = report.diff_id;
            return Err(CompressError::Damaged { diff_id: diff_id.clone(), actual });
        }
        self.lease.add(&report.digest)?;
        store.blobs().commit_file(&output, &report.digest)?;
        store.learn(&report.digest, report.size, Some(diff_id), None)?;
        Ok((report.digest, report.size))
    }
}

/// A copy of a layer that is here and compressed so.
fn kept(
    store: &Store,
    diff_id: &Digest,
    method: Method,
) -> Result<Option<(Digest, u64)>, CompressError> {
    for (digest, size) in store.copies_of(diff_id)? {
        let mut start = [0; 4];
        // One that is removed just now, or cut short, is none.
        let read = store.blobs().open(&digest).ok().map(|mut file| file.read_exact(&mut start));
        let found = match start {
            _ if !matches!(read, Some(Ok(()))) => None,
            [0x1f, 0x8b, ..] => Some(Method::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Method::Zstd),
            _ => None,
        };
        if found == Some(method) {
            return Ok(Some((digest, size)));
        }
    }
    Ok(None)
}
