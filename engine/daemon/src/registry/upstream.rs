//! Other registries, for a server that fetches from them: by `hull-transfer`, one process for each
//! registry, started when it is needed.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hull_oci::{Descriptor, Reference};
use hull_registry::auth::{Credentials, Secret};
use hull_registry::server::config::Mirror;
use hull_registry::server::upstream::{Upstream, UpstreamError};
use hull_transfer::{BlobOutputs, FailureKind, Session, Transfer, TransferError};

use crate::error::{ApiError, chain};
use crate::images;

/// Processes that reach other registries.
#[derive(Debug)]
pub(super) struct Transfers {
    program: PathBuf,
    credentials: HashMap<String, Credentials>,
    running: Mutex<HashMap<String, Arc<Transfer>>>,
}

impl Transfers {
    /// Starts nothing yet.
    pub(super) fn new(program: PathBuf, mirrors: &[Mirror]) -> Result<Self, ApiError> {
        let mut credentials = HashMap::new();
        for mirror in mirrors {
            let Some((username, file)) = &mirror.login else { continue };
            let password = std::fs::read_to_string(file).map_err(|error| {
                ApiError::chain(hull_api::ErrorKind::Invalid, &error)
                    .context(&format!("cannot read {}", file.display()))
            })?;
            let password = Secret::new(password.trim_end_matches(['\r', '\n']));
            let login = Credentials::Basic { username: username.clone(), password };
            credentials.insert(mirror.upstream.clone(), login);
        }
        Ok(Self { program, credentials, running: Mutex::default() })
    }

    /// Asks the process that speaks to the registry of `reference`. One that has died is started
    /// again.
    fn ask<T>(
        &self,
        reference: &Reference,
        mut question: impl FnMut(&Transfer) -> Result<T, TransferError>,
    ) -> Result<T, UpstreamError> {
        let registry = reference.registry();
        let mut again = true;
        loop {
            let transfer = self.running(registry)?;
            match question(&transfer) {
                Ok(answer) => return Ok(answer),
                Err(error @ TransferError::Died { .. }) => {
                    self.forget(registry, &transfer);
                    if !again {
                        return Err(failed(&error));
                    }
                    again = false;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    fn running(&self, registry: &str) -> Result<Arc<Transfer>, UpstreamError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(transfer) = running.get(registry) {
            return Ok(Arc::clone(transfer));
        }
        let registries = images::registries();
        let registries =
            registries.map_err(|error| UpstreamError::Failed(error.message.clone()))?;
        let mut session = Session::new(registries);
        if let Some(credentials) = self.credentials.get(registry) {
            session = session.credentials(registry, credentials.clone());
        }
        let transfer = Transfer::spawn(&self.program, &session).map_err(|error| failed(&error))?;
        let transfer = Arc::new(transfer);
        running.insert(registry.to_owned(), Arc::clone(&transfer));
        Ok(transfer)
    }

    fn forget(&self, registry: &str, transfer: &Arc<Transfer>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(registry).is_some_and(|known| Arc::ptr_eq(known, transfer)) {
            running.remove(registry);
        }
    }
}

fn failed(error: &TransferError) -> UpstreamError {
    match error.kind() {
        // Registries tell who may not see a repository that it is not there, or the other way.
        FailureKind::NotFound | FailureKind::Unauthorized | FailureKind::Denied => {
            UpstreamError::Unknown
        }
        _ => UpstreamError::Failed(chain(error)),
    }
}

impl Upstream for Transfers {
    fn resolve(&self, reference: &Reference) -> Result<Descriptor, UpstreamError> {
        self.ask(reference, |transfer| transfer.resolve(reference))
    }

    fn manifest(&self, reference: &Reference) -> Result<Vec<u8>, UpstreamError> {
        self.ask(reference, |transfer| Ok(transfer.manifest(reference)?.bytes))
    }

    fn blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        into: BorrowedFd<'_>,
        had: u64,
    ) -> Result<(), UpstreamError> {
        self.ask(repository, |transfer| {
            let outputs = BlobOutputs { ingest: into, have: had, pipe: None };
            transfer.blob(repository, blob, outputs, &mut |_| {})
        })
    }
}
