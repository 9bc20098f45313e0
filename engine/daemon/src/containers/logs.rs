//! A container's output, read back from its log files and followed as it grows.

mod details;
mod files;

pub(crate) use files::FILE;

use super::stored::{Container, state_of};
use super::time;
use crate::error::ApiError;
use crate::http::{Body, BodySender, Query, Response, typed};
use crate::readiness::readable;
use crate::service::{Engine, Service};
use crate::watch::Watch;
use files::LogFiles;
use hull_api::stream::{StreamKind, header};
use hull_shim::state::Status;
use jiff::Timestamp;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// What a client wants to see.
#[derive(Debug, Clone)]
struct Wanted {
    stdout: bool,
    stderr: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
    /// What goes before each line.
    details: String,
    frames: bool,
}

/// One line of a log file.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// A log that is being sent.
pub(crate) struct Reading {
    id: String,
    files: LogFiles,
    wanted: Wanted,
    run: Option<Run>,
}

/// The run of a container that is followed: Docker's followers leave at its end too, even if the
/// container is started again.
struct Run {
    started_at: Option<String>,
    watch: Watch,
    /// The shim's end changes no file if it is killed.
    shim: Option<AsyncFd<OwnedFd>>,
}

/// `GET /containers/{id}/logs`.
pub(crate) async fn logs(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    let tail = match query.get("tail").unwrap_or("all") {
        "all" => None,
        text => text.parse::<i64>().ok().map_or_else(
            || Err(ApiError::invalid(format!("invalid value {text:?} for tail: not a number"))),
            // Docker shows everything for a negative number.
            |lines| Ok(u64::try_from(lines).ok()),
        )?,
    };
    let at = |name: &str| query.get(name).filter(|&text| text != "0").map(time::parse).transpose();
    let mut wanted = Wanted {
        stdout,
        stderr,
        since: at("since")?,
        until: at("until")?,
        timestamps: query.flag("timestamps"),
        details: String::new(),
        frames: true,
    };
    let (text, follow) = (text.to_owned(), query.flag("follow"));
    let details = query.flag("details");
    let (reading, terminal) = service
        .run(move |engine| {
            let container = Container::find(engine.store()?, &text)?;
            let terminal = container.stored.config.tty;
            wanted.frames = !terminal;
            if details {
                wanted.details = details::details(&container);
            }
            Ok((Reading::open(engine, &container, wanted, tail, follow)?, terminal))
        })
        .await?;
    let (sender, body) = Body::stream();
    let service = service.clone();
    tokio::spawn(async move {
        if let Err(error) = send(&service, reading, &sender).await {
            tracing::warn!(%error, "a log broke off");
        }
    });
    Ok(typed(super::attach::content_type(terminal), body))
}

/// The log as it is now, for a client that attaches.
///
/// # Errors
/// Of opening it.
pub(crate) fn replay(
    engine: &Engine,
    container: &Container,
    (stdout, stderr): (bool, bool),
) -> Result<Reading, ApiError> {
    let wanted = Wanted {
        stdout,
        stderr,
        since: None,
        until: None,
        timestamps: false,
        details: String::new(),
        frames: !container.stored.config.tty,
    };
    Reading::open(engine, container, wanted, None, false)
}

/// Sends what is there; then, for who follows, what comes until the run has ended.
async fn send(
    service: &Service,
    mut reading: Reading,
    sender: &BodySender,
) -> Result<(), ApiError> {
    loop {
        // What was written before the state said so is read after it did.
        let (goes_on, back) = service.run(move |engine| reading.look(engine)).await?;
        reading = back;
        loop {
            let (piece, back) = service.run(move |_| reading.piece()).await?;
            reading = back;
            match piece {
                Piece::Bytes(bytes) if bytes.is_empty() => {}
                Piece::Bytes(bytes) => {
                    if !sender.send(bytes).await {
                        return Ok(());
                    }
                }
                Piece::End => break,
                Piece::Over => return Ok(()),
            }
        }
        let Some(run) = reading.run.as_ref().filter(|_| goes_on) else { return Ok(()) };
        let left = reading.wanted.until.map(|until| Timestamp::now().duration_until(until));
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        tokio::select! {
            () = run.watch.changed() => {}
            () = run.lost() => reading.forget_shim(),
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

impl Run {
    /// `None` if the container does not run.
    fn new(engine: &Engine, id: &str, watch: Watch) -> Result<Option<Self>, ApiError> {
        let state = state_of(engine.store()?, id)?.flatten();
        let Some(state) = state.filter(|state| state.status == Status::Running) else {
            return Ok(None);
        };
        let pid = i32::try_from(state.shim_pid).ok().and_then(Pid::from_raw);
        // One that is gone by now is found at the first look.
        let shim = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        let shim = shim.map(readable).transpose().map_err(|error| ApiError::internal(&error))?;
        Ok(Some(Self { started_at: state.started_at, watch, shim }))
    }

    async fn lost(&self) {
        match &self.shim {
            // An error is looked at like an end.
            Some(shim) => drop(shim.readable().await),
            None => std::future::pending().await,
        }
    }
}

pub(crate) enum Piece {
    /// Some of the log as the client wants it.
    Bytes(Vec<u8>),
    /// There is no more for now.
    End,
    /// There will be no more: the time until which the client wants it has passed.
    Over,
}

impl Reading {
    fn open(
        engine: &Engine,
        container: &Container,
        wanted: Wanted,
        tail: Option<u64>,
        follow: bool,
    ) -> Result<Self, ApiError> {
        if container.stored.host.log_config.driver == "none" {
            return Err(ApiError::invalid("configured logging driver does not support reading"));
        }
        let id = container.record.id.clone();
        let directory = engine.store()?.container_directory(&id);
        let logs = directory.join("logs");
        // Watched before the first look, so that nothing falls between the two.
        if follow {
            make_folder(&logs)?;
        }
        let watch = follow.then(|| engine.watcher().watch(&[&directory, &logs])).transpose()?;
        let run = match watch {
            Some(watch) => Run::new(engine, &id, watch)?,
            None => None,
        };
        Ok(Self { id, files: LogFiles::open(&logs, tail)?, wanted, run })
    }

    /// Whether more may come.
    fn look(self, engine: &Engine) -> Result<(bool, Self), ApiError> {
        let Some(run) = &self.run else { return Ok((false, self)) };
        let state = state_of(engine.store()?, &self.id)?.flatten();
        let goes_on = state.is_some_and(|state| {
            state.status == Status::Running && state.started_at == run.started_at
        });
        Ok((goes_on, self))
    }

    fn forget_shim(&mut self) {
        if let Some(run) = &mut self.run {
            run.shim = None;
        }
    }

    /// The next piece of the log.
    ///
    /// # Errors
    /// Of reading it.
    pub(crate) fn piece(mut self) -> Result<(Piece, Self), ApiError> {
        let Some(lines) = self.files.lines()? else {
            let over = self.wanted.until.is_some_and(|until| Timestamp::now() > until);
            return Ok((if over { Piece::Over } else { Piece::End }, self));
        };
        let mut bytes = Vec::with_capacity(lines.len());
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Line<'_>>(line) {
                Ok(line) => self.wanted.append(&line, &mut bytes),
                Err(error) => tracing::warn!(%error, "skipped a damaged line of a log"),
            }
        }
        Ok((Piece::Bytes(bytes), self))
    }
}

impl Wanted {
    fn append(&self, line: &Line<'_>, bytes: &mut Vec<u8>) {
        let (kind, wanted) = match line.stream.as_ref() {
            "stderr" => (StreamKind::Stderr, self.stderr),
            _ => (StreamKind::Stdout, self.stdout),
        };
        if !wanted || !self.in_time(&line.time) {
            return;
        }
        let stamp = if self.timestamps { stamp(&line.time) } else { String::new() };
        let before = stamp + &self.details;
        let size = u32::try_from(before.len() + line.log.len()).unwrap_or(u32::MAX);
        if self.frames {
            bytes.extend_from_slice(&header(kind, size));
        }
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend_from_slice(line.log.as_bytes());
    }

    fn in_time(&self, time: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = time.parse::<Timestamp>() else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// What has said nothing yet has no folder for it.
fn make_folder(logs: &Path) -> Result<(), ApiError> {
    match rustix::fs::mkdir(logs, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(ApiError::internal(&std::io::Error::from(error))
            .context(&format!("cannot create {}", logs.display()))),
    }
}

/// A time as Docker shows it before a line: always with nine digits of a second.
fn stamp(time: &str) -> String {
    let Some(bare) = time.strip_suffix('Z') else { return format!("{time} ") };
    let (seconds, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    format!("{seconds}.{fraction:0<9}Z ")
}

#[cfg(test)]
mod tests;
