//! Compressed input to plain bytes.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use hull_oci::Algorithm;
use lzma_rust2::XzReader;

use super::LayerError;
use super::pipe::{Handed, Tap, inflated};

/// More comes out than this many times what went in: a bomb. Deflate can do 1030, but only on
/// one repeated byte; file systems full of zeros stay far below.
pub(super) const MAX_RATIO: u64 = 500;

/// Below this many bytes out, the ratio does not matter.
pub(super) const RATIO_FLOOR: u64 = 64 << 20;

/// A zstd frame may ask for a window of this many bytes at most, as a power of two: 128 MiB,
/// what `zstd -d` takes without being told otherwise.
const MAX_WINDOW_LOG: u32 = 27;

/// An xz stream may ask for a dictionary that takes this much memory at most, KiB: twice what
/// `xz -9` asks for.
const MAX_XZ_MEMORY: u32 = 128 << 10;

/// Bytes of a layer or archive as they came.
#[derive(Debug)]
pub enum Input {
    /// To the end of the file, pipe or socket.
    Stream(File),
    /// Part of a file. Its position is neither used nor moved.
    Range {
        /// The file.
        file: File,
        /// Where the part begins, bytes.
        offset: u64,
        /// How long it is, bytes.
        length: u64,
    },
}

/// Which compressions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Formats {
    /// Those that layers may have: gzip and zstd. What comes is hashed.
    Layers(Algorithm),
    /// Also those that archives come in: xz and bzip2.
    Archives,
}

/// Reads the plain bytes of what comes.
pub(super) struct Decoder {
    stage: Stage,
    written: u64,
    max_bytes: u64,
}

enum Stage {
    Plain(Handed),
    Gzip(Box<MultiGzDecoder<Handed>>),
    Zstd(zstd::Decoder<'static, Handed>),
    Xz(Box<XzReader<Handed>>),
    Bzip2(Box<MultiBzDecoder<Handed>>),
}

/// Writes the plain bytes of `input`, compressed as archives are or not at all, to `output`;
/// returns how many.
///
/// # Errors
/// As [`LayerError`] says; what was written is then of no use.
pub fn inflate(input: Input, output: File, max_bytes: u64) -> Result<u64, LayerError> {
    let (bytes, _) = inflated(input, Formats::Archives, max_bytes, Plain(output), |mut source| {
        let mut bytes = 0;
        loop {
            let length = source
                .fill_buf()
                .map_err(|error| own_or(error, |error| LayerError::io("inflate", error)))?
                .len();
            if length == 0 {
                return Ok(bytes);
            }
            bytes += length as u64;
            source.consume(length);
        }
    })?;
    Ok(bytes)
}

/// Writes all it sees.
struct Plain(File);

impl Tap for Plain {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.0.write_all(bytes).map_err(|error| LayerError::io("write the plain bytes", error))
    }
}

impl Decoder {
    /// Looks at the first bytes to know the compression.
    pub(super) fn new(
        mut source: Handed,
        max_bytes: u64,
        formats: Formats,
    ) -> Result<Self, LayerError> {
        let start = source
            .fill_buf()
            .map_err(|error| own_or(error, |error| LayerError::io("read the input", error)))?;
        let stage = match Compression::of(start) {
            Compression::Gzip => Stage::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let decoder = zstd::Decoder::with_buffer(source).and_then(|mut decoder| {
                    decoder.window_log_max(MAX_WINDOW_LOG)?;
                    Ok(decoder)
                });
                Stage::Zstd(decoder.map_err(|error| LayerError::io("set up zstd", error))?)
            }
            compression @ (Compression::Xz | Compression::Bzip2)
                if formats != Formats::Archives =>
            {
                return Err(LayerError::Compression {
                    format: if compression == Compression::Xz { "xz" } else { "bzip2" },
                    offset: 0,
                    problem: "layers are compressed with gzip or zstd only".to_owned(),
                });
            }
            // Several streams one after the other are one, as the programs have it.
            Compression::Xz => {
                Stage::Xz(Box::new(XzReader::new_mem_limit(source, true, MAX_XZ_MEMORY)))
            }
            Compression::Bzip2 => Stage::Bzip2(Box::new(MultiBzDecoder::new(source))),
            Compression::None => Stage::Plain(source),
        };
        Ok(Self { stage, written: 0, max_bytes })
    }

    /// Fills `buffer` as far as the input lasts and returns how far that is; less than its
    /// length only at the end.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let read = match &mut self.stage {
                Stage::Plain(source) => source.read(rest),
                Stage::Gzip(source) => source.read(rest),
                Stage::Zstd(source) => source.read(rest),
                Stage::Xz(source) => source.read(rest),
                Stage::Bzip2(source) => source.read(rest),
            };
            match read {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
            self.check_bounds(filled as u64)?;
        }
        self.written += filled as u64;
        Ok(filled)
    }

    fn check_bounds(&self, filled: u64) -> Result<(), LayerError> {
        let written = self.written + filled;
        if written > self.max_bytes {
            return Err(LayerError::TooLarge { what: "bytes", limit: self.max_bytes });
        }
        let read = self.source().received();
        if written > RATIO_FLOOR && written / MAX_RATIO > read {
            return Err(LayerError::Bomb { read, written, ratio: MAX_RATIO });
        }
        Ok(())
    }

    /// `""`, `gzip`, `zstd`, `xz` or `bzip2`.
    pub(super) fn compression(&self) -> &'static str {
        match self.stage {
            Stage::Plain(_) => "",
            Stage::Gzip(_) => "gzip",
            Stage::Zstd(_) => "zstd",
            Stage::Xz(_) => "xz",
            Stage::Bzip2(_) => "bzip2",
        }
    }

    fn source(&self) -> &Handed {
        match &self.stage {
            Stage::Plain(source) => source,
            Stage::Gzip(source) => source.get_ref(),
            Stage::Zstd(source) => source.get_ref(),
            Stage::Xz(source) => source.inner(),
            Stage::Bzip2(source) => source.get_ref(),
        }
    }

    fn error(&self, error: io::Error) -> LayerError {
        // What the decoders find wrong is theirs; a failing read has its own error.
        own_or(error, |error| {
            let offset = self.source().position();
            let problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
                io::ErrorKind::OutOfMemory => {
                    format!("its dictionary needs more than {} MiB of memory", MAX_XZ_MEMORY >> 10)
                }
                // The reader finds the next header to be none.
                io::ErrorKind::InvalidInput if offset > 0 => {
                    format!("it is damaged, or something follows its end ({error})")
                }
                _ => error.to_string(),
            };
            LayerError::Compression { format: self.compression(), offset, problem }
        })
    }
}

/// The [`LayerError`] that went through a reader, or what else it was.
fn own_or(error: io::Error, other: impl FnOnce(io::Error) -> LayerError) -> LayerError {
    error.downcast::<LayerError>().unwrap_or_else(other)
}

impl Input {
    /// Reads what comes next, which is at `at` of the input.
    pub(super) fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::Stream(file) => file.read(buffer),
            Self::Range { file, offset, length } => {
                let left = usize::try_from(*length - at).unwrap_or(usize::MAX);
                let most = buffer.len().min(left);
                let read = file.read_at(&mut buffer[..most], *offset + at)?;
                if read == 0 && most > 0 {
                    let problem = format!("the file ends {left} bytes before the layer does");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
                }
                Ok(read)
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    /// What begins with these bytes.
    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A zstd frame, or one of the skippable frames that may come before.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}
