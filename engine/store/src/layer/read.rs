//! One layer, read once.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};

use hull_oci::{Algorithm, Hasher};
use hull_sys::writeback::Writeback;
use rustix::fs::OFlags;

use super::aligned::{Aligned, BLOCK};
use super::decompress::Formats;
pub use super::decompress::Input;
use super::path::{LayerPath, MAX_PATH, PathError};
use super::pipe::{Source, Tap, inflated};
use super::tar::{Device, Entry, EntryKind, Reader};
use super::tree::{Attributes, Directory, Inode, Kind, Tree, TreeError};
use super::unpack::Unpack;
use super::xattr::{Holder, admitted};
use super::{LayerError, LayerReport, Limits, erofs};
use crate::Durability;

/// Where a layer goes.
#[derive(Debug)]
pub enum Target {
    /// Two empty files, open for writing.
    Erofs {
        /// Receives the uncompressed tar, byte for byte.
        tar: File,
        /// Receives the EROFS index.
        index: File,
    },
    /// An empty directory.
    Unpack {
        /// Receives the tree, and the attributes of the layer's root.
        directory: OwnedFd,
    },
}

/// Reads a layer to its end and writes it to `target`; `algorithm` is that of the digest which the
/// report gives of the bytes as they come. What was written is on disk when this
/// returns, but for the names of what was passed in.
///
/// # Errors
/// As [`LayerError`] says; what `target` holds is then of no use.
///
/// Spec: image-spec, layer.md.
pub fn read_layer(
    input: Input,
    target: Target,
    algorithm: Algorithm,
    limits: Limits,
) -> Result<LayerReport, LayerError> {
    read_layer_with(input, target, algorithm, limits, Durability::Durable)
}

/// As [`read_layer`]; with [`Durability::Volatile`] nobody waits for the disk.
pub(super) fn read_layer_with(
    input: Input,
    target: Target,
    algorithm: Algorithm,
    limits: Limits,
    durability: Durability,
) -> Result<LayerReport, LayerError> {
    let durable = durability == Durability::Durable;
    let (tar, output) = match target {
        Target::Erofs { tar, index } => (Some(tar), Output::Index(index)),
        Target::Unpack { directory } => (None, Output::Directory(Unpack::new(directory))),
    };
    let tap = TarTap { hasher: Hasher::new(Algorithm::Sha256), copy: tar.map(Copy::new) };
    let mut layer = Layer { tree: Tree::new(limits.max_entries), output, entries: 0, max_id: 0 };
    let ((tap, tar_size), consumed) =
        inflated(input, Formats::Layers(algorithm), limits.max_bytes, tap, |source| {
            let (source, tar_size) = layer.read(source)?;
            Ok((source.into_tap(), tar_size))
        })?;
    let diff_id = tap.hasher.finish();
    if let Some(copy) = tap.copy {
        copy.finish(durable)?;
    }
    let index = match layer.output {
        Output::Index(file) => Some(write_index(&layer.tree, tar_size, file, durable)?),
        Output::Directory(unpack) => {
            unpack.finish(&layer.tree, durable)?;
            None
        }
    };
    Ok(LayerReport {
        digest: consumed.digest.unwrap_or_else(|| diff_id.clone()),
        diff_id,
        size: consumed.size,
        tar_size,
        compression: consumed.compression.to_owned(),
        entries: layer.entries,
        max_id: layer.max_id,
        opaque: layer.tree.is_opaque(),
        index,
    })
}

/// A layer being read.
struct Layer {
    tree: Tree,
    output: Output,
    entries: u64,
    max_id: u32,
}

enum Output {
    Index(File),
    Directory(Unpack),
}

/// What the name of an entry asks for.
enum Named<'a> {
    /// To be there.
    Entry,
    /// `.wh.<name>`: to hide `name`.
    Whiteout { directory: &'a [u8], name: &'a [u8] },
    /// `.wh..wh..opq`: to hide what lower layers have in `directory`.
    Opaque { directory: &'a [u8] },
    /// Bookkeeping of aufs.
    Ignored,
}

impl Layer {
    fn read<T: Tap>(&mut self, source: Source<T>) -> Result<(Source<T>, u64), LayerError> {
        let mut reader = Reader::new(source);
        while let Some(entry) = reader.next_entry()? {
            self.entries += 1;
            let path = LayerPath::parse(&entry.name)
                .map_err(|error| LayerError::path(&error, &entry.name, entry.header_offset))?;
            let done = match Named::of(&path).map_err(|problem| fail(&entry, problem))? {
                Named::Entry => self.add(&path, &entry, &mut reader)?,
                Named::Whiteout { directory, name } => self.tree.whiteout(directory, name),
                Named::Opaque { directory } => self.tree.opaque(directory),
                Named::Ignored => Ok(()),
            };
            done.map_err(|error| tree_error(error, &entry, self.tree.max_names()))?;
        }
        reader.finish()
    }

    /// The inner result is the tree's: it does not know the entry.
    fn add<T: Tap>(
        &mut self,
        path: &LayerPath,
        entry: &Entry,
        reader: &mut Reader<Source<T>>,
    ) -> Result<Result<(), TreeError>, LayerError> {
        if let EntryKind::HardLink(target) = &entry.kind {
            return self.link(path, target, entry);
        }
        let (attributes, max_id) = attributes(entry)?;
        self.max_id = self.max_id.max(entry.uid).max(entry.gid).max(max_id);
        let inode = Inode { attributes: attributes.clone(), kind: kind(entry)? };
        let place = match self.tree.insert(path, inode) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        if let Output::Directory(unpack) = &mut self.output {
            if place.replaced {
                unpack.remove(&place)?;
            }
            if entry.kind == EntryKind::File {
                unpack.write_file(&place, &attributes, |sink| reader.read_data(sink))?;
            }
        }
        Ok(Ok(()))
    }

    fn link(
        &mut self,
        path: &LayerPath,
        target: &[u8],
        entry: &Entry,
    ) -> Result<Result<(), TreeError>, LayerError> {
        let target = match LayerPath::parse(target) {
            Ok(target) => target,
            Err(PathError::Parent) => {
                return Err(fail(entry, "a hard link whose target holds a `..`"));
            }
            Err(error) => return Err(fail(entry, format!("the target of a hard link: {error}"))),
        };
        let linked = match self.tree.link(path, &target) {
            Ok(linked) => linked,
            Err(error) => return Ok(Err(error)),
        };
        if let Output::Directory(unpack) = &mut self.output
            && !linked.unchanged
        {
            if linked.place.replaced {
                unpack.remove(&linked.place)?;
            }
            if linked.is_file {
                unpack.link_file(&linked.place, &linked.target)?;
            }
        }
        Ok(Ok(()))
    }
}

impl<'a> Named<'a> {
    fn of(path: &'a LayerPath) -> Result<Self, &'static str> {
        const PREFIX: &[u8] = b".wh.";
        const AUFS: &[u8] = b".wh..wh.";
        let Some((directory, name)) = path.split_last() else {
            return Ok(Self::Entry);
        };
        let mut components = path.components();
        if components.any(|component| component.starts_with(AUFS)) {
            return Ok(if name == b".wh..wh..opq" {
                Self::Opaque { directory }
            } else {
                Self::Ignored
            });
        }
        if super::path::components(directory).any(|component| component.starts_with(PREFIX)) {
            return Err("a directory on the way to it is named like a whiteout");
        }
        match name.strip_prefix(PREFIX) {
            None => Ok(Self::Entry),
            Some(b"" | b"." | b"..") => Err("a whiteout of no file"),
            Some(name) => Ok(Self::Whiteout { directory, name }),
        }
    }
}

fn attributes(entry: &Entry) -> Result<(Attributes, u32), LayerError> {
    let holder = match entry.kind {
        EntryKind::File => Some(Holder::File),
        EntryKind::Directory => Some(Holder::Directory),
        // The kernel lets nothing else have the attributes we keep.
        _ => None,
    };
    let (xattrs, max_id) = match holder {
        Some(holder) => admitted(&entry.xattrs, holder).map_err(|problem| fail(entry, problem))?,
        None => (Vec::new(), 0),
    };
    let attributes = Attributes {
        // Linux knows no other mode of a symlink.
        mode: if let EntryKind::Symlink(_) = entry.kind { 0o777 } else { entry.mode },
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs: xattrs.into(),
    };
    Ok((attributes, max_id))
}

fn kind(entry: &Entry) -> Result<Kind, LayerError> {
    Ok(match &entry.kind {
        EntryKind::File => Kind::File { offset: entry.data_offset, size: entry.size },
        EntryKind::Directory => Kind::Directory(Directory::default()),
        EntryKind::Symlink(target) if target.len() > MAX_PATH || target.contains(&0) => {
            return Err(fail(entry, "the symlink's target is too long or holds a NUL byte"));
        }
        EntryKind::Symlink(target) => Kind::Symlink(target.as_slice().into()),
        EntryKind::CharacterDevice(Device { major: 0, minor: 0 }) => {
            return Err(fail(
                entry,
                "the character device 0:0 stands for a deleted file; a layer says that with `.wh.`",
            ));
        }
        EntryKind::CharacterDevice(device) => Kind::CharacterDevice(*device),
        EntryKind::BlockDevice(device) => Kind::BlockDevice(*device),
        EntryKind::Fifo => Kind::Fifo,
        EntryKind::HardLink(_) => unreachable!("links are not inodes"),
    })
}

fn fail(entry: &Entry, problem: impl Into<String>) -> LayerError {
    LayerError::entry(&entry.name, entry.header_offset, problem)
}

fn tree_error(error: TreeError, entry: &Entry, limit: u64) -> LayerError {
    match error {
        TreeError::Invalid(problem) => fail(entry, problem),
        TreeError::TooMany => LayerError::TooLarge { what: "entries", limit },
    }
}

fn write_index(
    tree: &Tree,
    tar_size: u64,
    file: File,
    durable: bool,
) -> Result<hull_oci::Digest, LayerError> {
    let failed = |error| LayerError::io("write the layer's index", error);
    let mut output = BufWriter::with_capacity(1 << 20, Hashed::new(file));
    erofs::write(tree, tar_size, &mut output).map_err(failed)?;
    let hashed = output.into_inner().map_err(|error| failed(error.into_error()))?;
    if durable {
        hashed.file.sync_data().map_err(|error| LayerError::io("sync the layer's index", error))?;
    }
    Ok(hashed.hasher.finish())
}

/// Hashes what is written.
struct Hashed {
    file: File,
    hasher: Hasher,
}

impl Hashed {
    fn new(file: File) -> Self {
        Self { file, hasher: Hasher::new(Algorithm::Sha256) }
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Hashes the tar and, in EROFS mode, writes it down.
struct TarTap {
    hasher: Hasher,
    copy: Option<Copy>,
}

impl Tap for TarTap {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        // Write first: the disk works while we hash.
        if let Some(copy) = &mut self.copy {
            copy.write(bytes)?;
        }
        self.hasher.update(bytes);
        Ok(())
    }
}

/// Writes the tar down: past the page cache where the file was opened so, which saves a copy of
/// every byte, and leaves the memory to what runs.
struct Copy {
    file: File,
    direct: bool,
    written: u64,
    writeback: Writeback,
}

impl Copy {
    fn new(file: File) -> Self {
        let direct =
            rustix::fs::fcntl_getfl(&file).is_ok_and(|flags| flags.contains(OFlags::DIRECT));
        Self { file, direct, written: 0, writeback: Writeback::default() }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        let failed = |error| LayerError::io("write the layer's tar", error);
        let tail = if self.direct { bytes.len() % BLOCK } else { 0 };
        let (blocks, tail) = bytes.split_at(bytes.len() - tail);
        self.file.write_all(blocks).map_err(failed)?;
        if !tail.is_empty() {
            let mut last = Aligned::new(BLOCK);
            last.whole_mut()[..tail.len()].copy_from_slice(tail);
            self.file.write_all(last.whole_mut()).map_err(failed)?;
        }
        self.written += bytes.len() as u64;
        if !self.direct {
            self.writeback.written(self.file.as_fd(), self.written);
        }
        Ok(())
    }

    fn finish(self, durable: bool) -> Result<(), LayerError> {
        if self.direct {
            // The last block was written whole.
            self.file
                .set_len(self.written)
                .map_err(|error| LayerError::io("cut the layer's tar", error))?;
        }
        if durable {
            self.file.sync_data().map_err(|error| LayerError::io("sync the layer's tar", error))?;
        }
        Ok(())
    }
}
