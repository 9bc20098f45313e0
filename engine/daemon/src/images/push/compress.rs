//! Compressing layers that are not.

use std::io::Read;
use std::os::fd::AsFd;

use hull_oci::{Descriptor, Digest, media_type};
use hull_store::Store;
use hull_worker::job::{Answer, Job, Method};

use super::PushError;
use super::plan::Plan;
use crate::images::remote::short;
use crate::images::worker;

/// What an uncompressed layer is once compressed: a copy that is here, or a new one.
pub(super) fn compressed(
    plan: &Plan<'_>,
    layer: &Descriptor,
    method: Method,
) -> Result<Descriptor, PushError> {
    let store = plan.remote.images.store;
    let diff_id = &layer.digest;
    let (digest, size) = match kept(store, diff_id, method)? {
        Some(kept) => kept,
        None => compress(plan, layer, method)?,
    };
    let mut after = layer.clone();
    after.media_type = match method {
        Method::Gzip => media_type::OCI_LAYER_GZIP,
        Method::Zstd => media_type::OCI_LAYER_ZSTD,
    }
    .to_owned();
    (after.digest, after.size) = (digest, size);
    Ok(after)
}

/// A copy of a layer that is here and compressed so.
fn kept(
    store: &Store,
    diff_id: &Digest,
    method: Method,
) -> Result<Option<(Digest, u64)>, PushError> {
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

fn compress(
    plan: &Plan<'_>,
    layer: &Descriptor,
    method: Method,
) -> Result<(Digest, u64), PushError> {
    let store = plan.remote.images.store;
    let diff_id = &layer.digest;
    plan.remote.progress.step(short(diff_id), "Compressing");
    let input = store.blobs().open(diff_id)?;
    let output = store.blobs().temporary()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let job = Job::Compress { size: layer.size, method, threads };
    let descriptors = [input.as_fd(), output.as_fd()];
    let answer = worker::run(plan.remote.images.worker, &job, &descriptors)
        .map_err(|source| PushError::Compress { diff_id: diff_id.clone(), source })?;
    let Answer::Compressed(report) = answer else { return Err(PushError::Answer) };
    if report.diff_id != *diff_id {
        let actual = report.diff_id;
        return Err(PushError::Damaged { diff_id: diff_id.clone(), actual });
    }
    plan.lease.add(&report.digest)?;
    store.blobs().commit_file(&output, &report.digest)?;
    store.learn(&report.digest, report.size, Some(diff_id), None)?;
    Ok((report.digest, report.size))
}
