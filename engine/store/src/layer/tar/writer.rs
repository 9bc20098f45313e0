//! From entries to a stream.

use std::io::{self, Write};

use super::{BLOCK, BLOCK_LENGTH, Device, Entry, EntryKind, Time};

/// Bytes of a name field of a header.
const NAME_FIELD: usize = 100;

/// The largest id that seven octal digits can say.
const MAX_ID: u32 = 0o777_7777;

/// Writes a tar stream, entry by entry: ustar headers, with a pax extended header before those
/// that cannot say everything. The same entries give the same bytes, always.
///
/// After [`Writer::entry`] of a file exactly its size in bytes is written by [`Writer::data`];
/// [`Writer::finish`] ends the archive.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    /// Data of the current entry that is still to come.
    left: u64,
    padding: u64,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub fn new(output: W) -> Self {
        Self { output, left: 0, padding: 0 }
    }

    /// How many bytes of the current entry's data are still to be written.
    pub fn data_left(&self) -> u64 {
        self.left
    }

    /// Begins a member. Its offsets are not looked at; its name is written as it is, with a slash
    /// at the end of a directory's.
    ///
    /// # Errors
    /// `InvalidInput` if data of the entry before are missing, or a number has no place in a
    /// header; otherwise the output's.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_data()?;
        let mut name = entry.name.clone();
        if entry.kind == EntryKind::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let records = records(entry, &name);
        if !records.is_empty() {
            let mut extension = Header::new(&extension_name(&name), b'x');
            extension.octal(100, 8, 0o644);
            extension.octal(124, 12, records.len() as u64);
            self.output.write_all(&extension.finish())?;
            self.output.write_all(&records)?;
            self.zeros(padding_of(records.len() as u64))?;
        }
        let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
        self.output.write_all(&header(entry, &name, size).finish())?;
        self.left = size;
        self.padding = padding_of(size);
        Ok(())
    }

    /// Writes the next bytes of the current entry's data.
    ///
    /// # Errors
    /// `InvalidInput` for more bytes than the entry said; otherwise the output's.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| invalid("more data than the entry said"))?;
        self.output.write_all(bytes)
    }

    /// Fills up what is missing of the current entry's data: of a file that became shorter while
    /// it was read.
    ///
    /// # Errors
    /// The output's.
    pub fn fill(&mut self) -> io::Result<()> {
        let left = std::mem::take(&mut self.left);
        self.zeros(left)
    }

    /// Ends the archive with two blocks of zeros and returns the output.
    ///
    /// # Errors
    /// `InvalidInput` if data are missing; otherwise the output's.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_data()?;
        self.zeros(2 * BLOCK)?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn end_data(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(invalid("less data than the entry said"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.zeros(padding)
    }

    fn zeros(&mut self, mut count: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while count > 0 {
            let length = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.output.write_all(&ZEROS[..length])?;
            count -= length as u64;
        }
        Ok(())
    }
}

/// The header of `entry`; what does not fit is in the pax records before it.
fn header(entry: &Entry, name: &[u8], size: u64) -> Header {
    let (flag, link, device) = match &entry.kind {
        EntryKind::File => (b'0', None, None),
        EntryKind::HardLink(target) => (b'1', Some(target), None),
        EntryKind::Symlink(target) => (b'2', Some(target), None),
        EntryKind::CharacterDevice(device) => (b'3', None, Some(*device)),
        EntryKind::BlockDevice(device) => (b'4', None, Some(*device)),
        EntryKind::Directory => (b'5', None, None),
        EntryKind::Fifo => (b'6', None, None),
    };
    let mut header = Header::new(name, flag);
    header.octal(100, 8, u64::from(entry.mode));
    header.octal(108, 8, u64::from(if fits(entry.uid) { entry.uid } else { 0 }));
    header.octal(116, 8, u64::from(if fits(entry.gid) { entry.gid } else { 0 }));
    header.octal(124, 12, if size < SIZE_BOUND { size } else { 0 });
    let seconds = u64::try_from(entry.mtime.seconds).unwrap_or(0);
    header.octal(136, 12, if seconds < SIZE_BOUND { seconds } else { 0 });
    if let Some(link) = link {
        header.text(157, link);
    }
    if let Some(Device { major, minor }) = device {
        header.octal(329, 8, u64::from(major));
        header.octal(337, 8, u64::from(minor));
    }
    header
}

/// The first number that eleven octal digits cannot say.
const SIZE_BOUND: u64 = 1 << 33;

fn fits(id: u32) -> bool {
    id <= MAX_ID
}

/// What the header of `entry` cannot say, as pax records.
fn records(entry: &Entry, name: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| records.extend(record(key, value));
    if !fits_field(name) {
        add(b"path", name);
    }
    if let EntryKind::HardLink(target) | EntryKind::Symlink(target) = &entry.kind
        && !fits_field(target)
    {
        add(b"linkpath", target);
    }
    if entry.kind == EntryKind::File && entry.size >= SIZE_BOUND {
        add(b"size", entry.size.to_string().as_bytes());
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if !fits(id) {
            add(key.as_bytes(), id.to_string().as_bytes());
        }
    }
    let Time { seconds, nanoseconds } = entry.mtime;
    if nanoseconds != 0 || u64::try_from(seconds).map_or(true, |seconds| seconds >= SIZE_BOUND) {
        add(b"mtime", time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// Names that every reader takes for the same from a header alone.
fn fits_field(name: &[u8]) -> bool {
    name.len() <= NAME_FIELD && name.is_ascii()
}

/// `length key=value\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// `seconds[.fraction]`, with a sign before 1970.
fn time(time: Time) -> String {
    let (sign, seconds, nanoseconds) = match (time.seconds, time.nanoseconds) {
        (seconds, 0) => (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs(), 0),
        (seconds, fraction) if seconds < 0 => {
            ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - fraction)
        }
        (seconds, fraction) => ("", seconds.unsigned_abs(), fraction),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A name for an extended header itself: only readers that do not know pax see it.
fn extension_name(name: &[u8]) -> Vec<u8> {
    let ascii: Vec<u8> = name.iter().copied().filter(u8::is_ascii_graphic).collect();
    let end = ascii.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let base = ascii[..end].rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let base = &base[..base.len().min(80)];
    [b"PaxHeaders.0/".as_slice(), if base.is_empty() { b"_".as_slice() } else { base }].concat()
}

fn padding_of(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

/// A header block being filled in.
struct Header([u8; BLOCK_LENGTH]);

impl Header {
    fn new(name: &[u8], flag: u8) -> Self {
        let mut header = Self([0; BLOCK_LENGTH]);
        header.text(0, name);
        header.octal(108, 8, 0);
        header.octal(116, 8, 0);
        header.octal(136, 12, 0);
        header.0[156] = flag;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header
    }

    /// As much of `text` as a name field takes.
    fn text(&mut self, at: usize, text: &[u8]) {
        let length = text.len().min(NAME_FIELD);
        self.0[at..at + length].copy_from_slice(&text[..length]);
    }

    /// A number of at most `length - 1` octal digits, and a NUL.
    fn octal(&mut self, at: usize, length: usize, number: u64) {
        let digits = format!("{number:0width$o}", width = length - 1);
        self.0[at..at + digits.len().min(length - 1)]
            .copy_from_slice(&digits.as_bytes()[..digits.len().min(length - 1)]);
    }

    fn finish(mut self) -> [u8; BLOCK_LENGTH] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Reader;
    use super::*;

    fn entry(name: &[u8], kind: EntryKind) -> Entry {
        Entry {
            name: name.to_vec(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            data_offset: 0,
            header_offset: 0,
            xattrs: Vec::new(),
        }
    }

    fn written(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            writer.entry(entry).unwrap();
            writer.data(data).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Vec<(Entry, Vec<u8>)> {
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(mut entry) = reader.next_entry().unwrap() {
            let mut data = Vec::new();
            reader
                .read_data(|piece| {
                    data.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            (entry.data_offset, entry.header_offset) = (0, 0);
            entries.push((entry, data));
        }
        assert_eq!(reader.finish().unwrap().1 % BLOCK, 0);
        entries
    }

    #[test]
    fn plain_entries_have_plain_headers() {
        let file = Entry { size: 3, ..entry(b"etc/hosts", EntryKind::File) };
        let bytes = written(&[(file, b"abc".to_vec())]);
        assert_eq!(bytes.len(), 4 * 512);
        assert_eq!(&bytes[..9], b"etc/hosts");
        assert_eq!(&bytes[124..136], b"00000000003\0");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
    }

    #[test]
    fn lengths_of_records_count_themselves() {
        assert_eq!(record(b"a", b"b"), b"6 a=b\n");
        let long = record(b"path", &[b'x'; 90]);
        assert_eq!(long.len(), 99);
        assert!(long.starts_with(b"99 path=x"));
        let longer = record(b"path", &[b'x'; 91]);
        assert_eq!(longer.len(), 101);
        assert!(longer.starts_with(b"101 path=x"));
    }

    #[test]
    fn data_must_be_what_was_said() {
        let file = Entry { size: 3, ..entry(b"a", EntryKind::File) };
        let mut writer = Writer::new(Vec::new());
        writer.entry(&file).unwrap();
        assert!(writer.data(b"abcd").is_err());
        let mut writer = Writer::new(Vec::new());
        writer.entry(&file).unwrap();
        assert!(writer.entry(&file).is_err());
        writer.fill().unwrap();
        writer.entry(&file).unwrap();
        writer.fill().unwrap();
        assert_eq!(read(&writer.finish().unwrap()).len(), 2);
    }

    prop_compose! {
        fn any_kind()(choice in 0..7, target in "[a-zé/]{1,150}", major in 0..=0xfff_u32,
            minor in 0..=0xf_ffff_u32) -> EntryKind {
            let device = Device { major, minor };
            match choice {
                0 => EntryKind::File,
                1 => EntryKind::Directory,
                2 => EntryKind::HardLink(target.into_bytes()),
                3 => EntryKind::Symlink(target.into_bytes()),
                4 => EntryKind::CharacterDevice(device),
                5 => EntryKind::BlockDevice(device),
                _ => EntryKind::Fifo,
            }
        }
    }

    prop_compose! {
        fn any_entry()(
            name in prop::collection::vec(1..=255_u8, 1..200),
            kind in any_kind(),
            mode in 0..=0o7777_u16,
            ids in (0..u32::MAX, 0..u32::MAX),
            seconds in prop_oneof![-100_000_i64..100_000, 8_000_000_000_i64..9_000_000_000],
            nanoseconds in prop_oneof![Just(0), 0..1_000_000_000_u32],
            data in prop::collection::vec(any::<u8>(), 0..1500),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        ) -> (Entry, Vec<u8>) {
            let mut name = name;
            // A slash at the end makes a directory of it, for every reader.
            name.push(if kind == EntryKind::Directory { b'/' } else { b'x' });
            let data = if kind == EntryKind::File { data } else { Vec::new() };
            let mtime = Time { seconds, nanoseconds };
            let xattrs = value.into_iter().map(|value| (b"user.x".to_vec(), value)).collect();
            let (uid, gid) = ids;
            let size = data.len() as u64;
            let (data_offset, header_offset) = (0, 0);
            let entry =
                Entry { name, kind, mode, uid, gid, mtime, size, data_offset, header_offset, xattrs };
            (entry, data)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in prop::collection::vec(any_entry(), 0..5)) {
            prop_assert_eq!(read(&written(&entries)), entries);
        }
    }
}
