//! A directory tree to a tar stream.
//!
//! Entries come in the order of their names, a directory before what is in it; the same tree gives
//! the same bytes. The tree may belong to a running container: what vanishes or turns into
//! something else while it is read is left out, a file that becomes shorter is filled up with
//! zeros. Symlinks are never followed; sockets are left out, there is no entry for them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, statat};
use rustix::io::Errno;

use super::LayerError;
use super::beneath::{Beneath, failed};
use super::copy::attributes;
use super::error::shown;
use super::inside::{Found, Place, find};
use super::path::join;
use super::tar::{Device, Entry, EntryKind, Time, Writer};
use super::tree::Attributes;
use super::xattr::Holder;

const BUFFER: usize = 256 << 10;

/// What was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packed {
    /// Entries written.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Packs what is in `directory`. With a `name` the directory itself is the first entry and all
/// others lie below that name; an empty one gives names that begin with a slash. Without, its
/// entries are the archive's top level.
///
/// File systems of the kernel (proc, sysfs, cgroups, message queues) are not entered.
///
/// # Errors
/// [`LayerError::Io`]; the archive is then cut short.
pub fn pack_tree(
    directory: OwnedFd,
    name: Option<&[u8]>,
    output: impl Write,
) -> Result<Packed, LayerError> {
    let mut source = Beneath::new(directory);
    let mut pack = Pack::new(output);
    let root = source.open(b"")?;
    let stat = rustix::fs::fstat(&root).map_err(|error| failed("look at", b"", error))?;
    if let Some(name) = name {
        pack.directory(root.as_fd(), &stat, b"", &below(name, b""))?;
    }
    let mut levels =
        vec![Level { path: Vec::new(), device: stat.st_dev, names: names(&root, b"")? }];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let path = join(&level.path, &entry);
        let packed_name = match name {
            Some(name) => below(name, &path),
            None => path.clone(),
        };
        let (parent_path, device) = (level.path.clone(), level.device);
        let parent = source.open(&parent_path)?;
        let Some(stat) = look(parent.as_fd(), &entry, &path)? else { continue };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            pack.node(parent.as_fd(), &entry, &stat, &path, &packed_name)?;
            continue;
        }
        let Some(child) = source.open_if_there(&path)? else { continue };
        let stat = rustix::fs::fstat(&child).map_err(|error| failed("look at", &path, error))?;
        pack.directory(child.as_fd(), &stat, &path, &packed_name)?;
        if stat.st_dev == device || !is_of_the_kernel(child.as_fd()) {
            let names = names(&child, &path)?;
            levels.push(Level { path, device: stat.st_dev, names });
        }
    }
    pack.finish()
}

/// Packs what is at `place` inside `root`, with all below it, under `name`, or under the last part
/// of the place. `/` as that name gives names that begin with a slash.
///
/// # Errors
/// [`LayerError::Place`] if nothing is there; as [`pack_tree`].
pub fn pack_place(
    root: BorrowedFd<'_>,
    place: &Place,
    name: Option<&[u8]>,
    output: impl Write,
) -> Result<Packed, LayerError> {
    let name = name.unwrap_or_else(|| place.name());
    match find(root, place)? {
        Found::Directory(directory) => {
            pack_tree(directory, Some(if name == b"/" { b"" } else { name }), output)
        }
        Found::Other(parent, base) => {
            let mut pack = Pack::new(output);
            if let Some(stat) = look(parent.as_fd(), &base, &base)? {
                pack.node(parent.as_fd(), &base, &stat, &base, name)?;
            }
            pack.finish()
        }
    }
}

struct Level {
    path: Vec<u8>,
    device: u64,
    /// Still to come, the next one last.
    names: Vec<Vec<u8>>,
}

fn below(name: &[u8], path: &[u8]) -> Vec<u8> {
    match (name, path) {
        (b"", b"") => b"/".to_vec(),
        (name, b"") => name.to_vec(),
        (name, path) => [name, b"/", path].concat(),
    }
}

/// The names in a directory, the first one last.
pub(super) fn names(directory: impl AsFd, path: &[u8]) -> Result<Vec<Vec<u8>>, LayerError> {
    let read = |error| failed("read", path, error);
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(read)? {
        let entry = match entry {
            // Removed while it was read.
            Err(Errno::NOENT) => break,
            entry => entry.map_err(read)?,
        };
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

/// What `name` is; `None` if it is gone.
pub(super) fn look(
    directory: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
) -> Result<Option<Stat>, LayerError> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed("look at", path, error)),
    }
}

/// File systems whose files the kernel makes up.
fn is_of_the_kernel(directory: BorrowedFd<'_>) -> bool {
    // linux/magic.h
    const MAGIC: [u64; 6] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x1980_0202, // mqueue
        0x1cd1,      // devpts
    ];
    rustix::fs::fstatfs(directory).is_ok_and(|stat| {
        MAGIC.iter().any(|magic| u64::try_from(stat.f_type).is_ok_and(|found| found == *magic))
    })
}

/// An archive being filled.
pub(super) struct Pack<W: Write> {
    output: Writer<BufWriter<W>>,
    /// Name in the archive of each file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    packed: Packed,
    buffer: Vec<u8>,
    /// No time of an entry is later than this, seconds since 1970.
    latest: Option<i64>,
    owner: Option<(u32, u32)>,
    mode: Option<u16>,
}

impl<W: Write> Pack<W> {
    pub(super) fn new(output: W) -> Self {
        Self {
            output: Writer::new(BufWriter::with_capacity(BUFFER, output)),
            links: HashMap::new(),
            packed: Packed::default(),
            buffer: vec![0; BUFFER],
            latest: None,
            owner: None,
            mode: None,
        }
    }

    /// Sets back the times of entries that are later than `latest`, seconds since 1970.
    pub(super) fn no_later_than(mut self, latest: Option<i64>) -> Self {
        self.latest = latest;
        self
    }

    pub(super) fn finish(self) -> Result<Packed, LayerError> {
        self.output.finish().map_err(write)?;
        Ok(self.packed)
    }

    /// Adds what is described: a directory, or a file with the content of `data`.
    pub(super) fn made(
        &mut self,
        name: &[u8],
        data: Option<&[u8]>,
        attributes: &Attributes,
    ) -> Result<(), LayerError> {
        let Some(data) = data else {
            return self.entry(name, EntryKind::Directory, 0, attributes);
        };
        self.entry(name, EntryKind::File, data.len() as u64, attributes)?;
        self.packed.bytes += data.len() as u64;
        if data.is_empty() { Ok(()) } else { self.output.data(data).map_err(write) }
    }

    /// Owner and mode of the entries that follow, instead of their own.
    pub(super) fn instead(&mut self, owner: Option<(u32, u32)>, mode: Option<u16>) {
        self.owner = owner;
        self.mode = mode;
    }

    /// Adds an open directory.
    pub(super) fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        stat: &Stat,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), LayerError> {
        let attributes = attributes(&directory, stat, Holder::Directory, path)?;
        self.entry(name, EntryKind::Directory, 0, &attributes)
    }

    /// Adds what is called `base` in `directory` and is no directory.
    pub(super) fn node(
        &mut self,
        directory: BorrowedFd<'_>,
        base: &[u8],
        stat: &Stat,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), LayerError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&identity)
        {
            let kind = EntryKind::HardLink(first.clone());
            return self.entry(name, kind, 0, &Attributes::of(stat, Box::default()));
        }
        let device = || Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        };
        let kind = match kind {
            FileType::RegularFile => {
                if !self.file(directory, base, path, name)? {
                    return Ok(());
                }
                self.remember(stat, name);
                return Ok(());
            }
            FileType::Symlink => match rustix::fs::readlinkat(directory, base, Vec::new()) {
                Ok(target) => EntryKind::Symlink(target.into_bytes()),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                Err(error) => return Err(failed("read the link", path, error)),
            },
            FileType::CharacterDevice => EntryKind::CharacterDevice(device()),
            FileType::BlockDevice => EntryKind::BlockDevice(device()),
            FileType::Fifo => EntryKind::Fifo,
            _ => return Ok(()),
        };
        self.remember(stat, name);
        self.entry(name, kind, 0, &Attributes::of(stat, Box::default()))
    }

    /// Adds a file without content, made up.
    pub(super) fn marker(
        &mut self,
        name: &[u8],
        attributes: &Attributes,
    ) -> Result<(), LayerError> {
        self.entry(name, EntryKind::File, 0, attributes)
    }

    fn remember(&mut self, stat: &Stat, name: &[u8]) {
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), name.to_vec());
        }
    }

    /// Adds a regular file; false if it is none any more.
    fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        base: &[u8],
        path: &[u8],
        name: &[u8],
    ) -> Result<bool, LayerError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, base, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(false),
            Err(error) => return Err(failed("open", path, error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| failed("look at", path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(false);
        }
        let attributes = attributes(&file, &stat, Holder::File, path)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.entry(name, EntryKind::File, size, &attributes)?;
        self.content(File::from(file), path)?;
        Ok(true)
    }

    fn content(&mut self, mut file: File, path: &[u8]) -> Result<(), LayerError> {
        while self.output.data_left() > 0 {
            let left = usize::try_from(self.output.data_left()).unwrap_or(usize::MAX);
            let length = left.min(self.buffer.len());
            match file.read(&mut self.buffer[..length]) {
                Ok(0) => self.output.fill().map_err(write)?,
                Ok(read) => {
                    self.packed.bytes += read as u64;
                    self.output.data(&self.buffer[..read]).map_err(write)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(LayerError::io(format!("read {:?}", shown(path)), error));
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        name: &[u8],
        kind: EntryKind,
        size: u64,
        attributes: &Attributes,
    ) -> Result<(), LayerError> {
        self.packed.entries += 1;
        let xattrs =
            attributes.xattrs.iter().map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec()));
        let (uid, gid) = self.owner.unwrap_or((attributes.uid, attributes.gid));
        // A symlink's mode means nothing and is always the same.
        let is_symlink = matches!(kind, EntryKind::Symlink(_));
        let entry = Entry {
            name: name.to_vec(),
            kind,
            mode: self.mode.filter(|_| !is_symlink).unwrap_or(attributes.mode),
            uid,
            gid,
            mtime: match self.latest {
                Some(latest) if attributes.mtime.seconds >= latest => {
                    Time { seconds: latest, nanoseconds: 0 }
                }
                _ => attributes.mtime,
            },
            size,
            data_offset: 0,
            header_offset: 0,
            xattrs: xattrs.collect(),
        };
        self.output.entry(&entry).map_err(write)
    }
}

fn write(error: std::io::Error) -> LayerError {
    LayerError::io("write the archive", error)
}
