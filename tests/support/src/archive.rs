//! Tar archives written byte by byte, so that a test can write what no tar program would.

use std::io::Write as _;

/// Type flag of a regular file.
pub const FILE: u8 = b'0';
/// Type flag of a hard link.
pub const HARD_LINK: u8 = b'1';
/// Type flag of a symbolic link.
pub const SYMLINK: u8 = b'2';
/// Type flag of a character device.
pub const CHARACTER_DEVICE: u8 = b'3';
/// Type flag of a block device.
pub const BLOCK_DEVICE: u8 = b'4';
/// Type flag of a directory.
pub const DIRECTORY: u8 = b'5';
/// Type flag of a named pipe.
pub const FIFO: u8 = b'6';

/// One header, with the fields as they will stand in the archive.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// At most 100 bytes; longer names need [`Tar::pax`].
    pub name: &'a str,
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// One of the type flags.
    pub kind: u8,
    /// Target of a link.
    pub link: &'a str,
    /// Content.
    pub data: &'a [u8],
    /// Device numbers.
    pub device: (u32, u32),
    /// Seconds since 1970.
    pub mtime: u64,
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            name: "",
            mode: 0o644,
            uid: 0,
            gid: 0,
            kind: FILE,
            link: "",
            data: b"",
            device: (0, 0),
            mtime: 1_700_000_000,
        }
    }
}

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any entry, hostile ones too.
    #[must_use]
    pub fn entry(mut self, entry: &Entry<'_>) -> Self {
        self.header(entry, entry.data.len() as u64);
        self.bytes.extend_from_slice(entry.data);
        self.pad();
        self
    }

    /// Adds a regular file.
    #[must_use]
    pub fn file(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(&Entry { name, mode, data, ..Entry::default() })
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.entry(&Entry { name, mode, kind: DIRECTORY, ..Entry::default() })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, link: &str) -> Self {
        self.entry(&Entry { name, link, mode: 0o777, kind: SYMLINK, ..Entry::default() })
    }

    /// Adds a hard link to an earlier name.
    #[must_use]
    pub fn hard_link(self, name: &str, link: &str) -> Self {
        self.entry(&Entry { name, link, kind: HARD_LINK, ..Entry::default() })
    }

    /// Adds extended headers for the entry after them.
    #[must_use]
    pub fn pax(mut self, records: &[(&str, &str)]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            data.extend_from_slice(pax_record(key, value).as_bytes());
        }
        let entry = Entry { name: "pax", kind: b'x', data: &data, ..Entry::default() };
        self.header(&entry, data.len() as u64);
        self.bytes.extend_from_slice(&data);
        self.pad();
        self
    }

    /// Adds a header that promises `size` bytes and no content.
    #[must_use]
    pub fn header_only(mut self, entry: &Entry<'_>, size: u64) -> Self {
        self.header(entry, size);
        self
    }

    /// Adds bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The archive with its end marker.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }

    /// The archive without its end.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    fn header(&mut self, entry: &Entry<'_>, size: u64) {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(entry.name.len() <= 100 && entry.link.len() <= 100, "long names need pax");
        put(0, entry.name.as_bytes());
        put(100, format!("{:07o}\0", entry.mode).as_bytes());
        put(108, format!("{:07o}\0", entry.uid).as_bytes());
        put(116, format!("{:07o}\0", entry.gid).as_bytes());
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, format!("{:011o}\0", entry.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[entry.kind]);
        put(157, entry.link.as_bytes());
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", entry.device.0).as_bytes());
        put(337, format!("{:07o}\0", entry.device.1).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&block);
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(length, 0);
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while rest.len() + length.to_string().len() != length {
        length += 1;
    }
    format!("{length}{rest}")
}

/// A member of an archive that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, as it stands there.
    pub name: String,
    /// Type flag.
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Target of a link.
    pub link: String,
    /// Content.
    pub data: Vec<u8>,
    /// Its pax records.
    pub pax: Vec<(String, Vec<u8>)>,
}

impl Member {
    /// The value of a pax record.
    pub fn record(&self, key: &str) -> Option<&[u8]> {
        self.pax.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }
}

/// Reads an archive of ustar and pax headers.
#[track_caller]
pub fn members(mut bytes: &[u8]) -> Vec<Member> {
    let mut members = Vec::new();
    let mut pax = Vec::new();
    loop {
        let (block, rest) = bytes.split_at_checked(512).expect("an archive has an end marker");
        bytes = rest;
        if block.iter().all(|byte| *byte == 0) {
            assert!(rest.iter().all(|byte| *byte == 0), "nothing follows the end marker");
            return members;
        }
        let text = |at: usize, length: usize| {
            let field = &block[at..at + length];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
            String::from_utf8(field[..end].to_vec()).unwrap()
        };
        let number = |at, length| u64::from_str_radix(text(at, length).trim(), 8).unwrap();
        let size = usize::try_from(number(124, 12)).unwrap();
        let (data, rest) = bytes.split_at(size.next_multiple_of(512));
        bytes = rest;
        let data = data[..size].to_vec();
        if block[156] == b'x' {
            pax = records(&data);
            continue;
        }
        let mut member = Member {
            name: text(0, 100),
            kind: block[156],
            mode: u32::try_from(number(100, 8)).unwrap(),
            uid: u32::try_from(number(108, 8)).unwrap(),
            gid: u32::try_from(number(116, 8)).unwrap(),
            link: text(157, 100),
            data,
            pax: std::mem::take(&mut pax),
        };
        let long = |key| member.record(key).map(|value| String::from_utf8(value.to_vec()).unwrap());
        let (name, link) = (long("path"), long("linkpath"));
        member.name = name.unwrap_or(member.name);
        member.link = link.unwrap_or(member.link);
        members.push(member);
    }
}

fn records(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').unwrap();
        let key = String::from_utf8(record[..equals].to_vec()).unwrap();
        records.push((key, record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    records
}

/// Compressed by xz.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compressed by bzip2.
pub fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
