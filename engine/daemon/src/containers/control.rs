//! Signals, pauses, terminal sizes, names, and the end of a container.

use super::start::exit_of;
use super::stored::{Container, is_running, state_of};
use super::wait::run_directory;
use super::{name, signal};
use crate::error::ApiError;
use crate::events;
use crate::http::{Query, Response, status};
use crate::service::{Engine, Service};
use hull_events::Event;
use hull_sandbox::Cgroup;
use hull_shim::client::{ControlError, ExitWaiter, Shim};
use hull_shim::protocol::FailureKind;
use hull_store::{CreateContainerError, UpdateError};
use hyper::StatusCode;
use std::os::fd::AsFd;
use std::time::Duration;

const STOP_TIMEOUT: i64 = 10;

/// How long a container that was killed may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a container is to be ended.
#[derive(Debug, Clone, Copy)]
struct End {
    /// The container's own stop signal where absent.
    signal: Option<i32>,
    /// Seconds until SIGKILL, the container's own where absent; negative waits for ever.
    timeout: Option<i64>,
    /// It stays even if it was to remove itself.
    keep: bool,
}

impl End {
    fn from_query(query: &Query, keep: bool) -> Result<Self, ApiError> {
        let signal = query.get("signal").map(signal::parse).transpose()?;
        Ok(Self { signal, timeout: query.number("t")?, keep })
    }
}

/// `POST /containers/{id}/stop`: the stop signal, then, after the timeout, SIGKILL.
pub(crate) async fn stop(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let stopped = stop_as(service, text, End::from_query(query, false)?).await?;
    Ok(status(if stopped { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED }))
}

/// `POST /containers/{id}/restart`.
pub(crate) async fn restart(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    stop_as(service, text, End::from_query(query, true)?).await?;
    super::start::start(service, text).await?;
    let text = text.to_owned();
    service
        .run(move |engine| {
            let container = Container::find(engine.store()?, &text)?;
            engine.happened(&events::container(&container, "restart"));
            Ok(())
        })
        .await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// Ends a container; false if it does not run.
async fn stop_as(service: &Service, text: &str, wish: End) -> Result<bool, ApiError> {
    let text = text.to_owned();
    let begun = service.run(move |engine| {
        let (container, state) = Container::find_with_state(engine.store()?, &text)?;
        if !is_running(state.as_ref()) {
            return Ok(None);
        }
        let default = stop_signal(&container)?;
        let timeout = wish.timeout.or(container.stored.config.stop_timeout).unwrap_or(STOP_TIMEOUT);
        let signal = wish.signal.unwrap_or(default);
        let waiter = stop_and_wait(engine, &container.record.id, signal, wish.keep)?;
        if waiter.is_some() {
            engine.happened(&killed(&container, signal));
        }
        Ok(waiter.map(|waiter| (container, waiter, timeout)))
    });
    let Some((container, waiter, timeout)) = begun.await? else { return Ok(false) };
    let ended = exit_of(waiter);
    let in_time = match u64::try_from(timeout) {
        Ok(seconds) => tokio::time::timeout(Duration::from_secs(seconds), ended).await.is_ok(),
        Err(_) => {
            // Whatever it tells, it is over.
            let _told = ended.await;
            true
        }
    };
    if !in_time {
        service.engine().happened(&killed(&container, signal::KILL));
        end(service, &container.record.id).await?;
    }
    service.engine().happened(&events::container(&container, "stop"));
    Ok(true)
}

/// The signal that asks a container to end.
fn stop_signal(container: &Container) -> Result<i32, ApiError> {
    let named = container.stored.config.stop_signal.as_deref().filter(|text| !text.is_empty());
    named.map_or(Ok(signal::TERM), signal::parse)
}

fn killed(container: &Container, signal: i32) -> Event {
    events::container(container, "kill").with("signal", signal.to_string())
}

/// Kills a container (full id) and waits for its end; nothing if it does not run.
///
/// # Errors
/// `Internal` if it does not end.
pub(crate) async fn end(service: &Service, id: &str) -> Result<(), ApiError> {
    let own = id.to_owned();
    let waiter =
        service.run(move |engine| stop_and_wait(engine, &own, signal::KILL, false)).await?;
    let Some(waiter) = waiter else { return Ok(()) };
    match tokio::time::timeout(KILL_TIMEOUT, exit_of(waiter)).await {
        Ok(_told) => Ok(()),
        Err(_) => Err(ApiError::new(
            hull_api::ErrorKind::Internal,
            format!("container {id} did not end {} s after SIGKILL", KILL_TIMEOUT.as_secs()),
        )),
    }
}

/// Asks for a container's end; `None` if it does not run any more.
fn stop_and_wait(
    engine: &Engine,
    id: &str,
    signal: i32,
    keep: bool,
) -> Result<Option<ExitWaiter>, ApiError> {
    let Some(run) = run_directory(engine, id)? else { return Ok(None) };
    let shim = Shim::new(run.as_fd());
    let asked = shim.wait().and_then(|waiter| shim.stop(signal, keep).map(|()| waiter));
    match asked {
        Ok(waiter) => Ok(Some(waiter)),
        Err(ControlError::NotRunning) => Ok(None),
        Err(error) => Err(control_failed(id, error)),
    }
}

/// `POST /containers/{id}/kill`. A signal that asks for the container's end also ends its
/// restart policy; others, such as SIGHUP, do not.
pub(crate) async fn kill(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let signal = query.get("signal").map_or(Ok(signal::KILL), signal::parse);
    let signal =
        signal.map_err(|error| error.context(&format!("cannot kill container: {text}")))?;
    let shown = text.to_owned();
    let id = service
        .run(move |engine| {
            let (container, state) = Container::find_with_state(engine.store()?, &shown)?;
            let ends = [signal::INT, signal::QUIT, signal::TERM, stop_signal(&container)?];
            let id = container.record.id.clone();
            let not_running = || {
                ApiError::conflict(format!(
                    "cannot kill container: {shown}: container {id} is not running"
                ))
            };
            if !is_running(state.as_ref()) {
                return Err(not_running());
            }
            if signal != signal::KILL {
                let run = run_directory(engine, &id)?.ok_or_else(not_running)?;
                let shim = Shim::new(run.as_fd());
                let sent = if ends.contains(&signal) {
                    shim.stop(signal, false)
                } else {
                    shim.signal(signal)
                };
                match sent {
                    Ok(()) => {}
                    Err(ControlError::NotRunning) => return Err(not_running()),
                    Err(error) => return Err(control_failed(&id, error)),
                }
            }
            engine.happened(&killed(&container, signal));
            Ok(id)
        })
        .await?;
    if signal == signal::KILL {
        end(service, &id).await?;
    }
    Ok(status(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/pause`.
pub(crate) async fn pause(service: &Service, text: &str) -> Result<Response, ApiError> {
    let text = text.to_owned();
    service
        .run_long(move |engine| {
            let container = Container::find_with_state(engine.store()?, &text)?.0;
            freeze(engine, &container)
        })
        .await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// Pauses a running container; returns once nothing in it runs.
pub(super) fn freeze(engine: &Engine, container: &Container) -> Result<(), ApiError> {
    let id = &container.record.id;
    on_shim(engine, id, |shim| shim.pause())?;
    let cgroup = Cgroup::open(id).map_err(|error| ApiError::internal(&error))?;
    let Err(error) = cgroup.wait_frozen() else {
        engine.happened(&events::container(container, "pause"));
        return Ok(());
    };
    let failed = ApiError::internal(&error).context(&format!("cannot pause container {id}"));
    on_shim(engine, id, |shim| shim.unpause())?;
    Err(failed)
}

/// Lets a paused container go on.
pub(super) fn thaw(engine: &Engine, container: &Container) -> Result<(), ApiError> {
    on_shim(engine, &container.record.id, |shim| shim.unpause())?;
    engine.happened(&events::container(container, "unpause"));
    Ok(())
}

/// `POST /containers/{id}/unpause`.
pub(crate) async fn unpause(service: &Service, text: &str) -> Result<Response, ApiError> {
    let text = text.to_owned();
    service
        .run(move |engine| {
            let (container, state) = Container::find_with_state(engine.store()?, &text)?;
            let id = &container.record.id;
            if !is_running(state.as_ref()) {
                return Err(ApiError::conflict(format!("Container {id} is not paused")));
            }
            thaw(engine, &container)
        })
        .await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/rename`.
pub(crate) async fn rename(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let new = query.get("name").unwrap_or_default().trim_start_matches('/').to_owned();
    if new.is_empty() {
        return Err(ApiError::invalid("Neither old nor new names may be empty"));
    }
    name::check("container", &new)?;
    let text = text.to_owned();
    service
        .run(move |engine| {
            let store = engine.store()?;
            let record = Container::find(store, &text)?.record;
            if record.name == new {
                return Err(ApiError::invalid(
                    "Renaming a container with the same name as its current name",
                ));
            }
            match store.update_container(&record.id, |record| record.name.clone_from(&new)) {
                Ok(_) => renamed(engine, &record.id, &record.name),
                Err(UpdateError::NameTaken { name, owner }) => {
                    let taken = CreateContainerError::NameTaken { name, owner };
                    Err(ApiError::from(taken).context("Error when allocating new name"))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// Tells of a new name, also the shim, whose events are to carry it.
fn renamed(engine: &Engine, id: &str, old: &str) -> Result<(), ApiError> {
    let store = engine.store()?;
    let container = Container::find(store, id)?;
    engine.happened(&events::container(&container, "rename").with("oldName", format!("/{old}")));
    if is_running(state_of(store, id)?.flatten().as_ref())
        && let Some(run) = run_directory(engine, id)?
    {
        super::start::renew(store, &container, &Shim::new(run.as_fd()))?;
    }
    Ok(())
}

/// `POST /containers/{id}/resize`.
pub(crate) async fn resize(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let (columns, rows) = size(query)?;
    let text = text.to_owned();
    service
        .run(move |engine| {
            let container = Container::find(engine.store()?, &text)?;
            let id = &container.record.id;
            on_shim(engine, id, |shim| shim.resize(columns, rows, None))?;
            let event = events::container(&container, "resize");
            let event = event.with("height", rows.to_string()).with("width", columns.to_string());
            engine.happened(&event);
            Ok(())
        })
        .await?;
    Ok(status(StatusCode::OK))
}

/// Columns and rows.
pub(crate) fn size(query: &Query) -> Result<(u16, u16), ApiError> {
    let side = |name: &str, word: &str| {
        let text = query.get(name).unwrap_or_default();
        text.parse().map_err(|_| {
            ApiError::invalid(format!("invalid resize {word} {text:?}: invalid syntax"))
        })
    };
    let rows = side("h", "height")?;
    Ok((side("w", "width")?, rows))
}

/// Asks the shim of a container (full id).
///
/// # Errors
/// `Precondition` in Docker's words if it does not run; otherwise the shim's.
pub(crate) fn on_shim<T>(
    engine: &Engine,
    id: &str,
    ask: impl FnOnce(&Shim<'_>) -> Result<T, ControlError>,
) -> Result<T, ApiError> {
    let run =
        run_directory(engine, id)?.ok_or_else(|| control_failed(id, ControlError::NotRunning))?;
    ask(&Shim::new(run.as_fd())).map_err(|error| control_failed(id, error))
}

fn control_failed(id: &str, error: ControlError) -> ApiError {
    match error {
        ControlError::NotRunning => ApiError::conflict(format!("container {id} is not running")),
        // No process was to be started here: what is missing is an exec.
        ControlError::Failed(failure) if failure.kind == FailureKind::NotFound => {
            ApiError::not_found(failure.message)
        }
        ControlError::Failed(failure) => failure.into(),
        error => ApiError::internal(&error).context(&format!("container {id}")),
    }
}
