//! Removing containers.

use super::control::end;
use super::list::status_word;
use super::stored::{Container, is_running, state_of};
use super::wait::run_directory;
use crate::error::ApiError;
use crate::events;
use crate::http::{Query, Response, json, status};
use crate::service::{Engine, Service};
use hull_api::ContainersPruneResponse;
use hull_events::Kind;
use hull_shim::recover::{remove_run_directory, try_lock, unlock};
use hull_shim::state::ContainerState;
use hull_store::{RemoveVolumeError, Store};
use hyper::StatusCode;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a shim may take to clean up after its container.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);

/// `DELETE /containers/{id}`.
pub(crate) async fn delete(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    if query.flag("link") {
        return Err(ApiError::invalid("links are not available in this release"));
    }
    let (volumes, force) = (query.flag("v"), query.flag("force"));
    let shown = text.to_owned();
    let (id, running) = service
        .run(move |engine| {
            let (container, state) = Container::find_with_state(engine.store()?, &shown)?;
            let running = is_running(state.as_ref());
            if running && !force {
                return Err(still_running(&container.record.name, state.as_ref()));
            }
            Ok((container.record.id, running))
        })
        .await?;
    if running {
        end(service, &id).await?;
    }
    let own = id.clone();
    service
        .run_long(move |engine| {
            let store = engine.store()?;
            // One that was to remove itself is gone by now.
            match Container::find(store, &own) {
                Ok(container) => remove(engine, store, &container, volumes),
                Err(error) if error.kind == hull_api::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await?;
    service.engine().live().forget(&id);
    Ok(status(StatusCode::NO_CONTENT))
}

fn still_running(name: &str, state: Option<&ContainerState>) -> ApiError {
    let word = status_word(state);
    ApiError::conflict(match word {
        "paused" => {
            format!(
                "cannot remove container \"{name}\": container is {word} and must be unpaused first"
            )
        }
        _ => format!(
            "cannot remove container \"{name}\": container is {word}: stop the container before \
             removing or force remove"
        ),
    })
}

/// Removes a container that does not run, and with `volumes` its anonymous volumes.
///
/// # Errors
/// `Precondition` if it runs; those of the store.
pub(crate) fn remove(
    engine: &Engine,
    store: &Store,
    container: &Container,
    volumes: bool,
) -> Result<(), ApiError> {
    let id = &container.record.id;
    let run = run_directory(engine, id)?;
    let failed = |error: std::io::Error| {
        ApiError::internal(&error).context(&format!("cannot remove container {id}"))
    };
    let lock = match run.as_ref().map(|run| lock(store, container, run)) {
        None => None,
        Some(Ok(lock)) => Some(lock),
        // Its shim cleaned up meanwhile: there is nothing left to keep others from.
        Some(Err(LockError::Io(error))) if error.kind() == std::io::ErrorKind::NotFound => None,
        Some(Err(LockError::Io(error))) => return Err(failed(error)),
        Some(Err(LockError::Refused(error))) => return Err(error),
    };
    store.remove_container(id)?;
    engine.happened(&events::container(container, "destroy"));
    if let Some(run) = &run {
        unlock(run.as_fd()).and_then(|()| remove_run_directory(run.as_fd(), id)).map_err(failed)?;
    }
    drop(lock);
    if volumes || container.stored.host.auto_remove {
        for volume in &container.stored.anonymous {
            match store.remove_unused_volume(volume) {
                Ok(true) => engine.happened(&events::volume(volume, "destroy")),
                // Another container mounts it by its name.
                Ok(false) | Err(RemoveVolumeError::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

enum LockError {
    Io(std::io::Error),
    Refused(ApiError),
}

/// Takes the lock of a container's shim: nobody can start it while we hold it. A shim that has
/// told the exit holds it a little longer, while it cleans up.
fn lock(store: &Store, container: &Container, run: &OwnedFd) -> Result<OwnedFd, LockError> {
    let id = &container.record.id;
    let deadline = Instant::now() + CLEANUP_TIMEOUT;
    loop {
        if let Some(lock) = try_lock(run.as_fd()).map_err(LockError::Io)? {
            return Ok(lock);
        }
        let state = state_of(store, id).map_err(LockError::Refused)?.flatten();
        if is_running(state.as_ref()) || Instant::now() > deadline {
            return Err(LockError::Refused(still_running(&container.record.name, state.as_ref())));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `POST /containers/prune`.
pub(crate) async fn prune(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let filters = query.filters()?;
    filters.only(&["until", "label", "label!"])?;
    let until = super::time::until(&filters)?;
    let pruned = service
        .run_long(move |engine| {
            let store = engine.store()?;
            let mut pruned = ContainersPruneResponse::default();
            let sizes = store.usage()?.writable;
            for record in store.containers()? {
                let Ok(container) = Container::new(record) else { continue };
                let created = super::time::parse(&container.record.created)?;
                let wanted = filters.labels("label", &container.stored.config.labels)
                    && until.is_none_or(|until| created < until);
                let id = &container.record.id;
                let Some(state) = state_of(store, id)? else { continue };
                if !wanted || is_running(state.as_ref()) {
                    continue;
                }
                match remove(engine, store, &container, false) {
                    Ok(()) => {
                        pruned.space_reclaimed += sizes.get(id).copied().unwrap_or_default();
                        pruned.containers_deleted.push(id.clone());
                    }
                    // Started since it was looked at.
                    Err(error) if error.kind == hull_api::ErrorKind::Precondition => {}
                    Err(error) => return Err(error),
                }
                engine.live().forget(id);
            }
            engine.happened(&events::pruned(Kind::Container, pruned.space_reclaimed));
            Ok(pruned)
        })
        .await?;
    json(&pruned)
}
