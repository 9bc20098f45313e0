//! Waiting for a container to end.

use super::live::Phase;
use super::start::exit_of;
use super::stored::{Container, is_running, state_of};
use crate::error::ApiError;
use crate::http::{Body, Query, Response, typed};
use crate::service::{Engine, Service};
use hull_api::{ContainerWaitError, ContainerWaitResponse};
use hull_shim::client::{ControlError, ExitWaiter, Shim};
use hull_shim::protocol::Exit;
use hull_shim::state::ContainerState;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::sync::watch;

/// How often the disk is asked about a container that another process may start or remove.
const PERIOD: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// What there is to wait for.
struct Wait {
    id: String,
    condition: Condition,
    /// Told by this process, if it is the one that starts the container.
    phase: watch::Receiver<Phase>,
    /// The state when the request came; `None` if it was not looked at.
    before: Option<Option<ContainerState>>,
}

/// `POST /containers/{id}/wait`. The head of the answer is sent at once: clients wait for it
/// before they start the container.
pub(crate) async fn wait(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let condition = match query.get("condition").unwrap_or("not-running") {
        "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => return Err(ApiError::invalid(format!("invalid condition: {other:?}"))),
    };
    let text = text.to_owned();
    let wait = service.run(move |engine| begin(engine, &text, condition)).await?;
    let (sender, body) = Body::stream();
    let service = service.clone();
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = outcome(&service, wait) => outcome,
            () = sender.closed() => return,
        };
        let answer = outcome.unwrap_or_else(|error| ContainerWaitResponse {
            status_code: -1,
            error: Some(ContainerWaitError { message: error.message }),
        });
        sender.send_json(&answer).await;
    });
    Ok(typed("application/json", body))
}

fn begin(engine: &Engine, text: &str, condition: Condition) -> Result<Wait, ApiError> {
    // A container that was just made in this process cannot have been started yet.
    if engine.live().is_fresh(text) {
        let phase = engine.live().subscribe(text);
        return Ok(Wait { id: text.to_owned(), condition, phase, before: None });
    }
    let store = engine.store()?;
    let id = Container::find(store, text)?.record.id;
    let phase = engine.live().subscribe(&id);
    let state = state_of(store, &id)?
        .ok_or_else(|| ApiError::not_found(format!("No such container: {text}")))?;
    Ok(Wait { id, condition, phase, before: Some(state) })
}

async fn outcome(service: &Service, mut wait: Wait) -> Result<ContainerWaitResponse, ApiError> {
    if wait.condition == Condition::NotRunning {
        let state = wait.before.clone().flatten();
        if !is_running(state.as_ref()) {
            return Ok(answer(state.map_or(0, |state| state.exit_code)));
        }
    }
    let exit = next_exit(service, &mut wait).await?;
    if wait.condition == Condition::Removed {
        while is_there(service, &wait.id).await? {
            tokio::time::sleep(PERIOD).await;
        }
    }
    Ok(answer(exit.code))
}

fn answer(code: i32) -> ContainerWaitResponse {
    ContainerWaitResponse { status_code: code.into(), error: None }
}

/// Waits for the end of the present run, or of the next one.
async fn next_exit(service: &Service, wait: &mut Wait) -> Result<Exit, ApiError> {
    let mut told = wait.before.is_none();
    loop {
        let phase = wait.phase.borrow_and_update().clone();
        match phase {
            Phase::Exited(exit) => return Ok(exit),
            Phase::Running => {
                // The sender tells the end before it goes.
                let _gone = wait.phase.changed().await;
                continue;
            }
            Phase::Waiting | Phase::Lost => {}
        }
        if !told && let Some(exit) = seen_exit(service, wait).await? {
            return Ok(exit);
        }
        told = false;
        tokio::select! {
            Ok(()) = wait.phase.changed() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// What the disk says, and the shim if another process has started the container.
async fn seen_exit(service: &Service, wait: &Wait) -> Result<Option<Exit>, ApiError> {
    let Some(state) = state(service, &wait.id).await? else { return Ok(Some(Exit::default())) };
    if is_running(state.as_ref()) {
        let id = wait.id.clone();
        let waiter = service.run(move |engine| waiter(engine, &id)).await?;
        let Some(waiter) = waiter else { return Ok(None) };
        return match exit_of(waiter).await {
            Ok(exit) => Ok(Some(exit)),
            // Its shim was killed: the next look at the state recovers it.
            Err(ControlError::NotRunning) => Ok(None),
            Err(error) => Err(ApiError::internal(&error)),
        };
    }
    let ended = |state: ContainerState| Exit {
        code: state.exit_code,
        oom_killed: state.oom_killed,
        error: state.error,
    };
    let before = wait.before.clone().flatten();
    Ok(if state == before { None } else { Some(state.map(ended).unwrap_or_default()) })
}

async fn state(service: &Service, id: &str) -> Result<Option<Option<ContainerState>>, ApiError> {
    let id = id.to_owned();
    service.run(move |engine| state_of(engine.store()?, &id)).await
}

async fn is_there(service: &Service, id: &str) -> Result<bool, ApiError> {
    let id = id.to_owned();
    service.run(move |engine| Ok(engine.store()?.container_directory(&id).exists())).await
}

/// Asks a container's shim to tell the exit; `None` if it does not run any more.
fn waiter(engine: &Engine, id: &str) -> Result<Option<ExitWaiter>, ApiError> {
    let Some(run) = run_directory(engine, id)? else { return Ok(None) };
    match Shim::new(run.as_fd()).wait() {
        Ok(waiter) => Ok(Some(waiter)),
        Err(ControlError::NotRunning) => Ok(None),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// The run directory of a container (full id), through which its shim is reached; `None` if it
/// was not started since boot.
pub(crate) fn run_directory(engine: &Engine, id: &str) -> Result<Option<OwnedFd>, ApiError> {
    let path = engine.store()?.exec_root().join("containers").join(id);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(ApiError::internal(&std::io::Error::from(error))
            .context(&format!("cannot open {}", path.display()))),
    }
}
