//! All layers of an image, several at once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use hull_oci::{
    Algorithm, Descriptor, Digest, ImageConfig, MAX_CONFIG_BYTES, Manifest, Reference, media_type,
};
use hull_store::Lease;

use super::PullError;
use super::fetch::{Fetch, keep_blob};
use crate::images::load::MAX_LAYERS;
use crate::images::remote::{Remote, short};
use crate::images::worker;
use crate::slots::Slots;

/// How many layers are fetched at once. While all processors inflate, more are fetched ahead.
const FETCHES: usize = 4;

/// An image config, as it came and taken apart.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) bytes: Vec<u8>,
    pub(super) parsed: ImageConfig,
}

/// Brings the config and every layer of an image that is not here.
pub(super) fn bring(
    remote: Remote<'_>,
    reference: &Reference,
    manifest: &Manifest,
    lease: &Lease<'_>,
) -> Result<Config, PullError> {
    check(manifest)?;
    for descriptor in manifest.layers.iter().chain([&manifest.config]) {
        lease.add(&descriptor.digest)?;
    }
    let store = remote.images.store;
    // The config says which layers are here under another digest. Where there are none at all, it
    // is not waited for.
    let waits =
        store.blobs().contains(&manifest.config.digest)? || !store.layers().list()?.is_empty();
    let config = OnceLock::new();
    if waits {
        let first = config_of(remote, reference, manifest)?;
        for diff_id in &first.parsed.rootfs.diff_ids {
            lease.add(diff_id)?;
        }
        config.get_or_init(|| first);
    }
    let known = config.get().map(|config| config.parsed.rootfs.diff_ids.as_slice());
    let mut seen = HashSet::new();
    let slots = Slots::new(std::thread::available_parallelism().map_or(1, usize::from));
    let mut brought = HashMap::new();
    let mut jobs = Vec::new();
    for (place, descriptor) in manifest.layers.iter().enumerate() {
        if !seen.insert(&descriptor.digest) {
            continue;
        }
        let expected = known.map(|diff_ids| &diff_ids[place]);
        let job = Fetch { remote, reference, descriptor, expected, lease, slots: &slots };
        let id = short(&descriptor.digest);
        if let Some(diff_id) = job.present()? {
            remote.progress.step(id, "Already exists");
            brought.insert(descriptor.digest.clone(), diff_id);
        } else {
            remote.progress.step(id, "Pulling fs layer");
            jobs.push(job);
        }
    }
    // The longest first, so that none is left alone at the end.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.descriptor.size));
    brought.extend(run(remote, reference, manifest, &jobs, &config)?);
    let config = config.into_inner().ok_or(PullError::Answer)?;
    for (descriptor, expected) in manifest.layers.iter().zip(&config.parsed.rootfs.diff_ids) {
        let digest = &descriptor.digest;
        let Some(actual) = brought.get(digest).filter(|actual| *actual != expected) else {
            continue;
        };
        let (digest, expected, actual) = (digest.clone(), expected.clone(), actual.clone());
        return Err(PullError::DiffId { digest, expected, actual });
    }
    Ok(config)
}

/// Brings layers that somebody has listed with their diffIDs, and that may be anything.
pub(in crate::images) fn bring_listed(
    remote: Remote<'_>,
    reference: &Reference,
    listed: &[(Descriptor, Digest)],
    lease: &Lease<'_>,
) -> Result<(), PullError> {
    let slots = Slots::new(std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let has_failed = || failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    std::thread::scope(|scope| {
        for _ in 0..FETCHES.min(listed.len()) {
            scope.spawn(|| {
                while !has_failed() {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some((descriptor, diff_id)) = listed.get(place) else { break };
                    let expected = Some(diff_id);
                    let slots = &slots;
                    let job = Fetch { remote, reference, descriptor, expected, lease, slots };
                    if let Err(error) = job.run() {
                        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Does the jobs and fetches the config if it is not known yet. The first failure ends all.
fn run(
    remote: Remote<'_>,
    reference: &Reference,
    manifest: &Manifest,
    jobs: &[Fetch<'_>],
    config: &OnceLock<Config>,
) -> Result<Vec<(Digest, Digest)>, PullError> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let done = Mutex::new(Vec::new());
    let fail = |error: PullError| {
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        // What the others have so far is kept.
        remote.stop.stop();
    };
    std::thread::scope(|scope| {
        if config.get().is_none() {
            scope.spawn(|| match config_of(remote, reference, manifest) {
                Ok(found) => drop(config.set(found)),
                Err(error) => fail(error),
            });
        }
        for _ in 0..FETCHES.min(jobs.len()) {
            scope.spawn(|| {
                while !remote.stop.is_stopped() {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else { break };
                    match job.run() {
                        Ok(diff_id) => done
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((job.descriptor.digest.clone(), diff_id)),
                        Err(error) => fail(error),
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None if remote.stop.is_stopped() => Err(crate::images::RemoteError::Stopped.into()),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// Refuses a manifest whose layers cannot be read, before any is fetched.
fn check(manifest: &Manifest) -> Result<(), PullError> {
    if manifest.layers.len() > MAX_LAYERS {
        return Err(PullError::TooManyLayers { layers: manifest.layers.len() });
    }
    for Descriptor { media_type, digest, size, .. } in &manifest.layers {
        if !media_type::is_layer(media_type) {
            let (digest, media_type) = (digest.clone(), media_type.clone());
            return Err(PullError::LayerType { digest, media_type });
        }
        if *size > worker::MAX_BYTES {
            return Err(PullError::LayerSize { digest: digest.clone(), size: *size });
        }
    }
    Ok(())
}

pub(super) fn config_bytes(
    remote: Remote<'_>,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, PullError> {
    let blobs = remote.images.store.blobs();
    if blobs.contains(&descriptor.digest)? {
        return Ok(blobs.read(&descriptor.digest, MAX_CONFIG_BYTES)?);
    }
    let sent = remote.transfer.document(reference, descriptor);
    Ok(sent.map_err(|error| remote.failed(error))?)
}

fn config_of(
    remote: Remote<'_>,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Config, PullError> {
    let descriptor = &manifest.config;
    let bytes = config_bytes(remote, reference, descriptor)?;
    let parsed = ImageConfig::parse(&bytes)
        .map_err(|source| PullError::Config { digest: descriptor.digest.clone(), source })?;
    let (layers, diff_ids) = (manifest.layers.len(), parsed.rootfs.diff_ids.len());
    if layers != diff_ids {
        let id = descriptor.digest.clone();
        return Err(PullError::LayerCount { id, layers, diff_ids });
    }
    let other = |diff_id: &&Digest| diff_id.algorithm() != Algorithm::Sha256;
    if let Some(diff_id) = parsed.rootfs.diff_ids.iter().find(other) {
        return Err(PullError::DiffIdAlgorithm { diff_id: diff_id.clone() });
    }
    Ok(Config { bytes, parsed })
}

/// Brings what an artifact consists of, as blobs: nothing of it is looked into.
pub(super) fn bring_blobs(
    remote: Remote<'_>,
    reference: &Reference,
    manifest: &Manifest,
    lease: &Lease<'_>,
) -> Result<(), PullError> {
    let mut seen = HashSet::new();
    for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
        if !seen.insert(&descriptor.digest) {
            continue;
        }
        if descriptor.size > worker::MAX_BYTES {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            return Err(PullError::LayerSize { digest, size });
        }
        lease.add(&descriptor.digest)?;
        let id = short(&descriptor.digest);
        if remote.images.store.blobs().contains(&descriptor.digest)? {
            remote.progress.step(id, "Already exists");
        } else {
            keep_blob(remote, reference, descriptor)?;
            remote.progress.step(id, "Pull complete");
        }
    }
    Ok(())
}
