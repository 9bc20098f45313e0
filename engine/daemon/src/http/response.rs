//! A response put together.

use crate::error::ApiError;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use serde::Serialize;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// How many pieces of a streamed body wait for a slow client before its source does.
const QUEUE: usize = 4;

/// One response.
pub type Response = hyper::Response<Body>;

/// The body of a response: bytes, or pieces as they come.
#[derive(Debug)]
pub enum Body {
    /// All of it; `None` when it was sent or is empty.
    Whole(Option<Bytes>),
    /// Pieces until the sender is dropped.
    Stream(mpsc::Receiver<Result<Bytes, Broken>>),
}

/// A body could not be sent to its end: the connection is cut, so that nobody takes what came for
/// all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body broke off")]
pub struct Broken;

/// The other end of a streamed body.
#[derive(Debug, Clone)]
pub struct BodySender(mpsc::Sender<Result<Bytes, Broken>>);

/// Writes a streamed body from a thread that may wait.
#[derive(Debug)]
pub struct BodyWriter {
    sender: BodySender,
    piece: Vec<u8>,
}

/// Bytes of a piece of a body that is written.
const PIECE: usize = 64 << 10;

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::Whole(None)
    }

    /// A body that a task fills while it is sent.
    #[must_use]
    pub fn stream() -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (BodySender(sender), Self::Stream(receiver))
    }
}

impl BodySender {
    /// Sends a piece; false when the client is gone.
    pub async fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.send(Ok(piece.into())).await.is_ok()
    }

    /// Sends a piece from a thread that may wait; false when the client is gone.
    #[must_use]
    pub fn send_blocking(&self, piece: impl Into<Bytes>) -> bool {
        self.0.blocking_send(Ok(piece.into())).is_ok()
    }

    /// Sends a piece unless the client has not taken those before; false when it is gone.
    #[must_use]
    pub fn offer(&self, piece: impl Into<Bytes>) -> bool {
        !matches!(self.0.try_send(Ok(piece.into())), Err(mpsc::error::TrySendError::Closed(_)))
    }

    /// Sends a value as one line of JSON; false when the client is gone.
    pub async fn send_json<T: Serialize + Sync>(&self, value: &T) -> bool {
        let Ok(mut line) = serde_json::to_vec(value) else { return false };
        line.extend_from_slice(b"\r\n");
        self.send(line).await
    }

    /// Ends the body before its end. If the client is gone it need not hear of it.
    pub async fn break_off(&self) {
        let _ = self.0.send(Err(Broken)).await;
    }

    /// A writer for a thread that may wait.
    #[must_use]
    pub fn writer(&self) -> BodyWriter {
        BodyWriter { sender: self.clone(), piece: Vec::new() }
    }

    /// Completes when the client is gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl io::Write for BodyWriter {
    /// `BrokenPipe` when the client is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() || self.sender.send_blocking(piece) {
            return Ok(());
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => {
                receiver.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A response without body.
#[must_use]
pub(crate) fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A value as JSON, status 200.
///
/// # Errors
/// `Internal` if the value cannot be written as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Response, ApiError> {
    json_with(StatusCode::OK, value)
}

/// A value as JSON.
///
/// # Errors
/// `Internal` if the value cannot be written as JSON.
pub(crate) fn json_with<T: Serialize>(status: StatusCode, value: &T) -> Result<Response, ApiError> {
    let bytes = serde_json::to_vec(value).map_err(|error| ApiError::internal(&error))?;
    let mut response = typed("application/json", Body::Whole(Some(bytes.into())));
    *response.status_mut() = status;
    Ok(response)
}

/// A body of a content type, status 200.
#[must_use]
pub(crate) fn typed(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The answer after which the connection carries a stream of this content type.
#[must_use]
pub(crate) fn switch(content_type: &'static str) -> Response {
    let mut response = typed(content_type, Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
    response
}

/// What was refused and why.
#[must_use]
pub(crate) fn refused(error: &ApiError) -> Response {
    json_with(error.status(), &error.body()).unwrap_or_else(|_| status(error.status()))
}
