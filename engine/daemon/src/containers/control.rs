//! Signals, terminal sizes and the end of a running container.

use super::signal;
use super::start::exit_of;
use super::stored::{Container, is_running};
use super::wait::run_directory;
use crate::error::ApiError;
use crate::http::{Query, Response, status};
use crate::service::{Engine, Service};
use hull_shim::client::{ControlError, ExitWaiter, Shim};
use hull_shim::protocol::FailureKind;
use hyper::StatusCode;
use std::os::fd::AsFd;
use std::time::Duration;

const STOP_TIMEOUT: i64 = 10;

/// How long a container that was killed may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// `POST /containers/{id}/stop`: the stop signal, then, after the timeout, SIGKILL.
pub(crate) async fn stop(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let timeout: Option<i64> = query.number("t")?;
    let signal = query.get("signal").map(signal::parse).transpose()?;
    let text = text.to_owned();
    let begun = service.run(move |engine| {
        let (container, state) = Container::find_with_state(engine.store()?, &text)?;
        if !is_running(state.as_ref()) {
            return Ok(None);
        }
        let config = &container.stored.config;
        let named = config.stop_signal.as_deref().filter(|text| !text.is_empty());
        let default = named.map_or(Ok(signal::TERM), signal::parse)?;
        let timeout = timeout.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
        let waiter = signal_and_wait(engine, &container.record.id, signal.unwrap_or(default))?;
        Ok(waiter.map(|waiter| (container.record.id, waiter, timeout)))
    });
    let Some((id, waiter, timeout)) = begun.await? else {
        return Ok(status(StatusCode::NOT_MODIFIED));
    };
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
        end(service, &id).await?;
    }
    Ok(status(StatusCode::NO_CONTENT))
}

/// Kills a container (full id) and waits for its end; nothing if it does not run.
///
/// # Errors
/// `Internal` if it does not end.
pub(crate) async fn end(service: &Service, id: &str) -> Result<(), ApiError> {
    let own = id.to_owned();
    let waiter = service.run(move |engine| signal_and_wait(engine, &own, signal::KILL)).await?;
    let Some(waiter) = waiter else { return Ok(()) };
    match tokio::time::timeout(KILL_TIMEOUT, exit_of(waiter)).await {
        Ok(_told) => Ok(()),
        Err(_) => Err(ApiError::new(
            hull_api::ErrorKind::Internal,
            format!("container {id} did not end {} s after SIGKILL", KILL_TIMEOUT.as_secs()),
        )),
    }
}

/// Sends a signal; `None` if the container does not run any more.
fn signal_and_wait(engine: &Engine, id: &str, signal: i32) -> Result<Option<ExitWaiter>, ApiError> {
    let Some(run) = run_directory(engine, id)? else { return Ok(None) };
    let shim = Shim::new(run.as_fd());
    let asked = shim.wait().and_then(|waiter| shim.signal(signal).map(|()| waiter));
    match asked {
        Ok(waiter) => Ok(Some(waiter)),
        Err(ControlError::NotRunning) => Ok(None),
        Err(error) => Err(control_failed(id, error)),
    }
}

/// `POST /containers/{id}/kill`.
pub(crate) async fn kill(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let signal = query.get("signal").map_or(Ok(signal::KILL), signal::parse)?;
    let shown = text.to_owned();
    let id = service
        .run(move |engine| {
            let (container, state) = Container::find_with_state(engine.store()?, &shown)?;
            let id = container.record.id;
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
                match Shim::new(run.as_fd()).signal(signal) {
                    Ok(()) => {}
                    Err(ControlError::NotRunning) => return Err(not_running()),
                    Err(error) => return Err(control_failed(&id, error)),
                }
            }
            Ok(id)
        })
        .await?;
    if signal == signal::KILL {
        end(service, &id).await?;
    }
    Ok(status(StatusCode::NO_CONTENT))
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
            let id = Container::find(engine.store()?, &text)?.record.id;
            on_shim(engine, &id, |shim| shim.resize(columns, rows, None))
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
