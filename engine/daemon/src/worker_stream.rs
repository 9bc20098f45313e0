//! What a sealed worker writes, on its way to a client.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use http_body_util::BodyExt;
use hull_api::ErrorKind;
use hull_worker::client::{Worker, WorkerError};
use hull_worker::job::{FailureKind, Job};

use tokio::io::AsyncWriteExt;

use crate::error::ApiError;
use crate::http::{Body, RequestBody, Response, typed};
use crate::service::{Engine, Service};

/// Bytes that are handed on at a time.
const PIECE: usize = 64 << 10;

/// A job that writes.
pub(crate) struct Writing {
    /// The job.
    pub(crate) job: Job,
    /// Its descriptors before the output.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Those after it.
    pub(crate) rest: Vec<OwnedFd>,
}

impl Writing {
    /// A job whose last descriptor is its output.
    pub(crate) fn last(job: Job, descriptors: Vec<OwnedFd>) -> Self {
        Self { job, descriptors, rest: Vec::new() }
    }
}

/// Has `prepare`'s job done and answers with what it writes. `prepare` may return something for
/// the caller beside it.
///
/// # Errors
/// What fails before the first byte. What fails later cuts the connection.
pub(crate) async fn respond<T, F>(
    service: &Service,
    content_type: &'static str,
    prepare: F,
) -> Result<(Response, T), ApiError>
where
    T: Send + 'static,
    F: FnOnce(&Arc<Engine>) -> Result<(Writing, T), ApiError> + Send + 'static,
{
    let (sender, body) = Body::stream();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let service = service.clone();
    tokio::spawn(async move {
        let pieces = sender.clone();
        let work = service.run_stream(move |engine| {
            let (mut output, worker, extra) = match start(engine, prepare) {
                Ok(started) => started,
                Err(error) => {
                    // Who asked may be gone.
                    let _ = begin.send(Err(error));
                    return Ok(());
                }
            };
            let first = match read(&mut output) {
                Ok(first) if first.is_empty() => match worker.answer() {
                    Ok(_) => {
                        let _ = begin.send(Ok(extra));
                        return Ok(());
                    }
                    Err(error) => {
                        let _ = begin.send(Err(failed(&error)));
                        return Ok(());
                    }
                },
                Ok(first) => first,
                Err(error) => {
                    let _ = begin.send(Err(error));
                    return Ok(());
                }
            };
            if begin.send(Ok(extra)).is_err() {
                return Ok(());
            }
            let mut piece = first;
            while !piece.is_empty() {
                if !pieces.send_blocking(piece) {
                    return Ok(());
                }
                piece = read(&mut output)?;
            }
            worker.answer().map(drop).map_err(|error| failed(&error))
        });
        if let Err(error) = work.await {
            tracing::warn!(error = %error.message, "an answer broke off");
            sender.break_off().await;
        }
    });
    let extra = begun.await.unwrap_or_else(|_| {
        Err(ApiError::new(ErrorKind::Internal, "the work ended before it was begun"))
    })?;
    Ok((typed(content_type, body), extra))
}

type Started<T> = (std::io::PipeReader, Worker, T);

fn start<T, F>(engine: &Arc<Engine>, prepare: F) -> Result<Started<T>, ApiError>
where
    F: FnOnce(&Arc<Engine>) -> Result<(Writing, T), ApiError>,
{
    let (Writing { job, descriptors, rest }, extra) = prepare(engine)?;
    let (output, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
    let all: Vec<BorrowedFd<'_>> = descriptors
        .iter()
        .map(AsFd::as_fd)
        .chain([writer.as_fd()])
        .chain(rest.iter().map(AsFd::as_fd))
        .collect();
    let worker = Worker::spawn(&engine.helper("hull-worker")?, &job, &all)
        .map_err(|error| failed(&error))?;
    Ok((output, worker, extra))
}

fn read(output: &mut std::io::PipeReader) -> Result<Vec<u8>, ApiError> {
    let mut piece = vec![0; PIECE];
    loop {
        match output.read(&mut piece) {
            Ok(count) => {
                piece.truncate(count);
                return Ok(piece);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ApiError::internal(&error)),
        }
    }
}

/// Copies a body into a pipe. A body that breaks off, or a reader that has seen enough, ends it:
/// the reader judges what came.
pub(crate) async fn feed(mut body: RequestBody, mut writer: tokio::net::unix::pipe::Sender) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return };
        let Ok(piece) = frame.into_data() else { continue };
        if writer.write_all(&piece).await.is_err() {
            return;
        }
    }
}

/// A pipe whose writing end is [`feed`]'s.
pub(crate) fn input_pipe() -> Result<(std::io::PipeReader, tokio::net::unix::pipe::Sender), ApiError>
{
    let fail = |error: std::io::Error| {
        ApiError::chain(ErrorKind::Unavailable, &error).context("cannot make a pipe")
    };
    let (reader, writer) = std::io::pipe().map_err(fail)?;
    let writer = tokio::net::unix::pipe::Sender::from_owned_fd(writer.into()).map_err(fail)?;
    Ok((reader, writer))
}

/// A worker's failure as an answer.
pub(crate) fn failed(error: &WorkerError) -> ApiError {
    let kind = match error {
        WorkerError::Failed { kind: FailureKind::Invalid | FailureKind::TooLarge, .. } => {
            ErrorKind::Invalid
        }
        WorkerError::Failed { kind: FailureKind::Io, .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    ApiError::chain(kind, error)
}
