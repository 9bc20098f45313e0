//! The headers of a tar stream.
//!
//! Writes ustar and pax headers. Reads old V7, POSIX ustar and pax, star and GNU headers into [`Entry`] values whose names,
//! sizes and attributes are final. Knows nothing of layers: names are as the archive has them.
//!
//! Where tar readers disagree about what an archive says, one of them can be shown something the
//! other does not see. Such archives are refused: a size on an entry that holds no data, both a
//! GNU and a pax long name, a global header that renames or resizes, a checksum that is wrong.
//! The pax size always wins over the header's, for the data and for where the next header is.
//!
//! Spec: POSIX.1-2024 `pax`, "ustar Interchange Format" and "pax Header"; GNU tar manual, "Basic
//! Tar Format".

mod block;
mod pax;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::Reader;
pub use writer::Writer;

/// Tar counts in blocks of this many bytes; data begins at a multiple of it.
pub const BLOCK: u64 = 512;

/// The same, for buffers.
const BLOCK_LENGTH: usize = 512;

/// The most bytes that one entry's extension headers (pax records, GNU long names) may have.
pub const MAX_EXTENSION: u64 = 1 << 20;

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name as the archive has it: not cleaned, any bytes but NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-id and sticky bits, `0..=0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Bytes of data; 0 but for files.
    pub size: u64,
    /// Where the data begins in the stream, bytes, a multiple of [`BLOCK`].
    pub data_offset: u64,
    /// Where its first header begins in the stream, bytes.
    pub header_offset: u64,
    /// Extended attributes as the archive has them: full names (`user.x`), any value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Another name for the member with this name (not cleaned).
    HardLink(Vec<u8>),
    /// A symlink with this target, not empty.
    Symlink(Vec<u8>),
    /// A character device.
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// The numbers of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Major number, 12 bits.
    pub major: u32,
    /// Minor number, 20 bits.
    pub minor: u32,
}

/// Seconds and nanoseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// `0..1_000_000_000`.
    pub nanoseconds: u32,
}
