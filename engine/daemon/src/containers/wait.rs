//! Waiting for a container to end.

use super::live::Phase;
use super::start::exit_of;
use super::stored::{Container, is_running, state_of};
use crate::error::ApiError;
use crate::http::{Body, Query, Response, typed};
use crate::service::{Engine, Service};
use crate::watch::Watch;
use hull_api::{ContainerWaitError, ContainerWaitResponse};
use hull_events::{From, Reader};
use hull_shim::client::{ControlError, ExitWaiter, Shim};
use hull_shim::state::ContainerState;
use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::sync::watch;

/// How long a container may be between two states: its shim has been killed, or has just told
/// its end to others.
const MOVING: Duration = Duration::from_millis(5);

/// How long the removal of a container may take to be told.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    /// When the request came.
    since: Timestamp,
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
    let since = Timestamp::now();
    // A container that was just made in this process cannot have been started yet.
    if engine.live().is_fresh(text) {
        let phase = engine.live().subscribe(text);
        return Ok(Wait { id: text.to_owned(), condition, phase, before: None, since });
    }
    let store = engine.store()?;
    let id = Container::find(store, text)?.record.id;
    let phase = engine.live().subscribe(&id);
    let state = state_of(store, &id)?
        .ok_or_else(|| ApiError::not_found(format!("No such container: {text}")))?;
    Ok(Wait { id, condition, phase, before: Some(state), since })
}

async fn outcome(service: &Service, mut wait: Wait) -> Result<ContainerWaitResponse, ApiError> {
    if wait.condition == Condition::NotRunning {
        let state = wait.before.clone().flatten();
        if !is_running(state.as_ref()) {
            return Ok(answer(state.map_or(0, |state| state.exit_code)));
        }
    }
    let mut code = None;
    // The disk says nothing new of a container that was made just now.
    let mut looked = wait.before.is_none();
    let mut watch = None;
    loop {
        let phase = wait.phase.borrow_and_update().clone();
        match phase {
            Phase::Exited(exit) => code = Some(exit.code),
            Phase::Running => {
                // The sender tells the end before it goes.
                let _gone = wait.phase.changed().await;
                continue;
            }
            Phase::Waiting | Phase::Lost if looked => {
                looked = false;
                let _gone = wait.phase.changed().await;
                continue;
            }
            Phase::Waiting | Phase::Lost => {}
        }
        let exited = matches!(*wait.phase.borrow(), Phase::Exited(_));
        if exited && wait.condition != Condition::Removed {
            return Ok(answer(code.unwrap_or(0)));
        }
        if watch.is_none() && !exited {
            // Watched before the look, so that nothing falls between the two.
            watch = watch_state(service, &wait.id).await?;
        }
        match look(service, &wait).await? {
            Seen::Gone => {
                return Ok(answer(match code {
                    Some(code) => code,
                    None => last_exit(service, &wait).await?,
                }));
            }
            Seen::Ended(exit) if wait.condition != Condition::Removed => return Ok(answer(exit)),
            Seen::Ended(exit) => code = Some(exit),
            Seen::Nothing => {}
            Seen::Moving => {
                tokio::time::sleep(MOVING).await;
                continue;
            }
        }
        if watch.is_none() {
            watch = watch_state(service, &wait.id).await?;
            continue;
        }
        tokio::select! {
            Ok(()) = wait.phase.changed() => {}
            () = changed(watch.as_ref()) => {}
        }
    }
}

fn answer(code: i32) -> ContainerWaitResponse {
    ContainerWaitResponse { status_code: code.into(), error: None }
}

/// The exit code of a container that is gone, from the event log, which is written right after it
/// went; 0 if it never ran.
async fn last_exit(service: &Service, wait: &Wait) -> Result<i32, ApiError> {
    let since = i64::try_from(wait.since.as_nanosecond()).unwrap_or(0);
    let (watch, mut reader) = service
        .run(move |engine| {
            let root = engine.store()?.data_root().to_owned();
            let watch = engine.watcher().watch(&[&root.join(hull_events::FOLDER)])?;
            let reader =
                Reader::open(&root, From::Time(since)).map_err(|error| unreadable(&error))?;
            Ok((watch, reader))
        })
        .await?;
    let id = wait.id.as_str();
    let search = async {
        let mut code = 0;
        loop {
            let events = reader.next_events().map_err(|error| unreadable(&error))?;
            if events.is_empty() {
                watch.changed().await;
                continue;
            }
            for event in events.iter().filter(|event| event.actor.id == id) {
                match event.action.as_str() {
                    "die" => {
                        let told = event.actor.attributes.get("exitCode");
                        code = told.and_then(|code| code.parse().ok()).unwrap_or(0);
                    }
                    "destroy" => return Ok(code),
                    _ => {}
                }
            }
        }
    };
    // Whoever removed it may have been killed before it said so.
    tokio::time::timeout(LAST_WORDS, search).await.unwrap_or(Ok(0))
}

fn unreadable(error: &std::io::Error) -> ApiError {
    ApiError::internal(error).context("cannot read the log of events")
}

/// What a look at a container showed.
enum Seen {
    /// It was removed.
    Gone,
    /// It has ended, with this exit code, since the wait began.
    Ended(i32),
    /// It has not been started since.
    Nothing,
    /// It is between two states.
    Moving,
}

/// What the disk says. Of a container that runs its shim tells the end, which is waited for.
async fn look(service: &Service, wait: &Wait) -> Result<Seen, ApiError> {
    let id = wait.id.clone();
    let state = service.run(move |engine| state_of(engine.store()?, &id)).await?;
    let Some(state) = state else { return Ok(Seen::Gone) };
    if is_running(state.as_ref()) {
        let id = wait.id.clone();
        let waiter = service.run(move |engine| waiter(engine, &id)).await?;
        let Some(waiter) = waiter else { return Ok(Seen::Moving) };
        return match exit_of(waiter).await {
            Ok(exit) => Ok(Seen::Ended(exit.code)),
            // Its shim was killed: the next look at the state recovers it.
            Err(ControlError::NotRunning) => Ok(Seen::Moving),
            Err(error) => Err(ApiError::internal(&error)),
        };
    }
    let before = wait.before.clone().flatten();
    match state {
        Some(state) if Some(&state) != before.as_ref() => Ok(Seen::Ended(state.exit_code)),
        Some(state) if wait.condition == Condition::Removed => Ok(Seen::Ended(state.exit_code)),
        _ => Ok(Seen::Nothing),
    }
}

/// Watches a container's directory; `None` if it is gone.
async fn watch_state(service: &Service, id: &str) -> Result<Option<Watch>, ApiError> {
    let id = id.to_owned();
    service
        .run(move |engine| {
            let directory = engine.store()?.container_directory(&id);
            match engine.watcher().watch(&[&directory]) {
                Err(_) if !directory.exists() => Ok(None),
                other => other.map(Some),
            }
        })
        .await
}

/// Completes when something has changed; never without a watch.
async fn changed(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
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
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(ApiError::internal(&std::io::Error::from(error))
            .context(&format!("cannot open {}", path.display()))),
    }
}
