//! One layer: from the registry, or from what arrived before, through a worker into the store.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use hull_oci::{Descriptor, Digest, Reference};
use hull_store::{LayerIngest, LayerMode, LayerReport, Lease, Partial};
use hull_transfer::{BlobOutputs, FailureKind, TransferError};
use hull_worker::client::{Worker, WorkerError};
use hull_worker::job::{Answer, Job};

use super::PullError;
use crate::images::RemoteError;
use crate::images::remote::{Remote, short};
use crate::images::worker;
use crate::slots::{Slot, Slots};

/// Bytes between the process that receives and the one that inflates.
const PIPE: usize = 1 << 20;

/// How often it is looked whether somebody else is done with a layer.
const LOOK: Duration = Duration::from_millis(50);

/// A layer to be brought.
pub(super) struct Fetch<'a> {
    pub(super) remote: Remote<'a>,
    pub(super) reference: &'a Reference,
    pub(super) descriptor: &'a Descriptor,
    /// Its diffID, if the image config is known.
    pub(super) expected: Option<&'a Digest>,
    pub(super) lease: &'a Lease<'a>,
    /// Places to inflate.
    pub(super) slots: &'a Slots,
}

/// What has to be known before a layer may be published.
struct Read<'a> {
    ingest: LayerIngest<'a>,
    report: LayerReport,
}

impl<'a> Fetch<'a> {
    /// The diffID of the layer, if it is here.
    pub(super) fn present(&self) -> Result<Option<Digest>, PullError> {
        let store = self.remote.images.store;
        let digest = &self.descriptor.digest;
        let mut found = None;
        if let Some(expected) = self.expected
            && store.layers().contains(expected)?
        {
            found = Some(expected.clone());
        } else if let Some(diff_id) = store.layer_of(digest)? {
            self.lease.add(&diff_id)?;
            self.check_diff_id(&diff_id)?;
            // Behind the lease it stays.
            found = store.layers().contains(&diff_id)?.then_some(diff_id);
        }
        if found.is_some() {
            self.learn(None)?;
        }
        Ok(found)
    }

    /// Brings the layer; returns its diffID.
    pub(super) fn run(&self) -> Result<Digest, PullError> {
        let id = short(&self.descriptor.digest);
        let mut waits = false;
        loop {
            if let Some(diff_id) = self.present()? {
                self.remote.progress.step(id, "Pull complete");
                return Ok(diff_id);
            }
            if self.remote.stop.is_stopped() {
                return Err(RemoteError::Stopped.into());
            }
            let blobs = self.remote.images.store.blobs();
            let Some(partial) = blobs.try_partial(&self.descriptor.digest)? else {
                if !waits {
                    self.remote.progress.step(id, "Waiting");
                    waits = true;
                }
                std::thread::sleep(LOOK);
                continue;
            };
            // Who had it until now may have finished it.
            if let Some(diff_id) = self.present()? {
                self.remote.progress.step(id, "Pull complete");
                return Ok(diff_id);
            }
            return self.bring(partial);
        }
    }

    fn bring(&self, partial: Partial<'a>) -> Result<Digest, PullError> {
        let id = short(&self.descriptor.digest);
        let (partial, read) = match self.read_kept()? {
            Some(read) => (None, read),
            None => {
                let read = self.read_arriving(&partial);
                let unusable = |error: &PullError| {
                    use hull_worker::job::FailureKind::{Invalid, TooLarge};
                    matches!(
                        error,
                        PullError::Mismatch { .. }
                            | PullError::DiffId { .. }
                            | PullError::Layer {
                                source: WorkerError::Failed { kind: Invalid | TooLarge, .. },
                                ..
                            }
                    )
                };
                match read {
                    Ok(read) => (Some(partial), read),
                    Err(error) => {
                        let said_invalid = matches!(&error, PullError::Remote(remote)
                            if remote.failure() == Some(FailureKind::Invalid));
                        if unusable(&error) || said_invalid {
                            partial.discard()?;
                        }
                        return Err(error);
                    }
                }
            }
        };
        let diff_id = self.publish(partial, read)?;
        self.remote.progress.step(id, "Pull complete");
        Ok(diff_id)
    }

    /// Reads the layer from its compressed copy, if there is one without the layer itself.
    fn read_kept(&self) -> Result<Option<Read<'a>>, PullError> {
        let blobs = self.remote.images.store.blobs();
        let digest = &self.descriptor.digest;
        if blobs.stat(digest)? != Some(self.descriptor.size) {
            return Ok(None);
        }
        let file = blobs.open(digest)?;
        let _slot = self.slots.take();
        self.remote.progress.step(short(digest), "Extracting");
        match self.verified(self.read_file(file.as_fd())?) {
            Ok(read) => Ok(Some(read)),
            // A fault of the disk: `check` names it.
            Err(PullError::Mismatch { actual, .. }) => {
                tracing::warn!(%digest, %actual, "a compressed copy is damaged");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read_arriving(&self, partial: &Partial<'_>) -> Result<Read<'a>, PullError> {
        let had = self.begun(partial)?;
        let read = self.receive(partial, had).and_then(|read| self.verified(read));
        match read {
            // A machine that lost its power may have left anything in what arrived before.
            Err(PullError::Mismatch { .. }) if had > 0 => {
                tracing::info!(digest = %self.descriptor.digest, "begun anew: what was kept of it was damaged");
                partial.restart()?;
                self.verified(self.receive(partial, 0)?)
            }
            // The same, noticed by who inflates it.
            Err(PullError::Layer { .. }) if had > 0 && !self.remote.stop.is_stopped() => {
                partial.restart()?;
                self.verified(self.receive(partial, 0)?)
            }
            read => read,
        }
    }

    /// How much has arrived. More than there can be is not of this blob.
    fn begun(&self, partial: &Partial<'_>) -> Result<u64, PullError> {
        let length = partial.len()?;
        if length > self.descriptor.size {
            partial.restart()?;
            return Ok(0);
        }
        Ok(length)
    }

    fn receive(&self, partial: &Partial<'_>, had: u64) -> Result<Read<'a>, PullError> {
        if had < self.descriptor.size {
            if let Some(slot) = self.slots.try_take() {
                return self.receive_through_worker(partial, had, slot);
            }
            // Every processor inflates already: fetch ahead.
            let outputs = BlobOutputs { ingest: partial.file().as_fd(), have: had, pipe: None };
            self.transfer(outputs).map_err(|error| self.remote_error(error))?;
            self.remote.progress.step(short(&self.descriptor.digest), "Download complete");
        }
        let _slot = self.slots.take();
        self.remote.progress.step(short(&self.descriptor.digest), "Extracting");
        self.read_file(partial.file().as_fd())
    }

    /// One pass: what arrives goes into the file and through the worker.
    fn receive_through_worker(
        &self,
        partial: &Partial<'_>,
        had: u64,
        _slot: Slot<'_>,
    ) -> Result<Read<'a>, PullError> {
        let ingest = self.remote.images.store.layers().prepare()?;
        let (reader, writer) = std::io::pipe().map_err(PullError::Pipe)?;
        // A small pipe only means more waits.
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE);
        let worker = self.spawn(&ingest, None, reader.as_fd())?;
        drop(reader);
        let outputs = BlobOutputs {
            ingest: partial.file().as_fd(),
            have: had,
            pipe: Some(OwnedFd::from(writer)),
        };
        let sent = self.transfer(outputs);
        if sent.is_ok() {
            let id = short(&self.descriptor.digest);
            self.remote.progress.step(id, "Download complete");
            self.remote.progress.step(id, "Extracting");
            // The copy goes to the disk while the rest is inflated; that it is there, and what went
            // wrong if not, is seen when it becomes a blob.
            let _ = partial.file().sync_data();
        }
        let answer = worker.answer();
        match (sent, answer) {
            (Ok(()), answer) => Ok(Read { ingest, report: self.report(answer)? }),
            // Who has seen enough reads no further: that is the cause.
            (Err(error), Err(source @ WorkerError::Failed { .. })) if lost_its_reader(&error) => {
                Err(self.layer_error(source))
            }
            (Err(error), _) => Err(self.remote_error(error)),
        }
    }

    fn transfer(&self, outputs: BlobOutputs<'_>) -> Result<(), TransferError> {
        let id = short(&self.descriptor.digest);
        let total = self.descriptor.size;
        let mut count = |bytes| self.remote.progress.count(id, "Downloading", bytes, total);
        self.remote.transfer.blob(self.reference, self.descriptor, outputs, &mut count)
    }

    fn read_file(&self, file: BorrowedFd<'_>) -> Result<Read<'a>, PullError> {
        let ingest = self.remote.images.store.layers().prepare()?;
        let worker = self.spawn(&ingest, Some((0, self.descriptor.size)), file)?;
        let report = self.report(worker.answer())?;
        Ok(Read { ingest, report })
    }

    fn spawn(
        &self,
        ingest: &LayerIngest<'_>,
        range: Option<(u64, u64)>,
        input: BorrowedFd<'_>,
    ) -> Result<Worker, PullError> {
        let limits = worker::limits(self.descriptor.size);
        let algorithm = self.descriptor.digest.algorithm();
        let job = Job::Layer { range, mode: ingest.mode(), algorithm, limits };
        let outputs: Vec<OwnedFd> = ingest.descriptors_for(self.descriptor.size)?;
        let all: Vec<BorrowedFd<'_>> =
            std::iter::once(input).chain(outputs.iter().map(AsFd::as_fd)).collect();
        Worker::spawn(self.remote.images.worker, &job, &all)
            .map_err(|source| self.layer_error(source))
    }

    fn report(&self, answer: Result<Answer, WorkerError>) -> Result<LayerReport, PullError> {
        match answer.map_err(|source| self.layer_error(source))? {
            Answer::Layer(report) => Ok(report),
            _ => Err(PullError::Answer),
        }
    }

    /// Compares what a worker found with what was promised.
    fn verified(&self, read: Read<'a>) -> Result<Read<'a>, PullError> {
        let LayerReport { digest, size, diff_id, .. } = &read.report;
        if *digest != self.descriptor.digest || *size != self.descriptor.size {
            let (expected, actual) = (self.descriptor.digest.clone(), digest.clone());
            return Err(PullError::Mismatch { expected, actual, bytes: *size });
        }
        self.check_diff_id(diff_id)?;
        Ok(read)
    }

    fn check_diff_id(&self, actual: &Digest) -> Result<(), PullError> {
        match self.expected {
            Some(expected) if expected != actual => Err(PullError::DiffId {
                digest: self.descriptor.digest.clone(),
                expected: expected.clone(),
                actual: actual.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes the layer and its compressed copy visible. Nothing refers to them yet but the lease.
    fn publish(&self, partial: Option<Partial<'_>>, read: Read<'a>) -> Result<Digest, PullError> {
        let Read { ingest, report } = read;
        let store = self.remote.images.store;
        let diff_id = report.diff_id.clone();
        self.lease.add(&diff_id)?;
        let differs = ingest.mode() == LayerMode::Unpack || report.digest != diff_id;
        store.layers().publish(ingest, report)?;
        match partial {
            Some(partial) if differs => drop(partial.commit()?),
            // Of a plain tar in erofs mode the layer itself holds the bytes.
            Some(partial) => partial.discard()?,
            None => {}
        }
        self.learn(Some(&diff_id))?;
        Ok(diff_id)
    }

    fn learn(&self, diff_id: Option<&Digest>) -> Result<(), PullError> {
        let Descriptor { digest, size, .. } = self.descriptor;
        Ok(self.remote.images.store.learn(digest, *size, diff_id, Some(self.reference))?)
    }

    fn layer_error(&self, source: WorkerError) -> PullError {
        PullError::Layer { digest: self.descriptor.digest.clone(), source }
    }

    fn remote_error(&self, error: TransferError) -> PullError {
        let url = self.descriptor.urls.first();
        match url {
            Some(url) if error.kind() == FailureKind::NotFound => {
                let (digest, url) = (self.descriptor.digest.clone(), url.clone());
                PullError::Foreign { digest, url }
            }
            _ => self.remote.failed(error).into(),
        }
    }
}

/// Whether a transfer failed because nobody read the pipe any more.
fn lost_its_reader(error: &TransferError) -> bool {
    matches!(error, TransferError::Failed(failure)
        if failure.kind == FailureKind::Internal && failure.message.contains("hand on"))
}

/// Brings a blob as it is. Somebody else who brings it is waited for.
pub(in crate::images) fn keep_blob(
    remote: Remote<'_>,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<(), PullError> {
    let Descriptor { digest, size, .. } = descriptor;
    let store = remote.images.store;
    let id = short(digest);
    let mut waits = false;
    let partial = loop {
        if remote.stop.is_stopped() {
            return Err(RemoteError::Stopped.into());
        }
        if let Some(partial) = store.blobs().try_partial(digest)? {
            break partial;
        }
        if !waits {
            remote.progress.step(id, "Waiting");
            waits = true;
        }
        std::thread::sleep(LOOK);
    };
    if store.blobs().contains(digest)? {
        return Ok(());
    }
    if partial.len()? > *size {
        partial.restart()?;
    }
    loop {
        let have = partial.len()?;
        let outputs = BlobOutputs { ingest: partial.file().as_fd(), have, pipe: None };
        let mut count = |bytes| remote.progress.count(id, "Downloading", bytes, *size);
        match remote.transfer.blob(reference, descriptor, outputs, &mut count) {
            Ok(()) => break,
            // What was kept of it was damaged.
            Err(error) if error.kind() == FailureKind::Invalid && have > 0 => partial.restart()?,
            Err(error) => {
                if error.kind() == FailureKind::Invalid {
                    partial.discard()?;
                }
                return Err(remote.failed(error).into());
            }
        }
    }
    partial.commit()?;
    store.learn(digest, *size, None, Some(reference))?;
    Ok(())
}
