//! Compressed input to plain bytes, hashing what goes in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use hull_oci::{Algorithm, Digest, Hasher};
use lzma_rust2::XzReader;

use super::LayerError;

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

const INPUT_BUFFER: usize = 256 << 10;

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
    /// Those that layers may have: gzip and zstd.
    Layers,
    /// Also those that archives come in: xz and bzip2.
    Archives,
}

/// What the input turned out to be.
#[derive(Debug)]
pub(super) struct Consumed {
    /// Of the compressed bytes; `None` for plain input, which is its own output.
    pub(super) digest: Option<Digest>,
    /// Bytes as they came.
    pub(super) size: u64,
    /// `""`, `gzip`, `zstd`, `xz` or `bzip2`.
    pub(super) compression: &'static str,
}

/// Reads the plain bytes of an [`Input`].
pub(super) struct Decoder {
    stage: Stage,
    written: u64,
    max_bytes: u64,
}

enum Stage {
    Plain(BufReader<Meter>),
    Gzip(Box<MultiGzDecoder<BufReader<Meter>>>),
    Zstd(zstd::Decoder<'static, BufReader<Meter>>),
    Xz(Box<XzReader<BufReader<Meter>>>),
    Bzip2(Box<MultiBzDecoder<BufReader<Meter>>>),
}

/// Counts and hashes the input.
struct Meter {
    input: Input,
    read: u64,
    hasher: Option<Hasher>,
}

/// Writes the plain bytes of `input`, compressed as archives are or not at all, to `output`;
/// returns how many.
///
/// # Errors
/// As [`LayerError`] says; what was written is then of no use.
pub fn inflate(input: Input, mut output: File, max_bytes: u64) -> Result<u64, LayerError> {
    let mut decoder = Decoder::new(input, max_bytes, Formats::Archives)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let filled = decoder.fill(&mut buffer)?;
        output
            .write_all(&buffer[..filled])
            .map_err(|error| LayerError::io("write the plain bytes", error))?;
        if filled < buffer.len() {
            return Ok(decoder.written);
        }
    }
}

impl Decoder {
    /// Looks at the first bytes to know the compression.
    pub(super) fn new(input: Input, max_bytes: u64, formats: Formats) -> Result<Self, LayerError> {
        let meter = Meter { input, read: 0, hasher: Some(Hasher::new(Algorithm::Sha256)) };
        let mut source = BufReader::with_capacity(INPUT_BUFFER, meter);
        let start = source.fill_buf().map_err(|error| read_error(0, error))?;
        let stage = match Compression::of(start) {
            Compression::Gzip => Stage::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let decoder = zstd::Decoder::with_buffer(source).and_then(|mut decoder| {
                    decoder.window_log_max(MAX_WINDOW_LOG)?;
                    Ok(decoder)
                });
                Stage::Zstd(decoder.map_err(|error| LayerError::io("set up zstd", error))?)
            }
            compression @ (Compression::Xz | Compression::Bzip2) if formats == Formats::Layers => {
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
            Compression::None => {
                // The plain bytes are hashed by whoever reads them.
                source.get_mut().hasher = None;
                Stage::Plain(source)
            }
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

    /// Closes the input; to be called after its end was read.
    pub(super) fn finish(self) -> Consumed {
        let compression = self.compression();
        let meter = match self.stage {
            Stage::Plain(source) => source.into_inner(),
            Stage::Gzip(source) => source.into_inner().into_inner(),
            Stage::Zstd(source) => source.finish().into_inner(),
            Stage::Xz(source) => source.into_inner().into_inner(),
            Stage::Bzip2(source) => source.into_inner().into_inner(),
        };
        Consumed { digest: meter.hasher.map(Hasher::finish), size: meter.read, compression }
    }

    fn check_bounds(&self, filled: u64) -> Result<(), LayerError> {
        let written = self.written + filled;
        if written > self.max_bytes {
            return Err(LayerError::TooLarge { what: "bytes", limit: self.max_bytes });
        }
        let read = self.source().get_ref().read;
        if written > RATIO_FLOOR && written / MAX_RATIO > read {
            return Err(LayerError::Bomb { read, written, ratio: MAX_RATIO });
        }
        Ok(())
    }

    fn compression(&self) -> &'static str {
        match self.stage {
            Stage::Plain(_) => "",
            Stage::Gzip(_) => "gzip",
            Stage::Zstd(_) => "zstd",
            Stage::Xz(_) => "xz",
            Stage::Bzip2(_) => "bzip2",
        }
    }

    fn source(&self) -> &BufReader<Meter> {
        match &self.stage {
            Stage::Plain(source) => source,
            Stage::Gzip(source) => source.get_ref(),
            Stage::Zstd(source) => source.get_ref(),
            Stage::Xz(source) => source.inner(),
            Stage::Bzip2(source) => source.get_ref(),
        }
    }

    fn error(&self, error: io::Error) -> LayerError {
        let source = self.source();
        let offset = source.get_ref().read - source.buffer().len() as u64;
        // A failing read carries a system error; what the decoders find wrong does not.
        if error.raw_os_error().is_some() || matches!(self.stage, Stage::Plain(_)) {
            return read_error(offset, error);
        }
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
    }
}

fn read_error(offset: u64, error: io::Error) -> LayerError {
    LayerError::io(format!("read the input at byte {offset}"), error)
}

impl Read for Meter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.input {
            Input::Stream(file) => file.read(buffer)?,
            Input::Range { file, offset, length } => {
                let left = usize::try_from(*length - self.read).unwrap_or(usize::MAX);
                let most = buffer.len().min(left);
                let read = file.read_at(&mut buffer[..most], *offset + self.read)?;
                if read == 0 && most > 0 {
                    let problem = format!("the file ends {left} bytes before the layer does");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
                }
                read
            }
        };
        self.read += read as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    fn of(start: &[u8]) -> Self {
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
