//! A client's connection, with what HTTP alone does not give.
//!
//! Two things Docker's clients know that the HTTP library does not do:
//!
//! - A stream may be asked for without the `Upgrade` header; then the answer is `200 OK` with
//!   neither length nor chunks, and the connection is the stream. Such a request, the first on
//!   its connection, gets the header here, and its answer loses what the client does not expect.
//! - A request that is no HTTP is refused with a message. The library refuses it without a body;
//!   here it gets one.

use crate::error::ApiError;
use hyper::StatusCode;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::UnixStream;

/// The most bytes the head of a request may have.
pub(super) const MAX_HEAD: usize = 64 << 10;

/// How long a client may take for the head of its next request.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

const END: &[u8] = b"\r\n\r\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// Read already, to be read again.
    first: Vec<u8>,
    taken: usize,
    /// To be written before anything else.
    rewritten: Vec<u8>,
    written: usize,
    /// The first request asks for a stream without `Upgrade`.
    plain: bool,
}

impl Connection {
    /// Reads the head of the first request. `None` if the client asks nothing.
    pub(super) async fn open(mut stream: UnixStream) -> io::Result<Option<Self>> {
        let mut first = Vec::new();
        let read = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut stream, &mut first)).await;
        match read {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) if first.is_empty() => return Ok(None),
            // What is broken off is refused as such.
            Ok(Ok(false)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let answer = refusal(StatusCode::REQUEST_TIMEOUT);
                stream.write_all(&answer).await?;
                return Ok(None);
            }
        }
        let plain = asks_plainly(&first);
        if let Some(end) = plain {
            first.splice(end..end, *b"Upgrade: tcp\r\n");
        }
        let plain = plain.is_some();
        Ok(Some(Self { stream, first, taken: 0, rewritten: Vec::new(), written: 0, plain }))
    }

    /// What is written instead of `bytes`, and how many of them it stands for.
    fn rewrite(&mut self, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        if self.plain && bytes.starts_with(b"HTTP/1.1 ") {
            self.plain = false;
            if bytes.starts_with(SWITCHING) {
                let end = find(bytes, END)? + END.len();
                let answer =
                    "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
                return Some((answer.into(), end));
            }
        }
        let status = status_of_bare_refusal(bytes)?;
        Some((refusal(status), bytes.len()))
    }

    /// Writes what stands for bytes that count as written.
    fn poll_rewritten(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.rewritten.len() {
            let rest = &self.rewritten[self.written..];
            self.written += ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
        }
        self.rewritten.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

/// Reads until the end of a head is there; false if the client is done before.
async fn read_head(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    while head_end(bytes).is_none() && bytes.len() < MAX_HEAD {
        bytes.reserve(4096);
        if stream.read_buf(bytes).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a head ends; clients that are sloppy about line ends are understood.
fn head_end(bytes: &[u8]) -> Option<usize> {
    find(bytes, END).or_else(|| find(bytes, b"\n\n"))
}

/// If a request asks for a stream without `Upgrade`: where its first line ends.
fn asks_plainly(bytes: &[u8]) -> Option<usize> {
    let head = &bytes[..find(bytes, END)?];
    let line_end = find(head, b"\r\n").unwrap_or(head.len());
    let mut words = std::str::from_utf8(&head[..line_end]).ok()?.split(' ');
    let (method, address, version) = (words.next()?, words.next()?, words.next()?);
    let path = address.split('?').next()?;
    let streams = (path.contains("/containers/") && path.ends_with("/attach"))
        || (path.contains("/exec/") && path.ends_with("/start"));
    let upgrades = head[line_end..]
        .split(|byte| *byte == b'\n')
        .any(|line| line.len() > 7 && line[..8].eq_ignore_ascii_case(b"upgrade:"));
    let plainly = method == "POST" && version == "HTTP/1.1" && streams && !upgrades;
    (plainly && line_end < head.len()).then_some(line_end + 2)
}

/// The status of an answer of the library itself: without body, and without the header that every
/// answer of the service has.
fn status_of_bare_refusal(bytes: &[u8]) -> Option<StatusCode> {
    if !bytes.starts_with(b"HTTP/1.1 4") || find(bytes, END)? + END.len() != bytes.len() {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    if head.contains("\r\nserver:") || !head.contains("\r\ncontent-length: 0\r\n") {
        return None;
    }
    StatusCode::from_bytes(&bytes[9..12]).ok()
}

/// An answer to a request that is none.
fn refusal(status: StatusCode) -> Vec<u8> {
    let message = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            format!("the head of the request is over {MAX_HEAD} bytes or 100 headers")
        }
        StatusCode::URI_TOO_LONG => "the address of the request is too long".to_owned(),
        StatusCode::REQUEST_TIMEOUT => {
            format!("the head of the request did not come within {} s", HEAD_TIMEOUT.as_secs())
        }
        _ => "malformed HTTP request".to_owned(),
    };
    let body = serde_json::to_string(&ApiError::invalid(message).body()).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.first.len() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let rest = &this.first[this.taken..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.taken += count;
        if this.taken == this.first.len() {
            (this.first, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_rewritten(context))?;
        if let Some((instead, count)) = self.rewrite(bytes) {
            self.rewritten = instead;
            return Poll::Ready(Ok(count));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rewritten(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rewritten(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, plain: bool) {
        assert_eq!(asks_plainly(head.as_bytes()).is_some(), plain, "{head}");
    }

    #[test]
    fn streams_that_are_asked_for_plainly() {
        check("POST /v1.51/containers/a/attach?stream=1 HTTP/1.1\r\nHost: a\r\n\r\n", true);
        check("POST /exec/a/start HTTP/1.1\r\nHost: a\r\n\r\n{}", true);
        check("POST /exec/a/start HTTP/1.1\r\nhost: a\r\nUPGRADE: tcp\r\n\r\n", false);
        check("GET /containers/a/attach HTTP/1.1\r\nHost: a\r\n\r\n", false);
        check("POST /containers/a/start HTTP/1.1\r\nHost: a\r\n\r\n", false);
        check("POST /exec/a/start HTTP/1.1\r\nHost: a\r\n", false);
    }

    #[test]
    fn only_answers_without_a_voice_are_rewritten() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                    content-length: 0\r\ndate: now\r\n\r\n";
        assert_eq!(status_of_bare_refusal(bare.as_bytes()).unwrap().as_u16(), 431);
        for other in [
            "HTTP/1.1 404 Not Found\r\nserver: Hull/1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "plain output of a container\r\n\r\n",
        ] {
            assert_eq!(status_of_bare_refusal(other.as_bytes()), None, "{other}");
        }
        let answer = String::from_utf8(refusal(StatusCode::BAD_REQUEST)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("\"kind\":\"invalid\"}"), "{answer}");
    }
}
