//! Being connected to a container: attach, wait, signals, the terminal's size.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hull_api::{ContainerWaitResponse, ErrorKind};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Response};
use nix::sys::signal::Signal;

use crate::app::Exit;
use crate::client::{ApiError, Client, empty, query};
use crate::signals::{self, Signals};
use crate::stream::{self, End, Streams};
use crate::terminal::{self, DetachKeys, RawMode};

/// Keys that leave a container where the user names no others.
const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

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

    /// Stays until the container or the user ends the stream. Meanwhile the terminal is raw if
    /// the process has one.
    ///
    /// # Errors
    /// The connection, or one of our own outputs, broke; or a signal that is not passed on.
    pub(crate) async fn stay(
        self,
        upgraded: Upgraded,
        signals: &Signals,
        follow: &Follow<'_>,
    ) -> Result<End> {
        let _raw =
            if self.streams.terminal && self.streams.stdin { RawMode::enter() } else { None };
        follow.during(signals, stream::copy(upgraded, self.streams)).await
    }
}

/// What happens to signals and to the terminal's size while a command stays connected.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    pub(crate) client: &'a Client,
    /// What takes sizes: `/containers/{id}` or `/exec/{id}`.
    pub(crate) object: &'a str,
    /// It has a terminal whose size is ours.
    pub(crate) terminal: bool,
    /// The container that signals are passed on to; without one they end this program.
    pub(crate) signals_to: Option<&'a str>,
}

impl Follow<'_> {
    /// Does `work` and follows meanwhile.
    ///
    /// # Errors
    /// Those of `work`, or a signal that is not passed on.
    pub(crate) async fn during<T>(
        &self,
        signals: &Signals,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            result = work => result,
            signal = self.run(signals) => Err(signals::killed(signal)),
        }
    }

    async fn run(&self, signals: &Signals) -> Signal {
        self.resize().await;
        loop {
            let Ok(signal) = signals.next().await else { return Signal::SIGTERM };
            if signal == Signal::SIGWINCH {
                self.resize().await;
                continue;
            }
            let Some(id) = self.signals_to else { return signal };
            let name = signal.as_str().trim_start_matches("SIG");
            // A container that has just ended takes no signal.
            let _ = self.client.act(&format!("/containers/{id}/kill?signal={name}")).await;
        }
    }

    async fn resize(&self) {
        if self.terminal
            && let Some((columns, rows)) = terminal::size()
        {
            // A process that has just ended has no size.
            let path = format!("{}/resize?h={rows}&w={columns}", self.object);
            let _ = self.client.act(&path).await;
        }
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
