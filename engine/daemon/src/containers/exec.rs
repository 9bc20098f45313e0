//! Further processes in a running container.

use super::attach::{content_type, detach_keys, needs_upgrade, relay_then};
use super::control::{on_shim, size};
use super::create::random_id;
use super::stored::{Container, is_running};
use super::{host, merge, spec};
use crate::error::ApiError;
use crate::http::{Query, Request, Response, json, json_with, status, switch};
use crate::service::{Engine, Service};
use hull_api::{ExecCreateBody, ExecInspectResponse, ExecProcessConfig, ExecStartBody, IdResponse};
use hull_sandbox::capability::Capability;
use hull_sandbox::spec::Process;
use hull_shim::client::{ControlError, ExitWaiter};
use hull_shim::protocol::{AttachOptions, ExecRequest};
use hyper::StatusCode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::Arc;

/// Execs that are kept; beyond that, those that ended are forgotten.
const KEPT: usize = 256;

/// How long an exit may lag behind the end of the output.
const LAG: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// One exec, from its making to the end of this process.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    container_id: String,
    body: ExecCreateBody,
    process: Process,
    detach_keys: Vec<u8>,
    phase: Phase,
}

#[derive(Debug, Clone)]
enum Phase {
    Made,
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
    let id = service
        .run(move |engine| {
            let exec = make(engine, &text, body)?;
            let id = random_id()?;
            let mut execs = engine.live().execs();
            if execs.len() >= KEPT {
                execs.retain(|_, exec| !matches!(exec.phase, Phase::Exited { .. }));
            }
            execs.insert(id.clone(), exec);
            Ok(id)
        })
        .await?;
    json_with(StatusCode::CREATED, &IdResponse { id })
}

fn make(engine: &Engine, text: &str, body: ExecCreateBody) -> Result<Exec, ApiError> {
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
    let detach_keys = detach_keys(body.detach_keys.as_deref().filter(|keys| !keys.is_empty()))?;
    let process = process(&container, &body)?;
    Ok(Exec { container_id, body, process, detach_keys, phase: Phase::Made })
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
    let detach = body.detach;
    let (stream, terminal) = service.run(move |engine| begin(engine, &own, &body)).await?;
    let Some(stream) = stream.filter(|_| !detach) else { return Ok(status(StatusCode::OK)) };
    let (engine, own) = (Arc::clone(service.engine()), id.to_owned());
    relay_then(request.upgrade, stream, move || {
        if let Some(exec) = engine.live().execs().get_mut(&own)
            && let Phase::Started { output_ended, .. } = &mut exec.phase
        {
            *output_ended = true;
        }
    })?;
    Ok(switch(content_type(terminal)))
}

fn begin(
    engine: &Engine,
    id: &str,
    body: &ExecStartBody,
) -> Result<(Option<std::os::fd::OwnedFd>, bool), ApiError> {
    let exec = {
        let mut execs = engine.live().execs();
        let exec = execs.get_mut(id).ok_or_else(|| no_such_exec(id))?;
        if !matches!(exec.phase, Phase::Made) {
            return Err(ApiError::conflict(format!("exec command {id} has already run")));
        }
        exec.phase = Phase::Starting;
        exec.clone()
    };
    let mut process = exec.process;
    if let Some([rows, columns]) = body.console_size {
        process.terminal_size = Some((columns, rows));
    }
    let attach = AttachOptions {
        stdin: exec.body.attach_stdin,
        stdout: exec.body.attach_stdout,
        stderr: exec.body.attach_stderr,
        detach_keys: exec.detach_keys,
    };
    let terminal = process.terminal;
    let request =
        ExecRequest { id: id.to_owned(), process, attach: (!body.detach).then_some(attach) };
    let started = on_shim(engine, &exec.container_id, |shim| match shim.exec(request) {
        Err(ControlError::Failed(failure)) => Ok(Err(ApiError::from(failure))),
        other => other.map(Ok),
    })
    .and_then(|started| started);
    let mut execs = engine.live().execs();
    match started {
        Ok(started) => {
            if let Some(exec) = execs.get_mut(id) {
                let exit = Arc::new(started.exit);
                exec.phase = Phase::Started { pid: started.pid, exit, output_ended: false };
            }
            Ok((started.stream, terminal))
        }
        Err(error) => {
            if let Some(exec) = execs.get_mut(id) {
                exec.phase = Phase::Exited { code: exit_code(&error) };
            }
            Err(error)
        }
    }
}

fn exit_code(error: &ApiError) -> i32 {
    match error.kind {
        hull_api::ErrorKind::CommandNotFound => 127,
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
            let container = {
                let execs = engine.live().execs();
                execs.get(&id).ok_or_else(|| no_such_exec(&id))?.container_id.clone()
            };
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
    let mut exec = engine.live().execs().get(id).cloned().ok_or_else(|| no_such_exec(id))?;
    if let Phase::Started { exit, output_ended, .. } = &exec.phase
        && let Some(code) = code_of(exit, *output_ended)
    {
        exec.phase = Phase::Exited { code };
        if let Some(kept) = engine.live().execs().get_mut(id) {
            kept.phase = Phase::Exited { code };
        }
    }
    let (running, exit_code, pid) = match &exec.phase {
        Phase::Made | Phase::Starting => (false, None, 0),
        Phase::Started { pid, .. } => (true, None, i64::from(*pid)),
        Phase::Exited { code } => (false, Some(i64::from(*code)), 0),
    };
    let (entrypoint, arguments) = exec.body.cmd.split_first().unwrap_or((&exec.container_id, &[]));
    Ok(ExecInspectResponse {
        id: id.to_owned(),
        running,
        exit_code,
        process_config: ExecProcessConfig {
            tty: exec.body.tty,
            entrypoint: entrypoint.clone(),
            arguments: arguments.to_vec(),
            privileged: Some(exec.body.privileged),
            user: Some(exec.body.user.clone()).filter(|user| !user.is_empty()),
        },
        open_stdin: exec.body.attach_stdin,
        open_stderr: exec.body.attach_stderr,
        open_stdout: exec.body.attach_stdout,
        can_remove: !running,
        container_id: exec.container_id.clone(),
        detach_keys: exec.body.detach_keys.clone().unwrap_or_default(),
        pid,
    })
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
