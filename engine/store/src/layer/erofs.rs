//! An EROFS image of a layer's metadata, whose file data are in the tar beside it.
//!
//! Blocks are 512 bytes, as tar's. The image has one extra device, the tar, whose blocks follow
//! its own in one address space; a file's data are there as they are in the tar, one after the
//! other. Layout:
//!
//! ```text
//!      0  1024 bytes of zeros
//!   1024  superblock, 128 bytes
//!   1152  device slot, 128 bytes
//!   1536  inodes, each with its extended attributes and, if there is room in the block, the
//!         symlink target or directory content; the root is the first
//!      -  directory content and symlink targets that had no room
//! ```
//!
//! Inodes are written breadth first, so that the entries of a directory lie together. The same
//! tree always gives the same bytes.
//!
//! Spec: Linux `fs/erofs/erofs_fs.h` and Documentation/filesystems/erofs.rst.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::tar::{BLOCK, Device};
use super::tree::{Inode, Kind, NodeId, Tree};
use super::xattr::OPAQUE;

const BLOCK_BITS: u8 = 9;
const SUPERBLOCK_AT: u64 = 1024;
const DEVICE_SLOT_AT: u64 = 1152;
/// Where inodes begin, bytes.
const INODES_AT: u64 = 3 * BLOCK;
const INODE_SIZE: u64 = 64;
/// Inode numbers count in these units.
const SLOT: u64 = 32;
const DIRECTORY_ENTRY: usize = 12;

const MAGIC: u32 = 0xE0F5_E1E2;
const INCOMPATIBLE_DEVICE_TABLE: u32 = 0x8;
const EXTENDED: u16 = 1;
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;

/// Where one inode lies.
#[derive(Clone, Copy)]
struct Position {
    /// In units of [`INODE_SIZE`] from [`INODES_AT`]; [`ABSENT`] if no name leads to it.
    inode: u32,
    /// First block of content outside the inode; [`ABSENT`] if it is inside or there is none.
    block: u32,
    links: u32,
    /// Of a directory.
    parent: u32,
}

const ABSENT: u32 = u32::MAX;

struct Layout<'a> {
    tree: &'a Tree,
    positions: Vec<Position>,
    /// Inodes in the order they are written.
    order: Vec<NodeId>,
    /// Blocks of the whole image.
    blocks: u32,
}

/// Writes the image of `tree` over a tar of `tar_size` bytes.
///
/// # Errors
/// The writer's; `FileTooLarge` if image and tar together pass 2 TiB.
pub(super) fn write(tree: &Tree, tar_size: u64, output: &mut impl Write) -> io::Result<()> {
    let layout = Layout::of(tree)?;
    let tar_blocks = u32::try_from(tar_size.div_ceil(BLOCK))
        .ok()
        .filter(|blocks| layout.blocks.checked_add(*blocks).is_some())
        .ok_or(io::ErrorKind::FileTooLarge)?;
    let mut output = Counted { output, written: 0 };
    layout.write_superblock(tar_blocks, &mut output)?;
    for &node in &layout.order {
        layout.write_inode(node, &mut output)?;
    }
    output.pad_to(BLOCK)?;
    for &node in &layout.order {
        if layout.position(node).block != ABSENT {
            layout.write_content(node, &mut output)?;
            output.pad_to(BLOCK)?;
        }
    }
    debug_assert_eq!(output.written, u64::from(layout.blocks) * BLOCK);
    Ok(())
}

impl<'a> Layout<'a> {
    fn of(tree: &'a Tree) -> io::Result<Self> {
        let unplaced = Position { inode: ABSENT, block: ABSENT, links: 0, parent: 0 };
        let mut layout =
            Self { tree, positions: vec![unplaced; tree.len()], order: Vec::new(), blocks: 0 };
        let end = layout.place_inodes()?;
        layout.place_content(end)?;
        Ok(layout)
    }

    /// Walks breadth first; returns where the inodes end, bytes.
    fn place_inodes(&mut self) -> io::Result<u64> {
        let mut at = 0;
        let mut queue = VecDeque::from([(Tree::ROOT, Tree::ROOT)]);
        while let Some((node, parent)) = queue.pop_front() {
            let links = &mut self.positions[node.index()].links;
            *links += 1;
            if *links > 1 {
                continue;
            }
            let size = self.inode_size(node);
            at = fit(at, size);
            let position = &mut self.positions[node.index()];
            position.inode = u32::try_from(at / INODE_SIZE)
                .ok()
                .filter(|inode| *inode != ABSENT)
                .ok_or(io::ErrorKind::FileTooLarge)?;
            position.parent = parent.as_u32();
            at += size;
            self.order.push(node);
            if let Kind::Directory(directory) = &self.tree.inode(node).kind {
                queue.extend(directory.entries.values().map(|&child| (child, node)));
                let directories = directory
                    .entries
                    .values()
                    .filter(|child| matches!(self.tree.inode(**child).kind, Kind::Directory(_)));
                // `.` here, and `..` in each directory below.
                let links = directories.count() + 1;
                self.positions[node.index()].links += u32::try_from(links).unwrap_or(u32::MAX - 1);
            }
        }
        Ok(INODES_AT + at)
    }

    fn place_content(&mut self, inodes_end: u64) -> io::Result<()> {
        let mut block = inodes_end.div_ceil(BLOCK);
        for &node in &self.order {
            let inode = self.tree.inode(node);
            let size = self.content_size(inode);
            if size == 0 || self.is_inline(node) {
                continue;
            }
            self.positions[node.index()].block = to_u32(block)?;
            block += size.div_ceil(BLOCK);
        }
        self.blocks = to_u32(block)?;
        Ok(())
    }

    /// Bytes of content that is ours to write: of directories and symlinks.
    fn content_size(&self, inode: &Inode) -> u64 {
        match &inode.kind {
            Kind::Directory(directory) => {
                let mut size = DirectorySize::default();
                for name in sorted_names(directory.entries.keys()) {
                    size.add(name);
                }
                size.total()
            }
            Kind::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }

    /// The inode with what follows it in place, bytes, a multiple of [`INODE_SIZE`].
    fn inode_size(&self, node: NodeId) -> u64 {
        let inode = self.tree.inode(node);
        let fixed = INODE_SIZE + xattrs_size(inode);
        let content = if self.is_inline(node) { self.content_size(inode) } else { 0 };
        (fixed + content).next_multiple_of(INODE_SIZE)
    }

    /// Whether the content fits behind the inode, in the same block.
    fn is_inline(&self, node: NodeId) -> bool {
        let inode = self.tree.inode(node);
        let content = self.content_size(inode);
        content > 0 && INODE_SIZE + xattrs_size(inode) + content <= BLOCK
    }

    fn position(&self, node: NodeId) -> Position {
        self.positions[node.index()]
    }

    /// What directories and the superblock call an inode: its place from the image's begin. Not
    /// from that of the inodes: the root would be 0, which `readdir` takes for a deleted file.
    fn number(&self, node: NodeId) -> u64 {
        (INODES_AT + u64::from(self.position(node).inode) * INODE_SIZE) / SLOT
    }

    fn write_superblock(
        &self,
        tar_blocks: u32,
        output: &mut Counted<'_, impl Write>,
    ) -> io::Result<()> {
        let mut head = vec![0; usize::try_from(INODES_AT).expect("a small constant")];
        let mut put = |at: u64, bytes: &[u8]| {
            let at = usize::try_from(at).expect("inside the head");
            head[at..at + bytes.len()].copy_from_slice(bytes);
        };
        let root = u16::try_from(self.number(Tree::ROOT)).expect("the root comes first");
        put(SUPERBLOCK_AT, &MAGIC.to_le_bytes());
        put(SUPERBLOCK_AT + 12, &[BLOCK_BITS]);
        put(SUPERBLOCK_AT + 14, &root.to_le_bytes());
        put(SUPERBLOCK_AT + 16, &(self.order.len() as u64).to_le_bytes());
        put(SUPERBLOCK_AT + 36, &self.blocks.to_le_bytes());
        put(SUPERBLOCK_AT + 80, &INCOMPATIBLE_DEVICE_TABLE.to_le_bytes());
        put(SUPERBLOCK_AT + 86, &1u16.to_le_bytes());
        let slot = u16::try_from(DEVICE_SLOT_AT / 128).expect("a small constant");
        put(SUPERBLOCK_AT + 88, &slot.to_le_bytes());
        put(DEVICE_SLOT_AT, b"tar");
        put(DEVICE_SLOT_AT + 64, &tar_blocks.to_le_bytes());
        put(DEVICE_SLOT_AT + 68, &self.blocks.to_le_bytes());
        output.write_all(&head)
    }

    fn write_inode(&self, node: NodeId, output: &mut Counted<'_, impl Write>) -> io::Result<()> {
        let inode = self.tree.inode(node);
        let position = self.position(node);
        let at = INODES_AT + u64::from(position.inode) * INODE_SIZE;
        output.fill_to(at)?;
        let inline = self.is_inline(node);
        let layout = if inline { FLAT_INLINE } else { FLAT_PLAIN };
        let (size, data) = match &inode.kind {
            Kind::File { offset, size } => {
                (*size, self.blocks + u32::try_from(offset / BLOCK).expect("checked with the tar"))
            }
            Kind::CharacterDevice(device) | Kind::BlockDevice(device) => (0, encoded(*device)),
            Kind::Whiteout | Kind::Fifo => (0, 0),
            Kind::Directory(_) | Kind::Symlink(_) => {
                (self.content_size(inode), if inline { 0 } else { position.block })
            }
        };
        let xattrs = xattrs_size(inode);
        // The count is in units of four bytes, and one for the header's twelve.
        let xattr_count = if xattrs == 0 { 0 } else { (xattrs - 12) / 4 + 1 };
        let attributes = &inode.attributes;
        let mut bytes = Vec::with_capacity(usize::try_from(INODE_SIZE).expect("small"));
        bytes.extend((EXTENDED | layout << 1).to_le_bytes());
        bytes.extend(u16::try_from(xattr_count).expect("at most 64 KiB").to_le_bytes());
        bytes.extend((file_type(&inode.kind).mode | attributes.mode).to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(size.to_le_bytes());
        bytes.extend(data.to_le_bytes());
        let number = u32::try_from(self.number(node)).unwrap_or(u32::MAX);
        bytes.extend(number.to_le_bytes());
        bytes.extend(attributes.uid.to_le_bytes());
        bytes.extend(attributes.gid.to_le_bytes());
        bytes.extend(attributes.mtime.seconds.to_le_bytes());
        bytes.extend(attributes.mtime.nanoseconds.to_le_bytes());
        bytes.extend(position.links.to_le_bytes());
        bytes.extend([0; 16]);
        output.write_all(&bytes)?;
        write_xattrs(inode, output)?;
        if inline {
            self.write_content(node, output)?;
        }
        Ok(())
    }

    fn write_content(&self, node: NodeId, output: &mut Counted<'_, impl Write>) -> io::Result<()> {
        match &self.tree.inode(node).kind {
            Kind::Symlink(target) => output.write_all(target),
            Kind::Directory(directory) => {
                let children = directory.entries.iter().map(|(name, child)| (&**name, *child));
                let parent = NodeId::from_u32(self.position(node).parent);
                let mut all: Vec<(&[u8], NodeId)> =
                    [(&b"."[..], node), (&b".."[..], parent)].into_iter().chain(children).collect();
                all.sort_unstable_by_key(|(name, _)| *name);
                self.write_directory(&all, output)
            }
            _ => Ok(()),
        }
    }

    /// Blocks of entries and then their names; all blocks but the last are full length.
    fn write_directory(
        &self,
        mut entries: &[(&[u8], NodeId)],
        output: &mut Counted<'_, impl Write>,
    ) -> io::Result<()> {
        let begin = output.written;
        while !entries.is_empty() {
            let mut size = DirectorySize::default();
            let count = entries.iter().take_while(|(name, _)| size.add(name) == 0).count();
            let (block, rest) = entries.split_at(count);
            let mut bytes = Vec::with_capacity(usize::try_from(BLOCK).expect("small"));
            let mut name_at = count * DIRECTORY_ENTRY;
            for (name, node) in block {
                bytes.extend(self.number(*node).to_le_bytes());
                bytes.extend(u16::try_from(name_at).expect("inside a block").to_le_bytes());
                bytes.extend([file_type(&self.tree.inode(*node).kind).entry, 0]);
                name_at += name.len();
            }
            for (name, _) in block {
                bytes.extend_from_slice(name);
            }
            output.write_all(&bytes)?;
            if !rest.is_empty() {
                let length = (output.written - begin).next_multiple_of(BLOCK);
                output.fill_to(begin + length)?;
            }
            entries = rest;
        }
        Ok(())
    }
}

/// The next place for `size` bytes that does not cross a block without need.
fn fit(at: u64, size: u64) -> u64 {
    if at % BLOCK + size > BLOCK { at.next_multiple_of(BLOCK) } else { at }
}

fn to_u32(blocks: u64) -> io::Result<u32> {
    u32::try_from(blocks)
        .ok()
        .filter(|block| *block != ABSENT)
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

/// The names of a directory with `.` and `..` at their places.
fn sorted_names<'n>(names: impl Iterator<Item = &'n Box<[u8]>>) -> impl Iterator<Item = &'n [u8]> {
    let mut dots = [&b"."[..], b".."].into_iter().peekable();
    let mut names = names.map(|name| &**name).peekable();
    std::iter::from_fn(move || match (dots.peek(), names.peek()) {
        (Some(dot), Some(name)) if dot < name => dots.next(),
        (Some(_), None) => dots.next(),
        _ => names.next(),
    })
}

/// Counts a directory's blocks.
#[derive(Default)]
struct DirectorySize {
    full_blocks: u64,
    used: u64,
}

impl DirectorySize {
    /// Adds an entry and returns how many blocks are full.
    fn add(&mut self, name: &[u8]) -> u64 {
        let length = (DIRECTORY_ENTRY + name.len()) as u64;
        if self.used + length > BLOCK {
            self.full_blocks += 1;
            self.used = 0;
        }
        self.used += length;
        self.full_blocks
    }

    fn total(&self) -> u64 {
        self.full_blocks * BLOCK + self.used
    }
}

/// A kind, for the inode's mode and for directory entries.
struct FileType {
    mode: u16,
    entry: u8,
}

fn file_type(kind: &Kind) -> FileType {
    let (mode, entry) = match kind {
        Kind::File { .. } => (0o100_000, 1),
        Kind::Directory(_) => (0o040_000, 2),
        Kind::CharacterDevice(_) | Kind::Whiteout => (0o020_000, 3),
        Kind::BlockDevice(_) => (0o060_000, 4),
        Kind::Fifo => (0o010_000, 5),
        Kind::Symlink(_) => (0o120_000, 7),
    };
    FileType { mode, entry }
}

/// As the kernel's `new_encode_dev`.
fn encoded(device: Device) -> u32 {
    device.minor & 0xff | device.major << 8 | (device.minor & !0xff) << 12
}

/// The attributes of an inode, with the mark of an opaque directory.
fn xattrs(inode: &Inode) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
    let opaque = matches!(&inode.kind, Kind::Directory(directory) if directory.opaque);
    let mark = opaque.then_some((OPAQUE, &b"y"[..]));
    let own = inode.attributes.xattrs.iter().map(|xattr| (&*xattr.name, &*xattr.value));
    own.chain(mark).map(|(name, value)| {
        let (index, suffix) = xattr_index(name);
        (index, suffix, value)
    })
}

fn xattr_index(name: &[u8]) -> (u8, &[u8]) {
    const PREFIXES: [(&[u8], u8); 5] = [
        (b"user.", 1),
        (b"system.posix_acl_access", 2),
        (b"system.posix_acl_default", 3),
        (b"trusted.", 4),
        (b"security.", 6),
    ];
    PREFIXES
        .iter()
        .find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?)))
        .expect("no other attributes are admitted")
}

/// Bytes of all attributes with their header; 0 for none.
fn xattrs_size(inode: &Inode) -> u64 {
    let entries: usize = xattrs(inode)
        .map(|(_, name, value)| (4 + name.len() + value.len()).next_multiple_of(4))
        .sum();
    if entries == 0 { 0 } else { 12 + entries as u64 }
}

fn write_xattrs(inode: &Inode, output: &mut Counted<'_, impl Write>) -> io::Result<()> {
    if xattrs_size(inode) == 0 {
        return Ok(());
    }
    let mut bytes = vec![0; 12];
    for (index, name, value) in xattrs(inode) {
        bytes.extend([u8::try_from(name.len()).expect("at most 255 bytes"), index]);
        bytes.extend(u16::try_from(value.len()).expect("at most 64 KiB").to_le_bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    output.write_all(&bytes)
}

/// Knows where it is.
struct Counted<'a, W> {
    output: &'a mut W,
    written: u64,
}

impl<W: Write> Counted<'_, W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn fill_to(&mut self, at: u64) -> io::Result<()> {
        const ZEROS: [u8; 512] = [0; 512];
        while self.written < at {
            let length = (at - self.written).min(ZEROS.len() as u64);
            self.write_all(&ZEROS[..usize::try_from(length).expect("at most a block")])?;
        }
        Ok(())
    }

    fn pad_to(&mut self, unit: u64) -> io::Result<()> {
        self.fill_to(self.written.next_multiple_of(unit))
    }
}
