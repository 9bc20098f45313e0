//! A container's output, read back from its log files and followed as it grows.

mod files;
mod follow;

pub(crate) use files::FILE;

use super::stored::{Container, is_running, state_of};
use super::time;
use crate::error::ApiError;
use crate::http::{Body, BodySender, Query, Response, typed};
use crate::service::{Engine, Service};
use files::LogFiles;
use follow::Watch;
use hull_api::stream::{StreamKind, header};
use jiff::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;

/// What a client wants to see.
#[derive(Debug, Clone)]
struct Wanted {
    stdout: bool,
    stderr: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
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
struct Reading {
    id: String,
    files: LogFiles,
    wanted: Wanted,
    watch: Option<Watch>,
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
        frames: true,
    };
    let (text, follow) = (text.to_owned(), query.flag("follow"));
    let (reading, terminal) = service
        .run(move |engine| {
            let store = engine.store()?;
            let container = Container::find(store, &text)?;
            if container.stored.host.log_config.driver == "none" {
                return Err(ApiError::invalid(
                    "configured logging driver does not support reading",
                ));
            }
            let id = container.record.id.clone();
            let terminal = container.stored.config.tty;
            let directory = store.container_directory(&id);
            // Watched before the first look, so that nothing falls between the two.
            let watch = if follow { Some(Watch::new(&directory)?) } else { None };
            let files = LogFiles::open(&directory.join("logs"), tail)?;
            wanted.frames = !terminal;
            Ok((Reading { id, files, wanted, watch }, terminal))
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

/// Sends what is there; then, for who follows, what comes until the container has ended.
async fn send(
    service: &Service,
    mut reading: Reading,
    sender: &BodySender,
) -> Result<(), ApiError> {
    loop {
        // What was written before the state said so is read after it did.
        let (running, back) = service.run(move |engine| reading.look(engine)).await?;
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
        let Some(watch) = reading.watch.as_mut().filter(|_| running) else { return Ok(()) };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = sender.closed() => return Ok(()),
        }
    }
}

enum Piece {
    /// Some of the log as the client wants it.
    Bytes(Vec<u8>),
    /// There is no more for now.
    End,
    /// There will be no more: the time until which the client wants it has passed.
    Over,
}

impl Reading {
    /// Whether more may come.
    fn look(self, engine: &Engine) -> Result<(bool, Self), ApiError> {
        if self.watch.is_none() {
            return Ok((false, self));
        }
        let state = state_of(engine.store()?, &self.id)?;
        Ok((state.is_some_and(|state| is_running(state.as_ref())), self))
    }

    fn piece(mut self) -> Result<(Piece, Self), ApiError> {
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
        let stamp = if self.timestamps { format!("{} ", line.time) } else { String::new() };
        let size = u32::try_from(stamp.len() + line.log.len()).unwrap_or(u32::MAX);
        if self.frames {
            bytes.extend_from_slice(&header(kind, size));
        }
        bytes.extend_from_slice(stamp.as_bytes());
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

#[cfg(test)]
mod tests;
