//! Inflating on one thread, reading the result on another.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::LayerError;
use super::decompress::{Consumed, Decoder, Formats, Input};

/// Bytes handed from thread to thread at a time.
const BUFFER: usize = 1 << 20;

/// Buffers under way at once.
const DEPTH: usize = 6;

/// The inflated bytes, as a reader. Each buffer is shown to the tap before it is read.
pub(super) struct Source<T> {
    incoming: Receiver<Result<Vec<u8>, LayerError>>,
    used: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    tap: T,
}

/// Sees all inflated bytes, in order, in large pieces.
pub(super) trait Tap {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError>;
}

/// Inflates `input` on a second thread while `work` reads it on this one.
///
/// `work` must read to the end: only then are all bytes hashed, counted and checked.
pub(super) fn inflated<T: Tap, V>(
    input: Input,
    formats: Formats,
    max_bytes: u64,
    tap: T,
    work: impl FnOnce(Source<T>) -> Result<V, LayerError>,
) -> Result<(V, Consumed), LayerError> {
    let (outgoing, incoming) = sync_channel(DEPTH);
    let (used, reusable) = sync_channel(DEPTH + 2);
    thread::scope(|scope| {
        let inflater = thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || inflate(input, formats, max_bytes, &outgoing, &reusable))
            .map_err(|error| LayerError::io("start a thread", error))?;
        let source = Source { incoming, used, buffer: Vec::new(), at: 0, ended: false, tap };
        let result = work(source);
        // The source is gone, so the other thread stops at its next buffer.
        let consumed = match inflater.join() {
            Ok(consumed) => consumed,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let value = result?;
        let consumed = consumed.ok_or_else(|| {
            LayerError::io("read to the end of the input", io::ErrorKind::UnexpectedEof)
        })?;
        Ok((value, consumed))
    })
}

/// Sends buffers until the end of the input, an error, or the other side's loss of interest.
fn inflate(
    input: Input,
    formats: Formats,
    max_bytes: u64,
    outgoing: &SyncSender<Result<Vec<u8>, LayerError>>,
    reusable: &Receiver<Vec<u8>>,
) -> Option<Consumed> {
    let mut decoder = match Decoder::new(input, max_bytes, formats) {
        Ok(decoder) => decoder,
        Err(error) => {
            // The receiver has the error or does not want to know.
            let _ = outgoing.send(Err(error));
            return None;
        }
    };
    loop {
        let mut buffer = reusable.try_recv().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        let filled = match decoder.fill(&mut buffer) {
            Ok(filled) => filled,
            Err(error) => {
                let _ = outgoing.send(Err(error));
                return None;
            }
        };
        buffer.truncate(filled);
        if filled > 0 {
            outgoing.send(Ok(buffer)).ok()?;
        }
        if filled < BUFFER {
            return Some(decoder.finish());
        }
    }
}

impl<T> Source<T> {
    pub(super) fn into_tap(self) -> T {
        self.tap
    }
}

impl<T: Tap> Source<T> {
    fn next_buffer(&mut self) -> io::Result<()> {
        let next = match self.incoming.recv() {
            Ok(next) => next.map_err(io::Error::other)?,
            Err(_) => {
                self.ended = true;
                Vec::new()
            }
        };
        self.tap.bytes(&next).map_err(io::Error::other)?;
        let old = std::mem::replace(&mut self.buffer, next);
        self.at = 0;
        if old.capacity() > 0 {
            // Full only if the other side has more than it needs.
            let _ = self.used.try_send(old);
        }
        Ok(())
    }
}

impl<T: Tap> BufRead for Source<T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() && !self.ended {
            self.next_buffer()?;
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl<T: Tap> Read for Source<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
