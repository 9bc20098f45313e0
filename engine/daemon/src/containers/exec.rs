//! Further processes in a running container.

use super::attach::{content_type, detach_keys, needs_upgrade, relay_then};
use super::control::{on_shim, size};
use super::create::random_id;
use super::stored::{Container, is_running};
use super::sweep::with_run_directory;
use super::{host, merge, spec};
use crate::error::ApiError;
use crate::events;
use crate::http::{Query, Request, Response, json, json_with, status, switch};
use crate::service::{Clients, Engine, Service};
use hull_api::stream::{StreamKind, header};
use hull_api::{
    ErrorKind, ExecCreateBody, ExecInspectResponse, ExecProcessConfig, ExecStartBody, IdResponse,
};
use hull_sandbox::capability::Capability;
use hull_sandbox::spec::Process;
use hull_shim::client::{ControlError, ExecStarted, ExitWaiter, Shim};
use hull_shim::protocol::{AttachOptions, ExecRequest, ExecState, FailureKind};
use hyper::StatusCode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Execs that are kept; beyond that, those that ended are forgotten.
const KEPT: usize = 256;

/// How many digits of its container's id an exec's id begins with.
const OWNER: usize = 32;

/// How long an exit may lag behind the end of the output.
const LAG: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What this process knows of an exec: of each that it has started, and in a process that serves
/// only itself of those it has made. Otherwise the container's shim keeps an exec until somebody
/// starts it.
#[derive(Debug)]
pub(crate) struct Exec {
    container_id: String,
    /// As the client sent it, without the environment.
    body: ExecCreateBody,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Made(Box<ExecRequest>),
    Starting,
    Started {
        pid: u32,
        exit: Arc<ExitWaiter>,
        /// Its output is over, so its exit is near.
        output_ended: bool,
    },
    Exited {
        code: i32,
    },
}

/// What is shown of an exec.
#[derive(Debug, Clone, Copy)]
enum Shown {
    NotStarted,
    Running(u32),
    Exited(i32),
}

impl Exec {
    /// Full id of its container.
    pub(crate) fn container_id(&self) -> &str {
        &self.container_id
    }
}

fn no_such_exec(id: &str) -> ApiError {
    ApiError::not_found(format!("No such exec instance: {id}"))
}

/// `POST /containers/{id}/exec`.
pub(crate) async fn exec_create(
    service: &Service,
    text: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let body: ExecCreateBody = Request::json(request.body).await?;
    let text = text.to_owned();
    let id = service.run(move |engine| make(engine, &text, body)).await?;
    json_with(StatusCode::CREATED, &IdResponse { id })
}

/// Makes an exec and leaves it where whoever starts it will look; its id.
fn make(engine: &Engine, text: &str, mut body: ExecCreateBody) -> Result<String, ApiError> {
    if body.cmd.is_empty() {
        return Err(ApiError::invalid("No exec command specified"));
    }
    if !body.working_dir.is_empty() && !body.working_dir.starts_with('/') {
        return Err(ApiError::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            body.working_dir
        )));
    }
    let (container, state) = Container::find_with_state(engine.store()?, text)?;
    let container_id = container.record.id.clone();
    if !is_running(state.as_ref()) {
        return Err(ApiError::conflict(format!("container {container_id} is not running")));
    }
    match super::list::status_word(state.as_ref()) {
        "paused" => {
            return Err(ApiError::conflict(format!(
                "Container {text} is paused, unpause the container before exec"
            )));
        }
        "restarting" => {
            return Err(ApiError::conflict(format!(
                "Container {text} is restarting, wait until the container is running"
            )));
        }
        _ => {}
    }
    let process = process(&container, &body)?;
    body.env.clear();
    let attach = AttachOptions {
        stdin: body.attach_stdin,
        stdout: body.attach_stdout,
        stderr: body.attach_stderr,
        detach_keys: detach_keys(body.detach_keys.as_deref().filter(|keys| !keys.is_empty()))?,
    };
    // The id says whose it is, so that every process finds it.
    let id = format!("{}{}", &container_id[..OWNER], &random_id()?[OWNER..]);
    let about = serde_json::to_string(&body).map_err(|error| ApiError::internal(&error))?;
    let action = format!("exec_create: {} {}", body.cmd[0], body.cmd[1..].join(" "));
    engine.happened(&events::container(&container, action).with("execID", id.clone()));
    let request = ExecRequest { id: id.clone(), process, attach: Some(attach), about };
    match engine.config().clients {
        Clients::Own => {
            let phase = Phase::Made(Box::new(request));
            remember(engine, &id, Exec { container_id, body, phase });
        }
        Clients::Many => on_shim(engine, &container_id, |shim| shim.exec_create(request))?,
    }
    Ok(id)
}

fn remember(engine: &Engine, id: &str, exec: Exec) {
    let mut execs = engine.live().execs();
    if execs.len() >= KEPT {
        execs.retain(|_, exec| !matches!(exec.phase, Phase::Exited { .. }));
    }
    execs.insert(id.to_owned(), exec);
}

/// The running container that an exec's id names.
fn owner(engine: &Engine, id: &str) -> Result<String, ApiError> {
    let prefix = id.get(..OWNER).filter(|_| id.is_ascii()).ok_or_else(|| no_such_exec(id))?;
    let running = with_run_directory(engine.store()?)?;
    running.into_iter().find(|own| own.starts_with(prefix)).ok_or_else(|| no_such_exec(id))
}

/// Asks the shim of its container for an exec.
fn kept(engine: &Engine, id: &str) -> Result<(String, ExecCreateBody, ExecState), ApiError> {
    let container_id = owner(engine, id)?;
    let state = on_shim(engine, &container_id, |shim| match shim.exec_state(id) {
        Err(ControlError::Failed(failure)) if failure.kind == FailureKind::NotFound => {
            Ok(Err(no_such_exec(id)))
        }
        other => other.map(Ok),
    })??;
    let body = serde_json::from_str(&state.about).unwrap_or_default();
    Ok((container_id, body, state))
}

fn process(container: &Container, body: &ExecCreateBody) -> Result<Process, ApiError> {
    let (config, host) = (&container.stored.config, &container.stored.host);
    let mut base = spec::base_environment(config, &spec::hostname(container));
    if body.tty && !base.iter().any(|entry| merge::variable(entry) == "TERM") {
        base.push("TERM=xterm".to_owned());
    }
    let capabilities =
        if body.privileged { Capability::ALL.to_vec() } else { host::capabilities(host)? };
    let or = |own: &String, default: &String| {
        if own.is_empty() { default.clone() } else { own.clone() }
    };
    Ok(Process {
        args: body.cmd.clone(),
        env: merge::environment(base, &body.env),
        cwd: spec::working_directory(&or(&body.working_dir, &config.working_dir)),
        user: or(&body.user, &config.user),
        additional_groups: host.group_add.clone(),
        terminal: body.tty,
        terminal_size: body.console_size.map(|[rows, columns]| (columns, rows)),
        capabilities: capabilities.iter().map(|capability| capability.name().to_owned()).collect(),
        no_new_privileges: host::security(host)?.no_new_privileges,
        rlimits: host::rlimits(host)?,
    })
}

/// `POST /exec/{id}/start`.
pub(crate) async fn exec_start(
    service: &Service,
    id: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let upgradable = needs_upgrade(&request.headers);
    let body: ExecStartBody = Request::json_or_default(request.body).await?;
    if !body.detach {
        upgradable?;
    }
    let own = id.to_owned();
    if body.detach {
        service.run(move |engine| begin(engine, &own, &body)).await?;
        return Ok(status(StatusCode::OK));
    }
    let (engine, ended) = (Arc::clone(service.engine()), id.to_owned());
    let ended = move || {
        if let Some(exec) = engine.live().execs().get_mut(&ended)
            && let Phase::Started { output_ended, .. } = &mut exec.phase
        {
            *output_ended = true;
        }
    };
    if request.query.flag("refuse") {
        let (stream, terminal) = service.run(move |engine| begin(engine, &own, &body)).await?;
        relay_then(request.upgrade, async { Ok(stream) }, ended);
        return Ok(switch(content_type(terminal)));
    }
    let asked = own.clone();
    let terminal = service.run(move |engine| startable(engine, &asked)).await?;
    // Not before the client has its answer: some read it in large pieces and lose what follows.
    let service = service.clone();
    let stream = async move {
        match service.run(move |engine| begin(engine, &own, &body)).await {
            Ok((stream, _)) => Ok(stream),
            Err(error) => told_in_stream(&error, terminal).map(Some),
        }
    };
    relay_then(request.upgrade, stream, ended);
    Ok(switch(content_type(terminal)))
}

/// Whether an exec that can be started has a terminal.
fn startable(engine: &Engine, id: &str) -> Result<bool, ApiError> {
    let mine = engine.live().execs().get(id).map(|exec| match exec.phase {
        Phase::Made(_) => Ok(exec.body.tty),
        _ => Err(has_run(id)),
    });
    if let Some(mine) = mine {
        return mine;
    }
    let (_, body, state) = kept(engine, id)?;
    if state.made { Ok(body.tty) } else { Err(has_run(id)) }
}

fn has_run(id: &str) -> ApiError {
    ApiError::conflict(format!("exec command {id} has already run"))
}

/// A stream that says why nothing runs: Docker's clients expect one, and take the exit code from
/// the exec. Who would rather be refused, as Hull's own client, says `refuse=1`.
fn told_in_stream(error: &ApiError, terminal: bool) -> Result<OwnedFd, ApiError> {
    let text = format!("OCI runtime exec failed: {}\r\n", error.message);
    let failed = |error: std::io::Error| ApiError::internal(&error);
    let (ours, mut theirs) = UnixStream::pair().map_err(failed)?;
    if !terminal {
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        theirs.write_all(&header(StreamKind::Stdout, size)).map_err(failed)?;
    }
    theirs.write_all(text.as_bytes()).map_err(failed)?;
    Ok(ours.into())
}

/// What an exec was started as.
type Begun = (Option<OwnedFd>, bool);

fn begin(engine: &Engine, id: &str, body: &ExecStartBody) -> Result<Begun, ApiError> {
    let size = body.console_size.map(|[rows, columns]| (columns, rows));
    let mine = {
        let mut execs = engine.live().execs();
        execs.get_mut(id).map(|exec| {
            let phase = std::mem::replace(&mut exec.phase, Phase::Starting);
            match phase {
                Phase::Made(request) => Ok((exec.container_id.clone(), request)),
                other => {
                    exec.phase = other;
                    Err(has_run(id))
                }
            }
        })
    };
    let (container_id, terminal, started) = match mine.transpose()? {
        Some((container_id, mut request)) => {
            let terminal = request.process.terminal;
            request.attach = request.attach.filter(|_| !body.detach);
            request.process.terminal_size = size.or(request.process.terminal_size);
            let started = start(engine, &container_id, |shim| shim.exec(*request));
            (container_id, terminal, started)
        }
        None => {
            let (container_id, made, state) = kept(engine, id)?;
            if !state.made {
                return Err(has_run(id));
            }
            let terminal = made.tty;
            let exec =
                Exec { container_id: container_id.clone(), body: made, phase: Phase::Starting };
            remember(engine, id, exec);
            let attach = !body.detach;
            let started = start(engine, &container_id, |shim| shim.exec_start(id, attach, size));
            (container_id, terminal, started)
        }
    };
    let mut stream = None;
    let (phase, result) = match started {
        Ok(started) => {
            stream = started.stream;
            let exit = Arc::new(started.exit);
            (Phase::Started { pid: started.pid, exit, output_ended: false }, Ok(()))
        }
        Err(error) => {
            tracing::debug!(container_id, exec = id, %error, "an exec could not be started");
            (Phase::Exited { code: exit_code(&error) }, Err(error))
        }
    };
    if let Some(exec) = engine.live().execs().get_mut(id) {
        exec.phase = phase;
    }
    result.map(|()| (stream, terminal))
}

fn start(
    engine: &Engine,
    container_id: &str,
    ask: impl FnOnce(&Shim<'_>) -> Result<ExecStarted, ControlError>,
) -> Result<ExecStarted, ApiError> {
    on_shim(engine, container_id, |shim| match ask(shim) {
        Err(ControlError::Failed(failure)) => Ok(Err(ApiError::from(failure))),
        other => other.map(Ok),
    })?
}

fn exit_code(error: &ApiError) -> i32 {
    match error.kind {
        ErrorKind::CommandNotFound => 127,
        _ => 126,
    }
}

/// `POST /exec/{id}/resize`.
pub(crate) async fn exec_resize(
    service: &Service,
    id: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let (columns, rows) = size(query)?;
    let id = id.to_owned();
    service
        .run(move |engine| {
            let mine = engine.live().execs().get(&id).map(|exec| exec.container_id.clone());
            let container = mine.map_or_else(|| owner(engine, &id), Ok)?;
            on_shim(engine, &container, |shim| shim.resize(columns, rows, Some(&id)))
        })
        .await?;
    Ok(status(StatusCode::OK))
}

/// `GET /exec/{id}/json`.
pub(crate) async fn exec_inspect(service: &Service, id: &str) -> Result<Response, ApiError> {
    let id = id.to_owned();
    json(&service.run(move |engine| response(engine, &id)).await?)
}

fn response(engine: &Engine, id: &str) -> Result<ExecInspectResponse, ApiError> {
    let (container_id, body, shown) = match mine(engine, id) {
        Some(mine) => mine,
        None => {
            let (container_id, body, state) = kept(engine, id)?;
            let shown = match state.exit_code {
                Some(code) => Shown::Exited(code),
                None if state.made => Shown::NotStarted,
                None => Shown::Running(state.pid),
            };
            (container_id, body, shown)
        }
    };
    let (running, exit_code, pid) = match shown {
        Shown::NotStarted => (false, None, 0),
        Shown::Running(pid) => (true, None, i64::from(pid)),
        Shown::Exited(code) => (false, Some(i64::from(code)), 0),
    };
    let (entrypoint, arguments) = body.cmd.split_first().unwrap_or((&container_id, &[]));
    Ok(ExecInspectResponse {
        id: id.to_owned(),
        running,
        exit_code,
        process_config: ExecProcessConfig {
            tty: body.tty,
            entrypoint: entrypoint.clone(),
            arguments: arguments.to_vec(),
            privileged: Some(body.privileged),
            user: Some(body.user).filter(|user| !user.is_empty()),
        },
        open_stdin: body.attach_stdin,
        open_stderr: body.attach_stderr,
        open_stdout: body.attach_stdout,
        can_remove: !running,
        container_id,
        detach_keys: body.detach_keys.unwrap_or_default(),
        pid,
    })
}

/// An exec that this process knows, as it is now.
fn mine(engine: &Engine, id: &str) -> Option<(String, ExecCreateBody, Shown)> {
    let (waiter, near) = match &engine.live().execs().get(id)?.phase {
        Phase::Started { exit, output_ended, .. } => (Some(Arc::clone(exit)), *output_ended),
        _ => (None, false),
    };
    // Not under the lock: it may wait.
    let code = waiter.and_then(|exit| code_of(&exit, near));
    let mut execs = engine.live().execs();
    let exec = execs.get_mut(id)?;
    if let Some(code) = code {
        exec.phase = Phase::Exited { code };
    }
    let shown = match &exec.phase {
        Phase::Made(_) | Phase::Starting => Shown::NotStarted,
        Phase::Started { pid, .. } => Shown::Running(*pid),
        Phase::Exited { code } => Shown::Exited(*code),
    };
    Some((exec.container_id.clone(), exec.body.clone(), shown))
}

/// The exit code if it was told; waits a moment where it must be near.
fn code_of(exit: &ExitWaiter, near: bool) -> Option<i32> {
    let timeout = if near { LAG } else { Timespec { tv_sec: 0, tv_nsec: 0 } };
    let mut waited = [PollFd::new(exit, PollFlags::IN)];
    match poll(&mut waited, Some(&timeout)) {
        Ok(1..) => {}
        Ok(0) | Err(_) => return None,
    }
    match exit.wait() {
        Ok(exit) => Some(exit.code),
        // Its shim was killed, and with it everything in the container.
        Err(ControlError::NotRunning) => Some(137),
        Err(_) => None,
    }
}
