//! Bodies of requests.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a request carries.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing, or what is left of something small.
    Small(Bytes),
    /// Pieces, as they come.
    Stream(Stream),
}

/// Pieces of a large body.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// How many bytes are to come, if that is known.
    pub(crate) left: Option<u64>,
    pub(crate) taken: Rc<Taken>,
}

/// How far the other side is.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) bytes: Cell<u64>,
    pub(crate) at: Cell<Instant>,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Small(Bytes::new())
    }

    /// The same again, if that can be had.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Small(bytes) => Some(Self::Small(bytes.clone())),
            Self::Stream(_) => None,
        }
    }
}

impl Taken {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { bytes: Cell::new(0), at: Cell::new(Instant::now()) })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Small(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Small(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => {
                // Asked for more: what was given before is on its way.
                stream.taken.at.set(Instant::now());
                let next = std::task::ready!(stream.pieces.poll_recv(context));
                Poll::Ready(next.map(|piece| {
                    piece.map(|bytes| {
                        let length = bytes.len() as u64;
                        stream.left = stream.left.map(|left| left.saturating_sub(length));
                        stream.taken.bytes.set(stream.taken.bytes.get() + length);
                        Frame::data(bytes)
                    })
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Small(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Small(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(Stream { left: Some(left), .. }) => SizeHint::with_exact(*left),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
