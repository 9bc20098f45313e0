//! From a stream to entries.

use std::io::{BufRead, ErrorKind};

use super::block::Header;
use super::pax::{Records, SPARSE, Scope};
use super::{BLOCK, BLOCK_LENGTH, Entry, EntryKind, MAX_EXTENSION, Time};
use crate::layer::LayerError;

/// Reads a tar stream, entry by entry. An entry's data is read with [`Reader::read_data`] before
/// the next call of [`Reader::next_entry`], or skipped by it.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Bytes taken from the source.
    position: u64,
    /// Data of the current entry that is still to come, and the padding after it.
    data_left: u64,
    padding_left: u64,
    /// Name of the current entry, for messages.
    current: Vec<u8>,
}

/// What extension headers said about the entry to come.
#[derive(Default)]
struct Extensions {
    begin: Option<u64>,
    bytes: u64,
    pax: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Begins at the start of `source`.
    pub fn new(source: R) -> Self {
        Self { source, position: 0, data_left: 0, padding_left: 0, current: Vec::new() }
    }

    /// The source, wherever it stands.
    pub fn into_source(self) -> R {
        self.source
    }

    /// The next entry, or `None` at the end of the archive: two blocks of zeros, or the end of
    /// the stream where a header would begin. After `None`, [`Reader::finish`] checks the rest.
    ///
    /// # Errors
    /// [`LayerError::Tar`] with the offset of the header that is wrong or missing,
    /// [`LayerError::Io`] from the source.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        self.skip_data()?;
        let mut extensions = Extensions::default();
        loop {
            let offset = self.position;
            let mut block = [0; BLOCK_LENGTH];
            if !self.read_block(&mut block)? {
                return match extensions.begin {
                    None => Ok(None),
                    Some(begin) => Err(tar(begin, "the archive ends after an extension header")),
                };
            }
            if block.iter().all(|&byte| byte == 0) {
                return self.end_marker(offset, &extensions);
            }
            let header = Header::new(&block).map_err(|problem| tar(offset, problem))?;
            let extension = match header.type_flag() {
                flag @ (b'x' | b'g' | b'L' | b'K') => flag,
                // A volume's name (`tar -V`): nothing to extract.
                b'V' => {
                    self.expect_empty(&header, offset)?;
                    continue;
                }
                _ => return self.entry(&header, extensions, offset).map(Some),
            };
            extensions.begin.get_or_insert(offset);
            let bytes = self.extension(&header, &mut extensions, offset)?;
            extensions.add(extension, &bytes).map_err(|problem| tar(offset, &problem))?;
        }
    }

    /// Hands the current entry's data to `sink`, in pieces of any size, in order.
    ///
    /// # Errors
    /// [`LayerError::Tar`] if the stream ends before the data does, [`LayerError::Io`] from the
    /// source, and whatever `sink` returns.
    pub fn read_data(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        while self.data_left > 0 {
            let (position, left) = (self.position, self.data_left);
            let bytes = fill(&mut self.source, position)?;
            if bytes.is_empty() {
                return Err(self.cut_short(left));
            }
            let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&bytes[..length])?;
            self.source.consume(length);
            self.position += length as u64;
            self.data_left -= length as u64;
        }
        Ok(())
    }

    /// Reads what follows the end of the archive, which must be zeros, and returns the source
    /// and the stream's length in bytes.
    ///
    /// # Errors
    /// [`LayerError::Tar`] with the offset of the first byte that is not zero.
    pub fn finish(mut self) -> Result<(R, u64), LayerError> {
        loop {
            let bytes = fill(&mut self.source, self.position)?;
            if bytes.is_empty() {
                return Ok((self.source, self.position));
            }
            if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
                let offset = self.position + at as u64;
                return Err(tar(offset, "something follows the end of the archive"));
            }
            let length = bytes.len();
            self.source.consume(length);
            self.position += length as u64;
        }
    }

    fn end_marker(
        &mut self,
        offset: u64,
        extensions: &Extensions,
    ) -> Result<Option<Entry>, LayerError> {
        if extensions.begin.is_some() {
            return Err(tar(offset, "the archive ends after an extension header"));
        }
        let mut block = [0; BLOCK_LENGTH];
        if self.read_block(&mut block)? && block.iter().any(|&byte| byte != 0) {
            return Err(tar(offset, "a block of zeros stands alone between entries"));
        }
        Ok(None)
    }

    /// The entry that `header` and the extensions before it describe; its data comes next.
    fn entry(
        &mut self,
        header: &Header<'_>,
        extensions: Extensions,
        offset: u64,
    ) -> Result<Entry, LayerError> {
        let fail = |problem: &str| tar(offset, problem);
        let begin = extensions.begin.unwrap_or(offset);
        let Extensions { pax, long_name, long_link, .. } = extensions;
        let name = one_of(long_name, pax.path).map_err(fail)?.unwrap_or_else(|| header.name());
        let link = one_of(long_link, pax.link_path)
            .map_err(fail)?
            .unwrap_or_else(|| header.link_name().to_vec());
        let stated = match pax.size {
            Some(size) => size,
            None => u64::try_from(header.size().map_err(fail)?)
                .map_err(|_| fail("the size is negative"))?,
        };
        if stated > i64::MAX.cast_unsigned() - BLOCK {
            return Err(fail("the size is absurd"));
        }
        let kind = self.kind(header, &name, link).map_err(fail)?;
        let size = match kind {
            EntryKind::File => stated,
            // Old tars note the file's size in its links, and no data follows.
            EntryKind::HardLink(_) => 0,
            _ if stated == 0 => 0,
            _ => return Err(fail("an entry that holds no data has a size")),
        };
        let mtime = match pax.mtime {
            Some(time) => time,
            None => Time { seconds: header.mtime().map_err(fail)?, nanoseconds: 0 },
        };
        let mode = header.mode().map_err(fail)? & 0o7777;
        let entry = Entry {
            kind,
            mode: u16::try_from(mode).expect("twelve bits"),
            uid: owner(pax.uid, header.uid()).map_err(fail)?,
            gid: owner(pax.gid, header.gid()).map_err(fail)?,
            mtime,
            size,
            data_offset: self.position,
            header_offset: begin,
            xattrs: pax.xattrs,
            name,
        };
        self.data_left = size;
        self.padding_left = size.next_multiple_of(BLOCK) - size;
        self.current.clone_from(&entry.name);
        Ok(entry)
    }

    fn kind(
        &self,
        header: &Header<'_>,
        name: &[u8],
        link: Vec<u8>,
    ) -> Result<EntryKind, &'static str> {
        if name.is_empty() {
            return Err("the name is empty");
        }
        Ok(match header.type_flag() {
            // Before there was a type for directories, a slash at the end said it.
            b'0' | b'7' | 0 if name.ends_with(b"/") => EntryKind::Directory,
            b'0' | b'7' | 0 => EntryKind::File,
            b'1' | b'2' if link.is_empty() => return Err("a link without a target"),
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::CharacterDevice(header.device()?),
            b'4' => EntryKind::BlockDevice(header.device()?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(SPARSE),
            b'M' => return Err("the archive continues another volume"),
            b'D' => return Err("incremental archives are not supported"),
            _ => return Err("the entry's type is not known"),
        })
    }

    /// The content of an extension header.
    fn extension(
        &mut self,
        header: &Header<'_>,
        extensions: &mut Extensions,
        offset: u64,
    ) -> Result<Vec<u8>, LayerError> {
        let size = header.size().ok().and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| tar(offset, "the size is not a number"))?;
        extensions.bytes = extensions.bytes.saturating_add(size);
        if extensions.bytes > MAX_EXTENSION {
            return Err(tar(offset, "the extension headers of one entry are longer than 1 MiB"));
        }
        self.data_left = size;
        self.padding_left = size.next_multiple_of(BLOCK) - size;
        self.current = b"extension header".to_vec();
        let mut bytes = Vec::new();
        self.read_data(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        self.skip_data()?;
        Ok(bytes)
    }

    fn expect_empty(&self, header: &Header<'_>, offset: u64) -> Result<(), LayerError> {
        match header.size() {
            Ok(0) => Ok(()),
            _ => Err(tar(offset, "an entry that holds no data has a size")),
        }
    }

    /// Reads past the current entry's data and padding.
    fn skip_data(&mut self) -> Result<(), LayerError> {
        self.read_data(|_| Ok(()))?;
        self.data_left = std::mem::take(&mut self.padding_left);
        self.read_data(|_| Ok(()))
    }

    /// Fills `block`; false at the end of the stream.
    fn read_block(&mut self, block: &mut [u8; BLOCK_LENGTH]) -> Result<bool, LayerError> {
        let begin = self.position;
        let mut filled = 0;
        while filled < block.len() {
            let bytes = fill(&mut self.source, self.position)?;
            if bytes.is_empty() {
                if filled == 0 {
                    return Ok(false);
                }
                return Err(tar(begin, "the archive ends inside a header"));
            }
            let length = bytes.len().min(block.len() - filled);
            block[filled..filled + length].copy_from_slice(&bytes[..length]);
            self.source.consume(length);
            self.position += length as u64;
            filled += length;
        }
        Ok(true)
    }

    fn cut_short(&self, left: u64) -> LayerError {
        let name = crate::layer::error::shown(&self.current);
        tar(self.position, &format!("the archive ends {left} bytes before the end of {name:?}"))
    }
}

impl Extensions {
    fn add(&mut self, flag: u8, bytes: &[u8]) -> Result<(), String> {
        match flag {
            b'x' => self.pax.add(bytes, Scope::Next)?,
            b'g' => self.pax.add(bytes, Scope::Global)?,
            b'L' => self.long_name = Some(up_to_nul(bytes)?),
            _ => self.long_link = Some(up_to_nul(bytes)?),
        }
        Ok(())
    }
}

/// GNU long names end with a NUL.
fn up_to_nul(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    if end == 0 {
        return Err("a long name is empty".to_owned());
    }
    Ok(bytes[..end].to_vec())
}

fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, &'static str> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => Err("two different long names for one entry"),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

fn owner(pax: Option<u32>, header: Result<i64, &'static str>) -> Result<u32, &'static str> {
    if let Some(id) = pax {
        return Ok(id);
    }
    match u32::try_from(header?) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err("an owner's id is out of range"),
    }
}

fn fill<R: BufRead>(source: &mut R, position: u64) -> Result<&[u8], LayerError> {
    // The loop in one place: an interrupted read is tried again. The borrow checker wants the
    // second call.
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(from_source(error, position)),
        }
    }
    source.fill_buf().map_err(|error| from_source(error, position))
}

/// A source that wraps a [`LayerError`] gets it back as it was.
fn from_source(error: std::io::Error, position: u64) -> LayerError {
    match error.downcast::<LayerError>() {
        Ok(error) => error,
        Err(error) => LayerError::io(format!("read the archive at byte {position}"), error),
    }
}

fn tar(offset: u64, problem: &str) -> LayerError {
    LayerError::Tar { offset, problem: problem.to_owned() }
}
