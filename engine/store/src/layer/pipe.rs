//! A layer on three threads: one reads and hashes what comes, one inflates it, one works on the
//! result. Each has its own processor where there are as many.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use hull_oci::{Algorithm, Digest, Hasher};

use super::LayerError;
use super::aligned::Aligned;
use super::decompress::{Compression, Decoder, Formats, Input};

/// Inflated bytes handed on at a time: whole blocks, of any disk.
const BUFFER: usize = 1 << 20;

/// Buffers of inflated bytes under way at once.
const DEPTH: usize = 6;

/// Bytes handed on at a time as they came.
const RAW_BUFFER: usize = 256 << 10;

/// Buffers of them under way at once.
const RAW_DEPTH: usize = 6;

/// So many bytes tell the compression.
const MAGIC: usize = 16;

/// What the input turned out to be.
#[derive(Debug)]
pub(super) struct Consumed {
    /// Of the bytes as they came; `None` where that is the sha256 of the plain bytes, or nobody asked.
    pub(super) digest: Option<Digest>,
    /// Bytes as they came.
    pub(super) size: u64,
    /// `""`, `gzip`, `zstd`, `xz` or `bzip2`.
    pub(super) compression: &'static str,
}

/// What another thread hands on, as a reader.
pub(super) struct Handed {
    incoming: Receiver<Result<Aligned, LayerError>>,
    used: SyncSender<Aligned>,
    buffer: Aligned,
    at: usize,
    received: u64,
    ended: bool,
}

/// The other end of a [`Handed`].
struct Hand {
    outgoing: SyncSender<Result<Aligned, LayerError>>,
    reusable: Receiver<Aligned>,
    /// Of a buffer, bytes.
    size: usize,
}

/// The inflated bytes, as a reader. Each buffer is shown to the tap before it is read.
pub(super) struct Source<T> {
    handed: Handed,
    tap: T,
}

/// Sees all inflated bytes, in order, in large pieces: all but the last are whole blocks, and
/// every one begins at a block's border in memory.
pub(super) trait Tap {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError>;
}

/// Reads and inflates `input` on threads of their own while `work` reads the result on this one.
///
/// `work` must read to the end: only then are all bytes hashed, counted and checked.
pub(super) fn inflated<T: Tap, V>(
    input: Input,
    formats: Formats,
    max_bytes: u64,
    tap: T,
    work: impl FnOnce(Source<T>) -> Result<V, LayerError>,
) -> Result<(V, Consumed), LayerError> {
    let (raw_hand, raw) = hand(RAW_BUFFER, RAW_DEPTH);
    let (hand, handed) = hand(BUFFER, DEPTH);
    thread::scope(|scope| {
        let reader = start(scope, "read", move || read(input, formats, &raw_hand))?;
        let inflater = start(scope, "inflate", move || inflate(raw, formats, max_bytes, &hand))?;
        let result = work(Source { handed, tap });
        // The source is gone, so the others stop at their next buffers.
        let compression = joined(inflater);
        let read = joined(reader);
        let value = result?;
        let (Some(compression), Some((digest, size))) = (compression, read) else {
            let error = io::ErrorKind::UnexpectedEof;
            return Err(LayerError::io("read to the end of the input", error));
        };
        Ok((value, Consumed { digest, size, compression }))
    })
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, LayerError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, work)
        .map_err(|error| LayerError::io("start a thread", error))
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Hands on what comes; at its end, the digest of compressed bytes, and the size. `None` after an
/// error, and if nobody wants to know any more.
fn read(mut input: Input, formats: Formats, hand: &Hand) -> Option<(Option<Digest>, u64)> {
    let (mut size, mut hasher) = (0, None);
    loop {
        let mut buffer = hand.room();
        let mut filled = 0;
        while filled < MAGIC {
            match input.read(&mut buffer.whole_mut()[filled..], size + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("read the input at byte {}", size + filled as u64);
                    return hand.fail(LayerError::io(what, error));
                }
            }
        }
        if filled == 0 {
            return Some((hasher.map(Hasher::finish), size));
        }
        buffer.set_filled(filled);
        if let (0, Formats::Layers(algorithm)) = (size, formats) {
            // Whoever reads plain bytes computes their sha256.
            let seen =
                algorithm == Algorithm::Sha256 && Compression::of(&buffer) == Compression::None;
            hasher = (!seen).then(|| Hasher::new(algorithm));
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer);
        }
        size += filled as u64;
        hand.give(buffer)?;
    }
}

/// Hands on what is inflated; at its end, the compression. `None` as for [`read`].
fn inflate(raw: Handed, formats: Formats, max_bytes: u64, hand: &Hand) -> Option<&'static str> {
    let mut decoder = match Decoder::new(raw, max_bytes, formats) {
        Ok(decoder) => decoder,
        Err(error) => return hand.fail(error),
    };
    loop {
        let mut buffer = hand.room();
        let filled = match decoder.fill(buffer.whole_mut()) {
            Ok(filled) => filled,
            Err(error) => return hand.fail(error),
        };
        buffer.set_filled(filled);
        if filled > 0 {
            hand.give(buffer)?;
        }
        if filled < BUFFER {
            return Some(decoder.compression());
        }
    }
}

fn hand(size: usize, depth: usize) -> (Hand, Handed) {
    let (outgoing, incoming) = sync_channel(depth);
    let (used, reusable) = sync_channel(depth + 2);
    let buffer = Aligned::default();
    let handed = Handed { incoming, used, buffer, at: 0, received: 0, ended: false };
    (Hand { outgoing, reusable, size }, handed)
}

impl Hand {
    fn room(&self) -> Aligned {
        self.reusable.try_recv().unwrap_or_else(|_| Aligned::new(self.size))
    }

    /// `None` if nobody takes it.
    fn give(&self, buffer: Aligned) -> Option<()> {
        self.outgoing.send(Ok(buffer)).ok()
    }

    fn fail<T>(&self, error: LayerError) -> Option<T> {
        // The receiver has the error or does not want to know.
        let _ = self.outgoing.send(Err(error));
        None
    }
}

impl Handed {
    /// Where the next byte lies in what was handed on.
    pub(super) fn position(&self) -> u64 {
        self.received - (self.buffer.len() - self.at) as u64
    }

    /// How much was handed on.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next buffer if this one is used up; whether it did.
    fn advance(&mut self) -> io::Result<bool> {
        if self.at < self.buffer.len() || self.ended {
            return Ok(false);
        }
        let next = match self.incoming.recv() {
            Ok(next) => next.map_err(io::Error::other)?,
            Err(_) => {
                self.ended = true;
                Aligned::default()
            }
        };
        self.received += next.len() as u64;
        let old = std::mem::replace(&mut self.buffer, next);
        self.at = 0;
        if !old.is_empty() {
            // Full only if the other side has more than it needs.
            let _ = self.used.try_send(old);
        }
        Ok(!self.ended)
    }
}

impl<T> Source<T> {
    pub(super) fn into_tap(self) -> T {
        self.tap
    }
}

impl BufRead for Handed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.advance()?;
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Handed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<T: Tap> BufRead for Source<T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.handed.advance()? {
            self.tap.bytes(&self.handed.buffer).map_err(io::Error::other)?;
        }
        self.handed.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.handed.consume(amount);
    }
}

impl<T: Tap> Read for Source<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
