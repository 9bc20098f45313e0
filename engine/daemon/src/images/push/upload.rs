//! Blobs to a repository, several at once.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hull_oci::{Descriptor, Reference};
use hull_store::ReadError;
use hull_transfer::FailureKind;

use super::PushError;
use super::plan::{Part, Plan};
use crate::images::RemoteError;
use crate::images::pull::keep_blob;
use crate::images::remote::{Remote, short};

/// How many blobs are sent at once.
const UPLOADS: usize = 5;

/// Other repositories that are asked for a blob before it is sent.
const MOUNTS: usize = 3;

/// Sends every blob of a plan that the repository does not have. The first failure ends all.
pub(super) fn all(
    remote: Remote<'_>,
    reference: &Reference,
    plan: &Plan<'_>,
) -> Result<(), PushError> {
    let layers = plan.parts.iter().filter(|part| part.is_layer);
    layers.for_each(|part| remote.progress.step(id(part), "Preparing"));
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..UPLOADS.min(plan.parts.len()) {
            scope.spawn(|| {
                while !remote.stop.is_stopped() {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(part) = plan.parts.get(place) else { break };
                    if let Err(error) = (Upload { remote, reference, plan, part }).run() {
                        let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                        remote.stop.stop();
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None if remote.stop.is_stopped() => Err(RemoteError::Stopped.into()),
        None => Ok(()),
    }
}

fn id(part: &Part) -> &str {
    short(part.diff_id.as_ref().unwrap_or(&part.descriptor.digest))
}

struct Upload<'a> {
    remote: Remote<'a>,
    reference: &'a Reference,
    plan: &'a Plan<'a>,
    part: &'a Part,
}

impl Upload<'_> {
    fn run(&self) -> Result<(), PushError> {
        let Descriptor { digest, size, .. } = &self.part.descriptor;
        let store = self.remote.images.store;
        if !self.part.descriptor.urls.is_empty() {
            self.step("Skipped foreign layer");
            return Ok(());
        }
        let transfer = self.remote.transfer;
        let there = transfer.exists(self.reference, digest).map_err(|e| self.remote.failed(e))?;
        if there {
            self.step("Layer already exists");
        } else {
            let origins = self.origins()?;
            if let Some(origin) = self.mounted(&origins)? {
                self.step(&format!("Mounted from {}", origin.repository()));
            } else {
                self.send(&origins)?;
                self.step("Pushed");
            }
        }
        store.blobs().used(digest)?;
        Ok(store.learn(digest, *size, self.part.diff_id.as_ref(), Some(self.reference))?)
    }

    fn step(&self, status: &str) {
        if self.part.is_layer {
            self.remote.progress.step(id(self.part), status);
        }
    }

    /// Repositories that are known to have the blob.
    fn origins(&self) -> Result<Vec<Reference>, PushError> {
        let known = self.remote.images.store.provenance(&self.part.descriptor.digest)?;
        let mut origins = known.map(|known| known.origins).unwrap_or_default();
        if let Some(origin) = &self.plan.origin
            && !origins.contains(origin)
        {
            origins.push(origin.clone());
        }
        let own = self.reference.without_tag_and_digest();
        origins.retain(|origin| *origin != own);
        Ok(origins)
    }

    /// The repository the blob was mounted from, if one could be.
    fn mounted(&self, origins: &[Reference]) -> Result<Option<Reference>, PushError> {
        let registry = self.reference.registry();
        let near = origins.iter().filter(|origin| origin.registry() == registry).take(MOUNTS);
        for origin in near {
            let digest = &self.part.descriptor.digest;
            match self.remote.transfer.mount(self.reference, origin, digest) {
                Ok(true) => return Ok(Some(origin.clone())),
                Ok(false) => {}
                // Gone there, or nothing we may see: it is sent then.
                Err(error)
                    if matches!(
                        error.kind(),
                        FailureKind::NotFound
                            | FailureKind::Denied
                            | FailureKind::Unauthorized
                            | FailureKind::Unsupported
                    ) => {}
                Err(error) => return Err(self.remote.failed(error).into()),
            }
        }
        Ok(None)
    }

    fn send(&self, origins: &[Reference]) -> Result<(), PushError> {
        let Descriptor { digest, size, .. } = &self.part.descriptor;
        let blobs = self.remote.images.store.blobs();
        let file = match blobs.open(digest) {
            Ok(file) => file,
            Err(ReadError::NotFound(_)) => {
                self.fetch_again(origins)?;
                blobs.open(digest)?
            }
            Err(error) => return Err(error.into()),
        };
        let id = id(self.part);
        let mut count = |bytes| {
            if self.part.is_layer {
                self.remote.progress.count(id, "Pushing", bytes, *size);
            }
        };
        let sent = self.remote.transfer.upload(
            self.reference,
            &self.part.descriptor,
            file.as_fd(),
            &mut count,
        );
        Ok(sent.map_err(|error| self.remote.failed(error))?)
    }

    /// Fetches a copy that is not kept any more from where it came from.
    fn fetch_again(&self, origins: &[Reference]) -> Result<(), PushError> {
        let mut last = None;
        for origin in origins {
            self.step("Fetching again");
            match keep_blob(self.remote, origin, &self.part.descriptor) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(Box::new(error)),
            }
        }
        let digest = self.part.descriptor.digest.clone();
        match last {
            Some(source) => Err(PushError::Again { digest, source }),
            None => Err(PushError::NotKept { digest }),
        }
    }
}
