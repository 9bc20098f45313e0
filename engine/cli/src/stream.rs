//! A hijacked connection beside this command's stdin, stdout and stderr.

use std::io::{Read as _, Write};

use anyhow::{Context as _, Result, bail};
use hull_api::stream::{HEADER_SIZE, StreamKind, parse_header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::sync::mpsc;

use crate::terminal::DetachKeys;

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
pub(crate) async fn copy(upgraded: Upgraded, streams: Streams) -> Result<End> {
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    let (left, mut detached) = mpsc::channel(1);
    if streams.stdin {
        let keys = streams.detach_keys.clone();
        tokio::spawn(send_stdin(writer, keys, left));
        tokio::select! {
            result = receive(reader, streams.terminal) => result.map(|()| End::Closed),
            Some(()) = detached.recv() => Ok(End::Detached),
        }
    } else {
        // The connection must stay open both ways until the other side has said everything.
        let _writer: WriteHalf<_> = writer;
        receive(reader, streams.terminal).await.map(|()| End::Closed)
    }
}

/// Copies frames, or raw bytes, to stdout and stderr.
pub(crate) async fn receive(mut reader: impl AsyncRead + Unpin, raw: bool) -> Result<()> {
    let (mut stdout, mut stderr) =
        (Output::new(Destination::Stdout), Output::new(Destination::Stderr));
    let result = if raw {
        receive_raw(&mut reader, &mut stdout).await
    } else {
        receive_frames(&mut reader, &mut stdout, &mut stderr).await
    };
    stdout.finish().await;
    stderr.finish().await;
    result
}

async fn receive_raw(reader: &mut (impl AsyncRead + Unpin), stdout: &mut Output) -> Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 || !stdout.write(buffer[..read].to_vec()).await {
            return Ok(());
        }
    }
}

async fn receive_frames(
    reader: &mut (impl AsyncRead + Unpin),
    stdout: &mut Output,
    stderr: &mut Output,
) -> Result<()> {
    let mut header = [0; HEADER_SIZE];
    loop {
        match reader.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let (kind, size) =
            parse_header(header).context("the stream holds something else than frames")?;
        let mut left = usize::try_from(size)?;
        while left > 0 {
            let mut piece = vec![0; left.min(32 << 10)];
            reader.read_exact(&mut piece).await?;
            left -= piece.len();
            let open = match kind {
                StreamKind::Stdin | StreamKind::Stdout => stdout.write(piece).await,
                StreamKind::Stderr => stderr.write(piece).await,
                StreamKind::SystemError => bail!("{}", String::from_utf8_lossy(&piece).trim_end()),
            };
            if !open {
                return Ok(());
            }
        }
    }
}

async fn send_stdin(
    mut writer: WriteHalf<TokioIo<Upgraded>>,
    mut keys: Option<DetachKeys>,
    left: mpsc::Sender<()>,
) {
    let (sender, mut typed) = mpsc::channel::<Vec<u8>>(2);
    // A read of stdin cannot be given up, so a thread of its own does it and dies with the process.
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    while let Some(bytes) = typed.recv().await {
        let mut out = Vec::new();
        let leave = match &mut keys {
            Some(keys) => keys.take(&bytes, &mut out),
            None => {
                out = bytes;
                false
            }
        };
        if !out.is_empty() && writer.write_all(&out).await.is_err() {
            return;
        }
        // Nobody listens only when the stream has ended by itself.
        if leave {
            let _ = left.send(()).await;
            return;
        }
    }
    // The other side may have closed first.
    let _ = writer.shutdown().await;
    // Dropping `left` must not look like detaching: wait until the stream ends by itself.
    std::future::pending::<()>().await;
}

#[derive(Debug, Clone, Copy)]
enum Destination {
    Stdout,
    Stderr,
}

/// One of this command's outputs, written by a thread of its own from the first byte on: a full
/// pipe must not keep signals and the terminal's size waiting.
#[derive(Debug)]
struct Output {
    destination: Destination,
    writer: Option<(mpsc::Sender<Vec<u8>>, std::thread::JoinHandle<()>)>,
}

impl Output {
    fn new(destination: Destination) -> Self {
        Self { destination, writer: None }
    }

    /// False once nobody reads any more.
    async fn write(&mut self, bytes: Vec<u8>) -> bool {
        let destination = self.destination;
        let (sender, _) = self.writer.get_or_insert_with(|| {
            let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(4);
            let thread = std::thread::spawn(move || {
                while let Some(piece) = pieces.blocking_recv() {
                    if !put(destination, &piece) {
                        break;
                    }
                }
            });
            (sender, thread)
        });
        sender.send(bytes).await.is_ok()
    }

    async fn finish(self) {
        if let Some((sender, thread)) = self.writer {
            drop(sender);
            // A writer that panicked has lost nothing that could still be written.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn put(destination: Destination, bytes: &[u8]) -> bool {
    fn all(mut to: impl Write, bytes: &[u8]) -> bool {
        to.write_all(bytes).and_then(|()| to.flush()).is_ok()
    }
    match destination {
        Destination::Stdout => all(std::io::stdout().lock(), bytes),
        Destination::Stderr => all(std::io::stderr().lock(), bytes),
    }
}
