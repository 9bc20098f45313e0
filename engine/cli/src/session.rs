//! Being connected to a container: attach, wait, signals, the terminal's size.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hull_api::{ContainerWaitResponse, ErrorKind};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Response};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::app::Exit;
use crate::client::{ApiError, Client, empty, query};
use crate::stream::{self, End, Streams};
use crate::terminal::{self, DetachKeys, RawMode};

/// Keys that leave a container where the user names no others.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// Signals that are passed on to the container, by their names.
const FORWARDED: &[(Signal, &str)] = &[
    (Signal::HUP, "HUP"),
    (Signal::INT, "INT"),
    (Signal::QUIT, "QUIT"),
    (Signal::TERM, "TERM"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
];

/// How a command is connected to a container.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) streams: Streams,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// As the user wrote them; the engine knows the same default.
    pub(crate) detach_keys: Option<String>,
    pub(crate) forward_signals: bool,
}

impl Session {
    /// Connects to the container's streams. With `only_running` a stopped one is refused.
    pub(crate) async fn attach(&self, client: &Client, id: &str, logs: bool) -> Result<Upgraded> {
        let flag = |set: bool| set.then_some("1");
        let path = format!(
            "/containers/{id}/attach{}",
            query(&[
                ("stream", Some("1")),
                ("logs", flag(logs)),
                ("stdin", flag(self.streams.stdin)),
                ("stdout", flag(self.stdout)),
                ("stderr", flag(self.stderr)),
                ("detachKeys", self.detach_keys.as_deref()),
            ])
        );
        client.hijack(&path, &serde_json::Value::Null).await
    }

    /// Raw mode, and the terminal's size followed, until the value is dropped.
    pub(crate) fn follow_terminal(&self, client: &Client, object: &str) -> Option<Terminal> {
        if !self.streams.terminal {
            return None;
        }
        let raw = if self.streams.stdin { RawMode::enter() } else { None };
        let (client, object) = (client.clone(), object.to_owned());
        let resizer = tokio::spawn(async move {
            let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
            loop {
                if let Some((columns, rows)) = terminal::size() {
                    // A process that has just ended has no size.
                    let _ = client.act(&format!("{object}/resize?h={rows}&w={columns}")).await;
                }
                if changes.recv().await.is_none() {
                    return;
                }
            }
        });
        Some(Terminal { _raw: raw, resizer })
    }

    /// Copies until the container or the user ends it.
    pub(crate) async fn copy(self, upgraded: Upgraded) -> Result<End> {
        stream::copy(upgraded, self.streams).await
    }
}

/// The terminal while it belongs to a container.
#[derive(Debug)]
pub(crate) struct Terminal {
    _raw: Option<RawMode>,
    resizer: JoinHandle<()>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.resizer.abort();
    }
}

/// The keys that leave, where they are looked for at all.
pub(crate) fn detach_keys(given: Option<&str>, wanted: bool) -> Result<Option<DetachKeys>> {
    let keys = DetachKeys::parse(given.filter(|text| !text.is_empty()).unwrap_or(DETACH_KEYS))?;
    Ok(wanted.then_some(keys))
}

/// Starts a container.
///
/// # Errors
/// With exit code 127 for a command that is not there, 126 for one that cannot be run, else 125.
pub(crate) async fn start(client: &Client, id: &str) -> Result<()> {
    let started = client.act(&format!("/containers/{id}/start")).await;
    started.map(|_| ()).map_err(|error| {
        let code = code_of(&error);
        Exit { error, code }.into()
    })
}

/// Docker's exit code for a failure to run a command.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    let Some(refusal) = error.downcast_ref::<ApiError>() else { return 125 };
    match refusal.kind {
        Some(ErrorKind::CommandNotFound) => 127,
        Some(ErrorKind::CommandNotExecutable) => 126,
        Some(_) => 125,
        // Docker's engine says it in words only.
        None if refusal.message.contains("executable file not found") => 127,
        None if refusal.message.contains("no such file or directory")
            && refusal.message.contains("exec:") =>
        {
            127
        }
        None if refusal.message.contains("permission denied") => 126,
        None => 125,
    }
}

/// A wait that the engine has taken note of.
#[derive(Debug)]
pub(crate) struct Waiting(Response<Incoming>);

/// Asks for the end of a container; returns once the engine knows.
pub(crate) async fn begin_wait(client: &Client, id: &str, condition: &str) -> Result<Waiting> {
    let path = format!("/containers/{id}/wait?condition={condition}");
    Ok(Waiting(client.send(Method::POST, &path, None, empty()).await?))
}

impl Waiting {
    /// Waits for it.
    pub(crate) async fn end(self) -> Result<ContainerWaitResponse> {
        let bytes = self.0.into_body().collect().await.context("the engine hung up")?.to_bytes();
        serde_json::from_slice(&bytes).context("the engine's answer is not what was expected")
    }
}

/// The exit code of a container that ended.
pub(crate) fn exit_code(ended: &ContainerWaitResponse) -> Result<ExitCode> {
    if let Some(error) = &ended.error {
        return Err(Exit { error: anyhow::anyhow!("{}", error.message), code: 125 }.into());
    }
    // The low eight bits, as every parent sees them.
    Ok(ExitCode::from(u8::try_from(ended.status_code & 0xff).unwrap_or(125)))
}

/// Passes signals on to the container until the value is dropped.
pub(crate) fn forward_signals(client: &Client, id: &str) -> Forwarder {
    let tasks = FORWARDED
        .iter()
        .filter_map(|&(number, name)| {
            let mut arrivals = signal(SignalKind::from_raw(number.as_raw())).ok()?;
            let (client, id) = (client.clone(), id.to_owned());
            Some(tokio::spawn(async move {
                while arrivals.recv().await.is_some() {
                    // A container that has just ended takes no signal.
                    let _ = client.act(&format!("/containers/{id}/kill?signal={name}")).await;
                }
            }))
        })
        .collect();
    Forwarder { tasks }
}

/// Signals on their way to a container.
#[derive(Debug)]
pub(crate) struct Forwarder {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
