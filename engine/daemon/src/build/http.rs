//! The build endpoints.

use std::io::PipeReader;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hull_api::build::{BuildMessage, BuildRequest, Context};
use hull_api::registry::AuthConfigs;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::arguments;
use super::classic::{self, Classic};
use super::job;
use super::progress::{Progress, Sink};
use crate::error::ApiError;
use crate::http::{Body, BodySender, Request, RequestBody, Response, typed};
use crate::service::Service;
use crate::worker_stream::input_pipe;

/// Bytes of a request before the context: secrets travel in it.
const MAX_REQUEST: usize = 16 << 20;

/// What is asked for, and with whose rights at registries.
struct Asked {
    request: BuildRequest,
    credentials: AuthConfigs,
}

/// `POST /hull/build`.
pub(crate) async fn build(service: &Service, request: Request) -> Result<Response, ApiError> {
    let credentials = crate::images::credentials_of_build(&request.headers)?;
    let mut body = request.body;
    let (line, rest) = first_line(&mut body).await?;
    let request: BuildRequest = serde_json::from_slice(&line)
        .map_err(|error| ApiError::invalid(format!("invalid build request: {error}")))?;
    let asked = Asked { request, credentials };
    answer(service, asked, body, rest, "application/x-ndjson", |sender| {
        Box::new(move |message| {
            let Ok(mut line) = serde_json::to_vec(&message) else { return true };
            line.push(b'\n');
            sender.send_blocking(line)
        })
    })
}

/// `POST /build`.
pub(crate) async fn classic_build(
    service: &Service,
    request: Request,
) -> Result<Response, ApiError> {
    let credentials = crate::images::credentials_of_build(&request.headers)?;
    let asked = Asked { request: arguments::request(&request.query)?, credentials };
    let classic = Mutex::new(Classic::new(request.query.flag("q")));
    let (begun, first) = oneshot::channel();
    let begun = Mutex::new(Some(begun));
    let answered =
        answer(service, asked, request.body, Bytes::new(), "application/json", |sender| {
            Box::new(move |message| {
                let has_begun = classic::is_step(&message);
                let refusal = classic::refusal(&message);
                let lines = classic.lock().unwrap_or_else(PoisonError::into_inner).lines(message);
                if has_begun || !lines.is_empty() {
                    let first = begun.lock().unwrap_or_else(PoisonError::into_inner).take();
                    match (first, refusal) {
                        // Nothing was said yet: this is an answer with a status of its own.
                        (Some(first), Some(refusal)) => return first.send(Err(refusal)).is_ok(),
                        (Some(first), None) => drop(first.send(Ok(()))),
                        (None, _) => {}
                    }
                }
                let mut text = Vec::new();
                for line in lines {
                    if serde_json::to_writer(&mut text, &line).is_ok() {
                        text.extend_from_slice(b"\r\n");
                    }
                }
                text.is_empty() || sender.send_blocking(text)
            })
        })?;
    // Docker answers with 200 from the first line on.
    match first.await {
        Ok(Err(refusal)) => Err(refusal),
        Ok(Ok(())) | Err(_) => Ok(answered),
    }
}

/// Reads up to the first line end.
async fn first_line(body: &mut RequestBody) -> Result<(Bytes, Bytes), ApiError> {
    let mut text = BytesMut::new();
    loop {
        let from = text.len();
        match body.frame().await {
            None => return Ok((text.freeze(), Bytes::new())),
            Some(Err(error)) => {
                return Err(ApiError::invalid(format!("the build request broke off: {error}")));
            }
            Some(Ok(frame)) => {
                let Ok(piece) = frame.into_data() else { continue };
                text.extend_from_slice(&piece);
            }
        }
        if let Some(end) = text[from..].iter().position(|&byte| byte == b'\n') {
            let line = text.split_to(from + end);
            let rest = text.split_off(1);
            return Ok((line.freeze(), rest.freeze()));
        }
        if text.len() > MAX_REQUEST {
            return Err(ApiError::invalid(format!("a build request is over {MAX_REQUEST} bytes")));
        }
    }
}

/// Builds, and answers with what it tells.
fn answer(
    service: &Service,
    asked: Asked,
    body: RequestBody,
    first: Bytes,
    content_type: &'static str,
    sink: impl FnOnce(BodySender) -> Sink,
) -> Result<Response, ApiError> {
    let (sender, answer) = Body::stream();
    let Asked { request, credentials } = asked;
    let tar = match request.context {
        Context::Stream => Some(stream(body, first)?),
        _ => None,
    };
    let progress = Arc::new(Progress::new(sink(sender.clone())));
    let gone = Arc::clone(&progress);
    let service = service.clone();
    tokio::spawn(async move {
        let work = service.run_stream(move |engine| {
            let built = job::run(engine, &request, &credentials, tar.as_ref(), &progress);
            progress.end(match built {
                Ok(result) => BuildMessage::Result(result),
                Err(failure) => BuildMessage::Error(*failure),
            });
            Ok(())
        });
        tokio::pin!(work);
        let ended = tokio::select! {
            ended = &mut work => ended,
            () = sender.closed() => {
                // Nobody wants it any more. What runs is ended, then the work ends by itself.
                gone.cancel();
                work.await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(error = %error.message, "a build broke off");
            sender.break_off().await;
        }
    });
    Ok(typed(content_type, answer))
}

/// The rest of a body as a pipe.
fn stream(mut body: RequestBody, first: Bytes) -> Result<PipeReader, ApiError> {
    let (reader, mut writer) = input_pipe()?;
    tokio::spawn(async move {
        if writer.write_all(&first).await.is_err() {
            return;
        }
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(piece) = frame.into_data() else { continue };
            if writer.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    Ok(reader)
}
