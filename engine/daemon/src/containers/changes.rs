//! What a container changed, and its whole file system: `diff`, `export`.

use std::os::fd::OwnedFd;

use hull_store::Store;
use hull_worker::job::Job;

use super::stored::Container;
use crate::error::ApiError;
use crate::events;
use crate::http::Response;
use crate::service::Service;
use crate::worker_stream::{Writing, respond};

/// Where the engine makes something in a container's own directory to mount on; not a change.
const STUBS: [&str; 6] =
    ["/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// The same for a job.
pub(crate) fn stubs() -> Vec<String> {
    STUBS.map(str::to_owned).to_vec()
}

/// A container's own directory, and a view of its image.
pub(crate) fn upper_and_lower(
    store: &Store,
    container: &Container,
) -> Result<[OwnedFd; 2], ApiError> {
    let record = &container.record;
    let upper = store.snapshots().upper(&record.id)?.upper;
    let lower = store.snapshots().view(&record.layers, None)?;
    Ok([upper, lower])
}

/// `GET /containers/{id}/changes`.
pub(crate) async fn changes(service: &Service, text: &str) -> Result<Response, ApiError> {
    let text = text.to_owned();
    let prepared = respond(service, "application/json", move |engine| {
        let store = engine.store()?;
        let container = Container::find(store, &text)?;
        let descriptors = upper_and_lower(store, &container)?.into();
        Ok((Writing::last(Job::Changes { stubs: stubs() }, descriptors), ()))
    });
    Ok(prepared.await?.0)
}

/// `GET /containers/{id}/export`: volumes are not in it, as Docker has it.
pub(crate) async fn export(service: &Service, text: &str) -> Result<Response, ApiError> {
    let text = text.to_owned();
    let prepared = respond(service, "application/octet-stream", move |engine| {
        let store = engine.store()?;
        let container = Container::find(store, &text)?;
        let record = &container.record;
        engine.happened(&events::container(&container, "export"));
        let upper = store.snapshots().upper(&record.id)?.upper;
        let view =
            store.snapshots().view(&record.layers, Some(std::os::fd::AsFd::as_fd(&upper)))?;
        Ok((Writing::last(Job::PackTree, vec![view]), ()))
    });
    Ok(prepared.await?.0)
}
