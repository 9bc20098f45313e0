//! Packs: many objects in one stream, some of them as what changed from another.
//! Spec: gitformat-pack.
//!
//! The stream is read once. Objects are inflated into a spool as they come, and found there by
//! their names; memory holds only where they lie.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt;

use flate2::Crc;
use flate2::bufread::ZlibDecoder;

use crate::object::Kind;
use crate::oid::{LENGTH, Oid, hasher};

/// Longest chain of changes. Git itself makes at most 4095 (`pack.depth`).
const MAX_DEPTH: u32 = 4096;

/// Bounds of a pack.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Objects.
    pub objects: u32,
    /// Bytes of one object.
    pub object_bytes: u64,
    /// Bytes of all objects, inflated.
    pub bytes: u64,
}

/// A pack that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is none, or damaged.
    #[error("the pack is damaged: {0}")]
    Damaged(&'static str),
    /// Larger than allowed.
    #[error("the pack has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The stream cannot be read or inflated.
    #[error("the pack cannot be read")]
    Read(#[source] io::Error),
    /// The spool cannot be used.
    #[error("cannot {action} the spool of a pack")]
    Spool {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// The objects of a pack.
#[derive(Debug)]
pub struct Pack {
    spool: File,
    objects: HashMap<Oid, Place>,
    entries: Vec<Entry>,
    checksum: Oid,
    length: u64,
}

/// What an index of the pack says of one of its entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) oid: Oid,
    /// Where it begins in the pack.
    pub(crate) offset: u64,
    /// CRC-32 of it as it is in the pack.
    pub(crate) crc: u32,
}

/// Where an object lies in the spool.
#[derive(Debug, Clone, Copy)]
struct Place {
    kind: Kind,
    offset: u64,
    size: u64,
    depth: u32,
}

/// What an entry of the stream is.
enum Header {
    Whole(Kind),
    /// A change of the entry that begins at this offset of the stream.
    OfEntry(u64),
    /// A change of the object of this name.
    OfObject(Oid),
}

impl Pack {
    /// Reads a pack to its end. `spool` is an empty file, open for reading and writing.
    ///
    /// # Errors
    /// [`PackError`]; the spool then holds nothing of use.
    pub fn read(input: impl BufRead, spool: File, limits: &Limits) -> Result<Self, PackError> {
        let mut input = Hashed { input, hasher: hasher(), crc: Crc::new(), read: 0 };
        let mut start = [0; 12];
        exact(&mut input, &mut start)?;
        let (magic, version) = (&start[..4], &start[4..8]);
        if magic != b"PACK" || version != [0, 0, 0, 2] {
            return Err(PackError::Damaged("it does not begin as one of version 2"));
        }
        let count = u32::from_be_bytes([start[8], start[9], start[10], start[11]]);
        if count > limits.objects {
            return Err(PackError::TooLarge { what: "objects", limit: limits.objects.into() });
        }
        let mut reader = Reader {
            pack: Self {
                spool,
                objects: HashMap::new(),
                entries: Vec::new(),
                checksum: Oid::new([0; LENGTH]),
                length: 0,
            },
            entries: HashMap::new(),
            waiting: Vec::new(),
            end: 0,
            bytes: 0,
            limits: *limits,
        };
        for _ in 0..count {
            reader.entry(&mut input)?;
        }
        let sum = Oid::of(input.hasher.clone());
        let mut promised = [0; LENGTH];
        exact(&mut input, &mut promised)?;
        if sum.as_bytes() != promised {
            return Err(PackError::Damaged("its checksum is another"));
        }
        reader.settle()?;
        reader.pack.checksum = sum;
        reader.pack.length = input.read;
        Ok(reader.pack)
    }

    /// The kind and size in bytes of an object.
    pub fn find(&self, oid: Oid) -> Option<(Kind, u64)> {
        self.objects.get(&oid).map(|place| (place.kind, place.size))
    }

    /// The content of an object that is to be of `kind`; `None` if there is none such.
    ///
    /// # Errors
    /// [`PackError::Spool`].
    pub fn content(&self, oid: Oid, kind: Kind) -> Result<Option<Vec<u8>>, PackError> {
        match self.objects.get(&oid) {
            Some(place) if place.kind == kind => self.bytes(place).map(Some),
            _ => Ok(None),
        }
    }

    /// Its entries: as many as it says, an object that is in it twice counts twice.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The names of its commits, sorted.
    pub(crate) fn commits(&self) -> Vec<Oid> {
        let commits = self.objects.iter().filter(|(_, place)| place.kind == Kind::Commit);
        let mut commits: Vec<Oid> = commits.map(|(oid, _)| *oid).collect();
        commits.sort_unstable();
        commits
    }

    /// The SHA-1 it ends with.
    pub(crate) fn checksum(&self) -> Oid {
        self.checksum
    }

    /// Bytes of the stream from its first to the last of its checksum.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn bytes(&self, place: &Place) -> Result<Vec<u8>, PackError> {
        let size = usize::try_from(place.size).expect("an object's size is bounded");
        let mut bytes = vec![0; size];
        self.spool
            .read_exact_at(&mut bytes, place.offset)
            .map_err(|source| PackError::Spool { action: "read", source })?;
        Ok(bytes)
    }
}

/// A change whose base is not there yet.
struct Waiting {
    base: Oid,
    delta: Vec<u8>,
    /// Of the entry: where it begins, and its CRC-32.
    at: u64,
    crc: u32,
}

struct Reader {
    pack: Pack,
    /// By offset in the stream.
    entries: HashMap<u64, Place>,
    /// Changes of objects that come later in the stream.
    waiting: Vec<Waiting>,
    /// Where the spool ends.
    end: u64,
    /// What counts against the limit: the spool, and changes that wait in memory.
    bytes: u64,
    limits: Limits,
}

impl Reader {
    fn entry(&mut self, input: &mut Hashed<impl BufRead>) -> Result<(), PackError> {
        let at = input.read;
        input.crc.reset();
        let (header, size) = header(input, at)?;
        if size > self.limits.object_bytes {
            let limit = self.limits.object_bytes;
            return Err(PackError::TooLarge { what: "bytes in one object", limit });
        }
        let data = inflate(input, size)?;
        let crc = input.crc.sum();
        let (oid, place) = match header {
            Header::Whole(kind) => self.add(kind, 0, &data)?,
            Header::OfEntry(base) => {
                let base =
                    *self.entries.get(&base).ok_or(PackError::Damaged("a change of nothing"))?;
                self.changed(&base, &data)?
            }
            Header::OfObject(base) => match self.pack.objects.get(&base).copied() {
                Some(base) => self.changed(&base, &data)?,
                None => {
                    self.grow(size)?;
                    self.waiting.push(Waiting { base, delta: data, at, crc });
                    return Ok(());
                }
            },
        };
        self.entries.insert(at, place);
        self.pack.entries.push(Entry { oid, offset: at, crc });
        Ok(())
    }

    /// Applies changes whose base came later.
    fn settle(&mut self) -> Result<(), PackError> {
        while !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let before = waiting.len();
            for change in waiting {
                match self.pack.objects.get(&change.base).copied() {
                    Some(base) => {
                        let (oid, _) = self.changed(&base, &change.delta)?;
                        let Waiting { at: offset, crc, .. } = change;
                        self.pack.entries.push(Entry { oid, offset, crc });
                    }
                    None => self.waiting.push(change),
                }
            }
            if self.waiting.len() == before {
                return Err(PackError::Damaged("a change of an object that is not in it"));
            }
        }
        Ok(())
    }

    fn changed(&mut self, base: &Place, delta: &[u8]) -> Result<(Oid, Place), PackError> {
        if base.depth >= MAX_DEPTH {
            return Err(PackError::TooLarge {
                what: "changes of changes",
                limit: MAX_DEPTH.into(),
            });
        }
        let data = apply(&self.pack.bytes(base)?, delta, self.limits.object_bytes)?;
        self.add(base.kind, base.depth + 1, &data)
    }

    fn add(&mut self, kind: Kind, depth: u32, data: &[u8]) -> Result<(Oid, Place), PackError> {
        let size = data.len() as u64;
        let place = Place { kind, offset: self.end, size, depth };
        self.grow(size)?;
        self.pack
            .spool
            .write_all(data)
            .map_err(|source| PackError::Spool { action: "write", source })?;
        self.end += size;
        let mut hasher = hasher();
        hasher.update(format!("{} {size}\0", kind.as_str()).as_bytes());
        hasher.update(data);
        let oid = Oid::of(hasher);
        self.pack.objects.insert(oid, place);
        Ok((oid, place))
    }

    fn grow(&mut self, size: u64) -> Result<(), PackError> {
        self.bytes += size;
        if self.bytes > self.limits.bytes {
            return Err(PackError::TooLarge { what: "bytes", limit: self.limits.bytes });
        }
        Ok(())
    }
}

/// An entry's header, and the size of what follows it once inflated.
fn header(input: &mut impl Read, at: u64) -> Result<(Header, u64), PackError> {
    let mut byte = one(input)?;
    let kind = (byte >> 4) & 7;
    let mut size = u64::from(byte & 15);
    let mut shift = 4;
    while byte & 0x80 != 0 {
        byte = one(input)?;
        if shift > 56 {
            return Err(PackError::Damaged("a size that is none"));
        }
        size |= u64::from(byte & 0x7f) << shift;
        shift += 7;
    }
    let header = match kind {
        1 => Header::Whole(Kind::Commit),
        2 => Header::Whole(Kind::Tree),
        3 => Header::Whole(Kind::Blob),
        4 => Header::Whole(Kind::Tag),
        6 => Header::OfEntry(before(input, at)?),
        7 => {
            let mut oid = [0; LENGTH];
            exact(input, &mut oid)?;
            Header::OfObject(Oid::new(oid))
        }
        _ => return Err(PackError::Damaged("an entry of an unknown kind")),
    };
    Ok((header, size))
}

/// The offset of an earlier entry, written as the distance to it.
fn before(input: &mut impl Read, at: u64) -> Result<u64, PackError> {
    let wrong = PackError::Damaged("a change of what does not come before it");
    let mut byte = one(input)?;
    let mut distance = u64::from(byte & 0x7f);
    while byte & 0x80 != 0 {
        byte = one(input)?;
        if distance >= 1 << 50 {
            return Err(wrong);
        }
        distance = ((distance + 1) << 7) | u64::from(byte & 0x7f);
    }
    at.checked_sub(distance).filter(|base| *base < at).ok_or(wrong)
}

/// Inflates exactly `size` bytes.
fn inflate(input: &mut impl BufRead, size: u64) -> Result<Vec<u8>, PackError> {
    let mut data = Vec::new();
    let mut decoder = ZlibDecoder::new(input);
    // One more than there should be, so that the end is seen, and the checksum behind it read.
    (&mut decoder).take(size + 1).read_to_end(&mut data).map_err(PackError::Read)?;
    if data.len() as u64 != size {
        return Err(PackError::Damaged("an entry of another size than it says"));
    }
    Ok(data)
}

/// Makes an object of another and of what changed. Spec: gitformat-pack, "Deltified
/// representation".
fn apply(base: &[u8], mut delta: &[u8], limit: u64) -> Result<Vec<u8>, PackError> {
    let wrong = || PackError::Damaged("a change that does not fit");
    let before = varint(&mut delta)?;
    let after = varint(&mut delta)?;
    if before != base.len() as u64 {
        return Err(wrong());
    }
    if after > limit {
        return Err(PackError::TooLarge { what: "bytes in one object", limit });
    }
    let after = usize::try_from(after).map_err(|_| wrong())?;
    let mut data = Vec::with_capacity(after);
    while let Some((op, rest)) = delta.split_first() {
        delta = rest;
        let piece = if op & 0x80 != 0 {
            let offset = packed(&mut delta, *op, 4).ok_or_else(wrong)?;
            let length = packed(&mut delta, op >> 4, 3).ok_or_else(wrong)?;
            let length = if length == 0 { 0x10000 } else { length };
            base.get(offset..).and_then(|rest| rest.get(..length)).ok_or_else(wrong)?
        } else if *op != 0 {
            let (piece, rest) = delta.split_at_checked(usize::from(*op)).ok_or_else(wrong)?;
            delta = rest;
            piece
        } else {
            return Err(wrong());
        };
        if data.len() + piece.len() > after {
            return Err(wrong());
        }
        data.extend_from_slice(piece);
    }
    if data.len() == after { Ok(data) } else { Err(wrong()) }
}

/// A number of at most `most` bytes of which those are there whose bit is set.
fn packed(delta: &mut &[u8], bits: u8, most: u32) -> Option<usize> {
    let mut number = 0;
    for place in 0..most {
        if bits & (1 << place) != 0 {
            let (byte, rest) = delta.split_first()?;
            *delta = rest;
            number |= usize::from(*byte) << (8 * place);
        }
    }
    Some(number)
}

fn varint(delta: &mut &[u8]) -> Result<u64, PackError> {
    let wrong = || PackError::Damaged("a change without its sizes");
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = delta.split_first().ok_or_else(wrong)?;
        *delta = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(wrong())
}

fn one(input: &mut impl Read) -> Result<u8, PackError> {
    let mut byte = [0];
    exact(input, &mut byte)?;
    Ok(byte[0])
}

fn exact(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), PackError> {
    input.read_exact(buffer).map_err(PackError::Read)
}

/// Hashes, sums and counts what is consumed of a stream.
struct Hashed<R> {
    input: R,
    hasher: ring::digest::Context,
    /// Since an entry began.
    crc: Crc,
    read: u64,
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was shown by the last call, which fails no second time.
        if let Ok(shown) = self.input.fill_buf() {
            self.hasher.update(&shown[..amount]);
            self.crc.update(&shown[..amount]);
        }
        self.read += amount as u64;
        self.input.consume(amount);
    }
}
