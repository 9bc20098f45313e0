//! Bodies of answers and of requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::blocking::Blocking;
use super::refusal::Refusal;
use super::storage::Blob;

/// Body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How much of a blob is in memory at once for one who reads it: twice this.
const READ: u64 = 512 << 10;

/// How much of a body is gathered before it is written.
const WRITE: usize = 1 << 20;

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The bytes of `blob` from `offset` up to `end`, within it. The next piece is read while one is
/// sent.
pub(super) fn of_blob(blob: Arc<dyn Blob>, offset: u64, end: u64, blocking: Blocking) -> Body {
    BlobBody { blob, offset, end, blocking, next: None }.boxed_unsync()
}

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, Refusal>> + Send>>;

struct BlobBody {
    blob: Arc<dyn Blob>,
    /// Of the first byte that is not asked for yet.
    offset: u64,
    end: u64,
    blocking: Blocking,
    next: Option<(Reading, u64)>,
}

impl BlobBody {
    fn read_next(&mut self) {
        let count = READ.min(self.end - self.offset);
        if count == 0 {
            return;
        }
        let (blob, offset, blocking) = (self.blob.clone(), self.offset, self.blocking.clone());
        let read = move || {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
            match blob.read_at(&mut bytes, offset) {
                Ok(()) => Ok(Bytes::from(bytes)),
                Err(error) => Err(Refusal::internal(error.to_string())),
            }
        };
        self.offset += count;
        self.next = Some((Box::pin(async move { blocking.run(read).await }), count));
    }
}

impl hyper::body::Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.next.is_none() {
            self.read_next();
        }
        let Some((reading, _)) = &mut self.next else { return Poll::Ready(None) };
        let read = ready!(reading.as_mut().poll(context));
        self.next = None;
        match read {
            Ok(bytes) => {
                self.read_next();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(refusal) => {
                tracing::error!(error = refusal.message(), "cannot read a blob");
                self.offset = self.end;
                Poll::Ready(Some(Err(io::Error::other("cannot read the blob"))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.end && self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let pending = self.next.as_ref().map_or(0, |(_, count)| *count);
        SizeHint::with_exact(self.end - self.offset + pending)
    }
}

/// The body of a request, taken in pieces. A client that sends nothing for `patience` is given up.
#[derive(Debug)]
pub(super) struct Input {
    body: Incoming,
    patience: Duration,
}

impl Input {
    pub(super) fn new(body: Incoming, patience: Duration) -> Self {
        Self { body, patience }
    }

    /// The next megabyte or what is left, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Refusal> {
        let (mut pieces, mut size) = (Vec::new(), 0);
        while size < WRITE {
            match tokio::time::timeout(self.patience, self.body.frame()).await {
                Err(_) => return Err(Refusal::timeout("the body stalled")),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(Refusal::upload_invalid(format!("the body broke off: {error}")));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        size += bytes.len();
                        pieces.push(bytes);
                    }
                }
            }
        }
        Ok((!pieces.is_empty()).then_some(pieces))
    }

    /// All of it, at most `max` bytes.
    pub(super) async fn all(mut self, max: usize) -> Result<Vec<u8>, Refusal> {
        let too_large = || Refusal::too_large(format!("the body has more than {max} bytes"));
        if hyper::body::Body::size_hint(&self.body).lower() > max as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(pieces) = self.next().await? {
            for piece in pieces {
                bytes.extend_from_slice(&piece);
            }
            if bytes.len() > max {
                return Err(too_large());
            }
        }
        Ok(bytes)
    }
}
