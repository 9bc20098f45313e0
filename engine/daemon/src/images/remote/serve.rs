//! Work with registries as an answer: a stream of messages, or one value.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hull_api::ErrorKind;
use hull_api::image::ProgressMessage;
use hull_transfer::{Session, Transfer};
use tokio::sync::oneshot;

use super::progress::{Progress, Weight};
use super::{Remote, Stop};
use crate::error::ApiError;
use crate::http::{self, Body, BodySender, Response};
use crate::images::{Images, copies};
use crate::service::{Engine, Service};

/// Answers with the messages of `work`.
///
/// What goes wrong before the first message is the answer, what goes wrong later the last message:
/// as Docker does it. A client that goes away ends the work; what arrived until then is kept.
pub(in crate::images) async fn stream<F>(
    service: &Service,
    session: Session,
    work: F,
) -> Result<Response, ApiError>
where
    F: FnOnce(Remote<'_>) -> Result<(), ApiError> + Send + 'static,
{
    let (sender, body) = Body::stream();
    let (begin, begun) = oneshot::channel();
    let service = service.clone();
    tokio::spawn(async move {
        let stop = Stop::default();
        let watch = {
            let (sender, stop) = (sender.clone(), stop.clone());
            tokio::spawn(async move {
                sender.closed().await;
                stop.stop();
            })
        };
        let begin = Arc::new(Begin(Mutex::new(Some(begin))));
        let run = {
            let (sender, begin) = (sender.clone(), Arc::clone(&begin));
            service.run_stream(move |engine| {
                let send = |message: ProgressMessage, weight| {
                    begin.tell(Ok(()));
                    if !send(&sender, &message, weight) {
                        stop.stop();
                    }
                };
                run(engine, &session, &stop, &Progress::new(&send), work)
            })
        };
        let result = run.await;
        watch.abort();
        if let Err(error) = begin.end(result) {
            tracing::debug!(error = %error.message, "failed with the answer under way");
            sender.send_json(&ProgressMessage::error(error.message, error.hint)).await;
        }
    });
    begun.await.unwrap_or_else(|_| Err(ended()))?;
    Ok(http::typed("application/json", body))
}

/// Runs `work` to its value. A client that goes away does not end it: it is short.
pub(in crate::images) async fn ask<T, F>(
    service: &Service,
    session: Session,
    work: F,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(Remote<'_>) -> Result<T, ApiError> + Send + 'static,
{
    let run = move |engine: &Arc<Engine>| {
        let silent = |_: ProgressMessage, _| {};
        run(engine, &session, &Stop::default(), &Progress::new(&silent), work)
    };
    service.run_stream(run).await
}

/// Runs `work` here and now, on a thread that may wait.
pub(in crate::images) fn run<T, F>(
    engine: &Engine,
    session: &Session,
    stop: &Stop,
    progress: &Progress<'_>,
    work: F,
) -> Result<T, ApiError>
where
    F: FnOnce(Remote<'_>) -> Result<T, ApiError>,
{
    let (worker, program) = (engine.helper("hull-worker")?, engine.helper("hull-transfer")?);
    let transfer = Arc::new(Transfer::spawn(&program, session).map_err(super::RemoteError::from)?);
    stop.ends(&transfer);
    let images = Images { store: engine.store()?, worker: &worker };
    let result = work(Remote { images, transfer: &transfer, progress, stop });
    // Whatever became of it, there may be more copies now.
    copies::keep_within_budget(images.store);
    result
}

/// The moment at which the answer's status is known.
struct Begin(Mutex<Option<oneshot::Sender<Result<(), ApiError>>>>);

impl Begin {
    fn take(&self) -> Option<oneshot::Sender<Result<(), ApiError>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tell(&self, status: Result<(), ApiError>) {
        if let Some(begin) = self.take() {
            // Who asked may be gone.
            let _ = begin.send(status);
        }
    }

    /// An error that is not the answer's status is handed back.
    fn end(&self, result: Result<(), ApiError>) -> Result<(), ApiError> {
        match self.take() {
            Some(begin) => {
                let _ = begin.send(result);
                Ok(())
            }
            None => result,
        }
    }
}

/// False when the client is gone.
fn send(sender: &BodySender, message: &ProgressMessage, weight: Weight) -> bool {
    let mut line = serde_json::to_vec(message).expect("a message has text keys");
    line.extend_from_slice(b"\r\n");
    let line = Bytes::from(line);
    match weight {
        Weight::Event => sender.send_blocking(line),
        Weight::Count => sender.offer(line),
    }
}

fn ended() -> ApiError {
    ApiError::new(ErrorKind::Internal, "the work ended before it was begun")
}
