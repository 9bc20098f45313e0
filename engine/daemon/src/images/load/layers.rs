//! Reading layers: one worker per layer, as many at once as there are processors.
//!
//! Nothing is visible until every layer of a load was read and compared with what was promised:
//! prepared layers and copies are files that vanish when they are dropped.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use hull_oci::{Algorithm, Digest};
use hull_store::{LayerIngest, LayerMode, LayerReport, Store};
use hull_worker::job::{Answer, Job};

use super::LoadError;
use super::archive::{Archive, Range};
use super::plan::PlannedLayer;
use crate::images::worker;

/// What reading a layer came to.
#[derive(Debug)]
pub(super) struct ReadLayer<'s> {
    /// The layer, unless it is in the store.
    pub(super) layer: Option<(LayerIngest<'s>, LayerReport)>,
    /// Its bytes as they came, unless they are kept otherwise.
    pub(super) copy: Option<(File, Digest)>,
}

/// Reads what is not in the store yet. `progress` hears of each layer twice: at its beginning
/// and, with `true`, at its end.
pub(super) fn read<'s>(
    store: &'s Store,
    worker: &Path,
    archive: &Archive,
    layers: &[&PlannedLayer],
    progress: &mut dyn FnMut(&PlannedLayer, bool),
) -> Result<Vec<ReadLayer<'s>>, LoadError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results = Mutex::new(Vec::new());
    let (sender, events) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                while !failed.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(layer) = layers.get(place) else { break };
                    tell(&sender, place, false);
                    let result = read_one(store, worker, archive, layer);
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(result);
                    tell(&sender, place, true);
                }
            });
        }
        drop(sender);
        for (place, done) in events {
            progress(layers[place], done);
        }
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().collect()
}

fn tell(events: &mpsc::Sender<(usize, bool)>, place: usize, done: bool) {
    events.send((place, done)).expect("the receiver outlives the threads");
}

fn read_one<'s>(
    store: &'s Store,
    worker: &Path,
    archive: &Archive,
    layer: &PlannedLayer,
) -> Result<ReadLayer<'s>, LoadError> {
    let mut read = ReadLayer { layer: None, copy: None };
    let Some(range) = layer.range else { return Ok(read) };
    let known = store.layers().contains(&layer.diff_id)?;
    // Of a layer that is here, the same content compressed in another way is kept too: the
    // manifest speaks of it. That it is the same content must be seen, not believed.
    let bytes_known = match &layer.descriptor {
        Some(descriptor) => store.blobs().contains(&descriptor.digest)?,
        None => true,
    };
    if known && bytes_known {
        return Ok(read);
    }
    let ingest = store.layers().prepare()?;
    let report = read_layer(&ingest, worker, archive, layer, range)?;
    let as_it_came = ingest.mode() == LayerMode::Unpack || report.digest != report.diff_id;
    if as_it_came && !store.blobs().contains(&report.digest)? {
        read.copy = Some((copy(store, archive, range)?, report.digest.clone()));
    }
    if !known {
        read.layer = Some((ingest, report));
    }
    Ok(read)
}

/// Has a worker read the layer and compares what it found with what was promised.
fn read_layer(
    ingest: &LayerIngest<'_>,
    worker: &Path,
    archive: &Archive,
    layer: &PlannedLayer,
    range: Range,
) -> Result<LayerReport, LoadError> {
    let job = Job::Layer {
        range: Some((range.offset, range.size)),
        mode: ingest.mode(),
        algorithm: layer
            .descriptor
            .as_ref()
            .map_or(Algorithm::Sha256, |descriptor| descriptor.digest.algorithm()),
        limits: worker::limits(range.size),
    };
    let outputs: Vec<OwnedFd> = ingest.descriptors_for(range.size)?;
    let descriptors: Vec<BorrowedFd<'_>> =
        std::iter::once(archive.spool.as_fd()).chain(outputs.iter().map(AsFd::as_fd)).collect();
    let answer = worker::run(worker, &job, &descriptors)
        .map_err(|source| LoadError::Layer { diff_id: layer.diff_id.clone(), source })?;
    let Answer::Layer(report) = answer else { return Err(LoadError::Answer) };
    if let Some(descriptor) = &layer.descriptor
        && (descriptor.digest != report.digest || descriptor.size != report.size)
    {
        let expected = descriptor.digest.clone();
        return Err(LoadError::DigestMismatch { expected, actual: report.digest });
    }
    if report.diff_id != layer.diff_id {
        let (expected, actual) = (layer.diff_id.clone(), report.diff_id);
        return Err(LoadError::DiffIdMismatch { expected, actual });
    }
    Ok(report)
}

/// Copies a piece of the spool that a worker has hashed.
fn copy(store: &Store, archive: &Archive, range: Range) -> Result<File, LoadError> {
    let file = store.blobs().temporary()?;
    let (mut offset, end) = (range.offset, range.offset + range.size);
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX).min(1 << 30);
        let count =
            rustix::fs::copy_file_range(&archive.spool, Some(&mut offset), &file, None, left)
                .map_err(|error| LoadError::Copy(error.into()))?;
        if count == 0 {
            return Err(LoadError::Spool(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(file)
}
