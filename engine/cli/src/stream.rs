//! A hijacked connection beside this command's stdin, stdout and stderr.

use anyhow::{Context as _, Result};
use hull_api::stream::{HEADER_SIZE, StreamKind, parse_header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};

use crate::stdio::{Input, Output};
use crate::terminal::DetachKeys;

/// Bytes read at once.
const BUFFER: usize = 32 << 10;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side closed it.
    Closed,
    /// The user typed the detach keys.
    Detached,
}

/// What is copied where.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Send this command's stdin.
    pub(crate) stdin: bool,
    /// The stream is a terminal's: raw, one stream.
    pub(crate) terminal: bool,
    /// Keys that leave, where stdin is a terminal.
    pub(crate) detach_keys: Option<DetachKeys>,
}

/// Copies until the other side closes or the user leaves.
///
/// # Errors
/// The connection, or one of our own outputs, broke.
pub(crate) async fn copy(upgraded: Upgraded, streams: Streams) -> Result<End> {
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    let send = async {
        if streams.stdin {
            send_stdin(writer, streams.detach_keys).await;
        } else {
            stay_open(writer).await;
        }
    };
    tokio::select! {
        biased;
        received = receive(reader, streams.terminal) => received.map(|()| End::Closed),
        () = send => Ok(End::Detached),
    }
}

/// The connection must stay open both ways until the other side has said everything.
async fn stay_open(writer: WriteHalf<TokioIo<Upgraded>>) {
    let _open = writer;
    std::future::pending().await
}

/// Sends stdin; comes back only when the user typed the keys.
async fn send_stdin(mut writer: WriteHalf<TokioIo<Upgraded>>, mut keys: Option<DetachKeys>) {
    let mut input = Input::open();
    let mut buffer = vec![0; BUFFER];
    let mut passed = Vec::new();
    // An input that cannot be read is one that ended.
    while let Ok(count @ 1..) = input.read(&mut buffer).await {
        let mut leave = false;
        let bytes = match &mut keys {
            None => &buffer[..count],
            Some(keys) => {
                passed.clear();
                leave = keys.take(&buffer[..count], &mut passed);
                &passed
            }
        };
        // A connection that is gone is noticed by whoever reads from it.
        if writer.write_all(bytes).await.is_err() || writer.flush().await.is_err() {
            break;
        }
        if leave {
            return;
        }
    }
    // The process sees the end of its input; its output is still to come.
    let _ = writer.shutdown().await;
    stay_open(writer).await;
}

/// Copies frames, or raw bytes, to stdout and stderr.
///
/// # Errors
/// The connection, or one of our own outputs, broke.
pub(crate) async fn receive(mut reader: impl AsyncRead + Unpin, raw: bool) -> Result<()> {
    let mut outputs = Outputs { stdout: Output::stdout(), stderr: Output::stderr() };
    let mut frames = Frames::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = reader.read(&mut buffer).await.context("the engine hung up")?;
        let mut bytes = &buffer[..count];
        if count == 0 {
            return Ok(());
        }
        if raw {
            outputs.stdout.write_all(bytes).await?;
            continue;
        }
        while let Some((kind, piece)) = frames.next(&mut bytes)? {
            outputs.write(kind, piece).await?;
        }
    }
}

struct Outputs {
    stdout: Output,
    stderr: Output,
}

impl Outputs {
    async fn write(&mut self, kind: StreamKind, bytes: &[u8]) -> std::io::Result<()> {
        match kind {
            StreamKind::Stdin | StreamKind::Stdout => self.stdout.write_all(bytes).await,
            StreamKind::Stderr | StreamKind::SystemError => self.stderr.write_all(bytes).await,
        }
    }
}

/// Takes frames apart, however the bytes arrive.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER_SIZE],
    /// Bytes of the header that have arrived.
    have: usize,
    /// The frame at hand and what is still to come of it.
    frame: Option<(StreamKind, usize)>,
}

impl Frames {
    /// Takes the next piece of a frame off `bytes`; `None` once they are used up.
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<(StreamKind, &'a [u8])>> {
        loop {
            if let Some((kind, left)) = self.frame.take().filter(|(_, left)| *left > 0) {
                let (piece, rest) = bytes.split_at(left.min(bytes.len()));
                *bytes = rest;
                self.frame = Some((kind, left - piece.len()));
                return Ok((!piece.is_empty()).then_some((kind, piece)));
            }
            let (part, rest) = bytes.split_at((HEADER_SIZE - self.have).min(bytes.len()));
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            *bytes = rest;
            if self.have < HEADER_SIZE {
                return Ok(None);
            }
            self.have = 0;
            let (kind, size) =
                parse_header(self.header).context("the stream holds something else than frames")?;
            self.frame = Some((kind, usize::try_from(size)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_api::stream::header;

    fn take_apart(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut frames, mut stdout, mut stderr) = (Frames::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let mut bytes = *piece;
            while let Some((kind, data)) = frames.next(&mut bytes)? {
                let to = if kind == StreamKind::Stdout { &mut stdout } else { &mut stderr };
                to.extend_from_slice(data);
            }
        }
        Ok((stdout, stderr))
    }

    #[test]
    fn frames_may_arrive_in_any_pieces() {
        let mut bytes = header(StreamKind::Stdout, 0).to_vec();
        bytes.extend(header(StreamKind::Stdout, 3));
        bytes.extend(b"out");
        bytes.extend(header(StreamKind::Stderr, 5));
        bytes.extend(b"error");
        bytes.extend(header(StreamKind::Stdout, 1));
        bytes.extend(b"!");
        for size in 1..=bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let (stdout, stderr) = take_apart(&pieces).unwrap();
            assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"out!"[..], &b"error"[..]));
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        assert!(take_apart(&[b"not a header"]).is_err());
    }
}
