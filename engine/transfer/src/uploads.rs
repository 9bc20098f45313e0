//! Where the bytes of an upload come from.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use hull_oci::{Algorithm, Digest, Hasher};
use hull_registry::client::Source;
use tokio::sync::{mpsc, oneshot};

/// Read at once.
const CHUNK: usize = 256 << 10;

/// Pieces that are read ahead.
const AHEAD: usize = 4;

type Piece = io::Result<Bytes>;

/// What comes out of a pipe: its pieces, and at the end what they were.
pub(crate) type Streamed = (mpsc::Receiver<Piece>, oneshot::Receiver<(Digest, u64)>);

/// A file, read from any place as often as needed.
#[derive(Debug)]
pub(crate) struct FileSource {
    file: Arc<File>,
    size: u64,
}

impl FileSource {
    pub(crate) fn new(file: OwnedFd, size: u64) -> Self {
        Self { file: Arc::new(File::from(file)), size }
    }
}

impl Source for FileSource {
    fn pieces(&self, offset: u64) -> mpsc::Receiver<Piece> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (file, size) = (Arc::clone(&self.file), self.size);
        let failed = sender.clone();
        if let Err(error) = spawn(move || read_file(&file, offset, size, &sender)) {
            // There is room: nothing was sent.
            let _ = failed.try_send(Err(error));
        }
        receiver
    }
}

fn read_file(file: &File, mut at: u64, size: u64, to: &mpsc::Sender<Piece>) {
    while at < size {
        let wanted = usize::try_from(size - at).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = vec![0; wanted];
        let piece = match file.read_at(&mut buffer, at) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob is shorter")),
            Ok(read) => {
                at += read as u64;
                buffer.truncate(read);
                Ok(Bytes::from(buffer))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let ends = piece.is_err();
        if to.blocking_send(piece).is_err() || ends {
            return;
        }
    }
}

/// A pipe, read once; its digest and size are told at its end.
pub(crate) fn stream(pipe: OwnedFd) -> io::Result<Streamed> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (told, tell) = oneshot::channel();
    spawn(move || {
        let mut pipe = File::from(pipe);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut size = 0;
        loop {
            let mut buffer = vec![0; CHUNK];
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    buffer.truncate(read);
                    hasher.update(&buffer);
                    size += read as u64;
                    if sender.blocking_send(Ok(Bytes::from(buffer))).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Who takes it ends, one way or the other.
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        }
        // The same.
        let _ = told.send((hasher.finish(), size));
    })?;
    Ok((receiver, tell))
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("upload".to_owned()).spawn(work).map(drop)
}
