//! Compressing a layer's tar on several threads, always to the same bytes.
//!
//! The input is cut at fixed places. Each piece is compressed by itself, whoever does it, and the
//! results follow each other: for gzip one deflate stream, in which a piece may refer to the end
//! of the one before it (as pigz does it); for zstd one frame per piece. So the output depends on
//! the input and the method alone, not on how many threads there are.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use hull_oci::{Algorithm, Digest, Hasher};
use serde::{Deserialize, Serialize};

use super::LayerError;
use super::read::Input;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// RFC 1952, what every tool reads.
    #[default]
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// What was compressed and what it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compressed {
    /// Digest of the input.
    pub diff_id: Digest,
    /// Bytes of the input.
    pub tar_size: u64,
    /// Digest of the output.
    pub digest: Digest,
    /// Bytes of the output.
    pub size: u64,
}

/// Bytes of a piece for gzip.
const GZIP_PIECE: usize = 128 << 10;

/// What a piece may refer to of the one before: deflate's whole window.
const DICTIONARY: usize = 32 << 10;

/// Bytes of a piece for zstd: as much as the level looks back.
const ZSTD_PIECE: usize = 2 << 20;

/// The levels: what `gzip` and `zstd` do when nobody says anything. They are part of the result.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// A header without name and time, of an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

struct Piece {
    bytes: Vec<u8>,
    /// The end of the piece before.
    dictionary: Vec<u8>,
    is_last: bool,
    done: SyncSender<Result<Done, LayerError>>,
}

struct Done {
    bytes: Vec<u8>,
    crc: Crc,
}

/// Compresses `input` into `output`, an empty file, on `threads` threads beside this one, by the
/// method's own `level` (0 to 9, 1 to 22) or the usual one. What was
/// written is on disk when this returns.
///
/// # Errors
/// Reading and writing; what `output` holds is then of no use.
pub fn compress(
    input: Input,
    output: File,
    method: Method,
    level: Option<i32>,
    threads: usize,
) -> Result<Compressed, LayerError> {
    let threads = threads.max(1);
    let (pieces, waiting) = sync_channel::<Piece>(threads);
    let waiting = Arc::new(Mutex::new(waiting));
    let (order, results) = sync_channel(threads + 1);
    thread::scope(|scope| {
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name("compress".to_owned())
                .spawn_scoped(scope, move || work(&waiting, method, level))
                .map_err(|error| LayerError::io("start a thread", error))?;
        }
        // Only they keep it: when they are gone, cutting ends too.
        drop(waiting);
        let writer = thread::Builder::new()
            .name("write".to_owned())
            .spawn_scoped(scope, move || write(&results, output, method))
            .map_err(|error| LayerError::io("start a thread", error))?;
        let cut = cut(input, method, &pieces, &order);
        drop((pieces, order));
        let written = match writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Who cuts stops early when who writes fails: that is the cause then.
        let (digest, size) = written?;
        let (diff_id, tar_size) = cut?;
        Ok(Compressed { diff_id, tar_size, digest, size })
    })
}

/// Cuts the input and hands out the pieces, with their results in order.
fn cut(
    mut input: Input,
    method: Method,
    pieces: &SyncSender<Piece>,
    order: &SyncSender<Receiver<Result<Done, LayerError>>>,
) -> Result<(Digest, u64), LayerError> {
    let length = match method {
        Method::Gzip => GZIP_PIECE,
        Method::Zstd => ZSTD_PIECE,
    };
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut total = 0;
    let mut dictionary = Vec::new();
    let mut next = fill(&mut input, total, length)?;
    loop {
        let bytes = next;
        hasher.update(&bytes);
        total += bytes.len() as u64;
        let ended = bytes.len() < length;
        next = if ended { Vec::new() } else { fill(&mut input, total, length)? };
        let is_last = ended || next.is_empty();
        let following = match method {
            Method::Gzip => bytes[bytes.len().saturating_sub(DICTIONARY)..].to_vec(),
            Method::Zstd => Vec::new(),
        };
        let (done, result) = sync_channel(1);
        let dictionary = std::mem::replace(&mut dictionary, following);
        let sent = order.send(result).is_ok()
            && pieces.send(Piece { bytes, dictionary, is_last, done }).is_ok();
        if !sent || is_last {
            return Ok((hasher.finish(), total));
        }
    }
}

/// The next `length` bytes, fewer only at the end.
fn fill(input: &mut Input, at: u64, length: usize) -> Result<Vec<u8>, LayerError> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let rest = &mut bytes[filled..];
        let read = match input {
            Input::Stream(file) => file.read(rest),
            Input::Range { file, offset, length } => {
                let done = at + filled as u64;
                let left = usize::try_from(*length - done).unwrap_or(usize::MAX);
                let most = rest.len().min(left);
                match file.read_at(&mut rest[..most], *offset + done) {
                    Ok(0) if most > 0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                    read => read,
                }
            }
        };
        match read {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LayerError::io("read the layer's tar", error)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Compresses pieces until there are no more.
fn work(waiting: &Mutex<Receiver<Piece>>, method: Method, level: Option<i32>) {
    loop {
        let piece = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Piece { bytes, dictionary, is_last, done }) = piece else { return };
        let result = match method {
            Method::Gzip => deflated(&bytes, &dictionary, is_last, level),
            Method::Zstd => zstd::bulk::compress(&bytes, level.unwrap_or(ZSTD_LEVEL))
                .map(|bytes| Done { bytes, crc: Crc::new() })
                .map_err(|error| LayerError::io("compress by zstd", error)),
        };
        // Who writes may have failed.
        let _ = done.send(result);
    }
}

fn deflated(
    bytes: &[u8],
    dictionary: &[u8],
    is_last: bool,
    level: Option<i32>,
) -> Result<Done, LayerError> {
    let level = level.map_or(GZIP_LEVEL, |level| u32::try_from(level).unwrap_or(0).min(9));
    let failed = |error: flate2::CompressError| {
        LayerError::io("compress by gzip", std::io::Error::other(error))
    };
    // A new one for each piece: one that was reset finds other matches than a fresh one.
    let mut deflate = Compress::new(Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(failed)?;
    }
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut output = Vec::with_capacity(bytes.len() / 2 + 1024);
    let mut consumed = 0;
    loop {
        if output.len() == output.capacity() {
            output.reserve(bytes.len() / 2 + 1024);
        }
        let before = deflate.total_in();
        let status =
            deflate.compress_vec(&bytes[consumed..], &mut output, flush).map_err(failed)?;
        consumed += usize::try_from(deflate.total_in() - before).unwrap_or(usize::MAX);
        // With room left over a flush is whole.
        let is_whole = match status {
            Status::StreamEnd => true,
            _ => !is_last && consumed == bytes.len() && output.len() < output.capacity(),
        };
        if is_whole {
            break;
        }
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    Ok(Done { bytes: output, crc })
}

/// Writes results in their order.
fn write(
    results: &Receiver<Receiver<Result<Done, LayerError>>>,
    output: File,
    method: Method,
) -> Result<(Digest, u64), LayerError> {
    let failed = |error| LayerError::io("write the compressed layer", error);
    let mut output = Output {
        file: BufWriter::with_capacity(1 << 20, output),
        hasher: Hasher::new(Algorithm::Sha256),
        size: 0,
    };
    if method == Method::Gzip {
        output.write(&GZIP_HEADER).map_err(failed)?;
    }
    let mut crc = Crc::new();
    for result in results {
        let died = || LayerError::io("compress", std::io::ErrorKind::BrokenPipe);
        let done = result.recv().map_err(|_| died())??;
        crc.combine(&done.crc);
        output.write(&done.bytes).map_err(failed)?;
    }
    if method == Method::Gzip {
        output.write(&crc.sum().to_le_bytes()).map_err(failed)?;
        output.write(&crc.amount().to_le_bytes()).map_err(failed)?;
    }
    let file = output.file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_data().map_err(failed)?;
    Ok((output.hasher.finish(), output.size))
}

struct Output {
    file: BufWriter<File>,
    hasher: Hasher,
    size: u64,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    /// Bytes that compress like files do.
    fn text(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24
        };
        (0..length)
            .map(|at| {
                if at % 7 < 4 {
                    b"abcd"[next() as usize % 4]
                } else {
                    u8::try_from(at / 3 % 251).unwrap()
                }
            })
            .collect()
    }

    fn compressed(bytes: &[u8], method: Method, threads: usize) -> (Compressed, Vec<u8>) {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(bytes).unwrap();
        let input = Input::Range { file: input, offset: 0, length: bytes.len() as u64 };
        let mut output = tempfile::tempfile().unwrap();
        let report = compress(input, output.try_clone().unwrap(), method, None, threads).unwrap();
        output.rewind().unwrap();
        let mut written = Vec::new();
        output.read_to_end(&mut written).unwrap();
        (report, written)
    }

    #[test]
    fn what_comes_out_is_what_went_in_whoever_did_it() {
        for method in [Method::Gzip, Method::Zstd] {
            let piece = if method == Method::Gzip { GZIP_PIECE } else { ZSTD_PIECE };
            for length in [0, 1, 512, piece - 1, piece, piece + 1, 3 * piece + 77] {
                let bytes = text(length);
                let (report, written) = compressed(&bytes, method, 1);
                let mut back = Vec::new();
                match method {
                    Method::Gzip => {
                        let mut decoder = flate2::read::GzDecoder::new(written.as_slice());
                        decoder.read_to_end(&mut back).unwrap();
                    }
                    Method::Zstd => back = zstd::decode_all(written.as_slice()).unwrap(),
                }
                assert!(back == bytes, "{method:?} {length}");
                assert_eq!(report.diff_id, Digest::sha256(&bytes));
                assert_eq!(report.tar_size, length as u64);
                assert_eq!(report.digest, Digest::sha256(&written));
                assert_eq!(report.size, written.len() as u64);
                for threads in [2, 5] {
                    assert!(
                        compressed(&bytes, method, threads).1 == written,
                        "{method:?} {length} {threads}"
                    );
                }
            }
        }
    }

    #[test]
    fn pieces_refer_to_those_before() {
        let bytes = text(GZIP_PIECE).repeat(1);
        let twice = [bytes.as_slice(), &bytes[GZIP_PIECE - 1000..]].concat();
        let (once, _) = compressed(&bytes, Method::Gzip, 2);
        let (both, _) = compressed(&twice, Method::Gzip, 2);
        assert!(both.size - once.size < 100, "{} and {}", once.size, both.size);
    }

    #[test]
    fn a_disk_that_takes_nothing_ends_it() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(&text(40 * GZIP_PIECE)).unwrap();
        let input = Input::Range { file: input, offset: 0, length: 40 * GZIP_PIECE as u64 };
        let error = compress(input, full, Method::Gzip, None, 2).unwrap_err();
        assert!(error.to_string().contains("write the compressed layer"), "{error}");
    }
}
