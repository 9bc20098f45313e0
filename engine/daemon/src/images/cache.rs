//! Caches of builds: what lies in registries or in images here, and taking layers of them.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd;

use hull_oci::{
    Algorithm, Descriptor, Digest, Hasher, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Platform,
};
use hull_store::{LayerMode, Lease};
use hull_worker::job::{Answer, Job};

use super::{Images, LoadError, resolve_image, worker};
use crate::error::ApiError;
use crate::worker_stream::failed;

/// Bytes of the largest layer that is read.
pub(crate) const MAX_LAYER_BYTES: u64 = worker::MAX_BYTES;

/// A manifest and its config, of which nothing else is known.
#[derive(Debug)]
pub(crate) struct CacheDocument {
    pub(crate) manifest: Manifest,
    pub(crate) config: Vec<u8>,
}

impl Images<'_> {
    /// The manifest and config of an image that is here.
    ///
    /// # Errors
    /// It is not here, or cannot be read.
    pub(crate) fn cache(&self, name: &str, platform: &Platform) -> Result<CacheDocument, ApiError> {
        let image = resolve_image(self.store, name, Some(platform))?;
        let bytes = self.document(&image.manifest_digest, MAX_MANIFEST_BYTES)?;
        let manifest = Manifest::parse(&bytes)
            .map_err(|error| ApiError::chain(hull_api::ErrorKind::Invalid, &error))?;
        let config = self.document(&manifest.config.digest, MAX_CONFIG_BYTES)?;
        Ok(CacheDocument { manifest, config })
    }

    fn document(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, ApiError> {
        Ok(self.store.blobs().read(digest, max).map_err(LoadError::from)?)
    }

    /// Takes a layer out of a file without a name that nobody else has, and keeps the file as its
    /// compressed copy. A sealed worker compares it with digest, size and diffID.
    ///
    /// # Errors
    /// It is something else, or cannot be read.
    pub(crate) fn take_layer(
        &self,
        file: &File,
        layer: &Descriptor,
        diff_id: &Digest,
        lease: &Lease<'_>,
    ) -> Result<(), ApiError> {
        let ingest = self.store.layers().prepare().map_err(LoadError::from)?;
        let limits = worker::limits(layer.size);
        let (range, algorithm) = (Some((0, layer.size)), layer.digest.algorithm());
        let job = Job::Layer { range, mode: ingest.mode(), limits, algorithm };
        let outputs = ingest.descriptors()?;
        let all: Vec<_> =
            std::iter::once(file.as_fd()).chain(outputs.iter().map(AsFd::as_fd)).collect();
        let answer = worker::run(self.worker, &job, &all)
            .map_err(|source| LoadError::Layer { diff_id: diff_id.clone(), source })?;
        let Answer::Layer(report) = answer else { return Err(LoadError::Answer.into()) };
        if report.digest != layer.digest || report.size != layer.size {
            let (expected, actual) = (layer.digest.clone(), report.digest);
            return Err(LoadError::DigestMismatch { expected, actual }.into());
        }
        if report.diff_id != *diff_id {
            let (expected, actual) = (diff_id.clone(), report.diff_id);
            return Err(LoadError::DiffIdMismatch { expected, actual }.into());
        }
        lease.add(diff_id)?;
        lease.add(&layer.digest)?;
        let is_compressed = !report.compression.is_empty();
        let differs = ingest.mode() == LayerMode::Unpack || is_compressed;
        self.store.layers().publish(ingest, report).map_err(LoadError::from)?;
        if differs {
            self.store.blobs().commit_file(file, &layer.digest).map_err(LoadError::from)?;
        }
        if is_compressed {
            self.store.learn(&layer.digest, layer.size, Some(diff_id), None)?;
        }
        Ok(())
    }

    /// Makes the plain tar of a layer a blob, where the layer does not give it back: the layers of
    /// images that are built are plain.
    ///
    /// # Errors
    /// The compressed copy is not here, or not what it was.
    pub(crate) fn keep_plain(
        &self,
        diff_id: &Digest,
        copy: &Digest,
        lease: &Lease<'_>,
    ) -> Result<(), ApiError> {
        if self.store.blobs().contains(diff_id)? {
            return Ok(());
        }
        let input = self.store.blobs().open(copy).map_err(LoadError::from)?;
        let mut spool = self.store.blobs().temporary()?;
        let max_bytes = self.store.layers().info(diff_id)?.tar_size;
        // What inflates an archive inflates a layer.
        let job = Job::ScanArchive { max_bytes };
        worker::run(self.worker, &job, &[input.as_fd(), spool.as_fd()])
            .map_err(|error| failed(&error).context("cannot inflate a layer"))?;
        let unread = |error: std::io::Error| ApiError::internal(&error);
        spool.rewind().map_err(unread)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match spool.read(&mut buffer).map_err(unread)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        let actual = hasher.finish();
        if actual != *diff_id {
            let expected = diff_id.clone();
            return Err(LoadError::DiffIdMismatch { expected, actual }.into());
        }
        lease.add(diff_id)?;
        self.store.blobs().commit_file(&spool, diff_id).map_err(LoadError::from)?;
        Ok(())
    }
}
