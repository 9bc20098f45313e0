//! A tar into a directory that is in use: of a container, or of the user who copies out of one.
//!
//! Whoever else writes to that directory may swap anything for anything meanwhile. So every name
//! is looked up from a directory's descriptor, part by part and never outside the root, and what
//! is made is made in a directory that is held open, under a name that must be free.
//!
//! Links that were there before are followed inside the root, as the container itself would.
//! Links that the archive brings along are not: an archive cannot lead its own later entries
//! somewhere else.
//!
//! Spec: Docker Engine API, "Extract an archive of files or folders to a directory in a
//! container".

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::LayerError;
use super::beneath::failed;
use super::decompress::{Formats, Input};
use super::error::shown;
use super::inside::{Place, directory, refuse_read_only};
use super::path::{LayerPath, components, join, split};
use super::pipe::{Tap, inflated};
use super::tar::{Device, Entry, EntryKind, Reader};
use super::unpack::times;
use super::xattr::{Holder, admitted};

/// As many directories as are kept open.
const CACHE: usize = 64;

/// How to extract.
#[derive(Debug, Clone, Default)]
pub struct Extract {
    /// A directory may not take the place of anything else, nor anything else that of a directory.
    pub keep_kinds: bool,
    /// Owner and group of everything, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Everything belongs to whoever extracts.
    pub own: bool,
    /// The first part of all names (`/` for names that begin with one), and what to put there.
    pub rename: Option<(Vec<u8>, Vec<u8>)>,
    /// Bytes that an archive may hold once inflated.
    pub max_bytes: u64,
}

/// What was extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extracted {
    /// Entries.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Extracts `input`, a tar, plain or compressed, into the directory at `place`
/// inside `root`.
///
/// # Errors
/// [`LayerError::Place`] where nothing can be extracted; otherwise as [`LayerError`] says, with
/// part of the archive extracted.
///
/// The process's umask must be 0.
pub fn extract(
    root: OwnedFd,
    place: &Place,
    input: Input,
    options: Extract,
) -> Result<Extracted, LayerError> {
    let destination = directory(root.as_fd(), place.path())?;
    refuse_read_only(root.as_fd(), &destination)?;
    let max_bytes = options.max_bytes;
    let mut work = Work {
        root,
        place: place.path().to_vec(),
        destination: Rc::new(destination),
        options,
        cache: HashMap::new(),
        links: HashSet::new(),
        directories: Vec::new(),
        extracted: Extracted::default(),
    };
    inflated(input, Formats::Archives, max_bytes, Unseen, |source| {
        let mut reader = Reader::new(source);
        while let Some(entry) = reader.next_entry()? {
            work.entry(&entry, &mut reader)?;
        }
        reader.finish()
    })?;
    work.finish()
}

/// Nobody needs to see the bytes.
struct Unseen;

impl Tap for Unseen {
    fn bytes(&mut self, _: &[u8]) -> Result<(), LayerError> {
        Ok(())
    }
}

struct Work {
    root: OwnedFd,
    /// The destination's path inside the root, as it was asked for.
    place: Vec<u8>,
    destination: Rc<OwnedFd>,
    options: Extract,
    cache: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Device and inode of each symlink the archive made.
    links: HashSet<(u64, u64)>,
    /// Those of the archive, to get their times when nothing more is made in them.
    directories: Vec<(Rc<OwnedFd>, super::tar::Time)>,
    extracted: Extracted,
}

/// Times of directories are set at the end; no more descriptors than this are held for it.
const MAX_DIRECTORIES: usize = 512;

impl Work {
    fn entry<T: Tap>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<super::pipe::Source<T>>,
    ) -> Result<(), LayerError> {
        self.extracted.entries += 1;
        let Some(path) = self.named(&entry.name, entry)? else { return Ok(()) };
        let (parent, name) = split(&path);
        let parent = self.parent(parent, entry, true)?;
        self.make_room(&parent, name, &path, entry)?;
        match &entry.kind {
            EntryKind::Directory => self.directory(&parent, name, &path, entry),
            EntryKind::File => {
                let file = create(&parent, name, &path)?;
                let mut file = File::from(file);
                reader.read_data(|bytes| {
                    file.write_all(bytes)
                        .map_err(|error| LayerError::io(format!("write {:?}", shown(&path)), error))
                })?;
                self.extracted.bytes += entry.size;
                self.attributes(&file, &path, entry, Holder::File)?;
                set_times(&file, entry, &path)
            }
            EntryKind::HardLink(target) => {
                let Some(target) = self.named(target, entry)? else {
                    return Err(fail(entry, "a hard link to a directory"));
                };
                let (directory, first) = split(&target);
                let directory = self.parent(directory, entry, false)?;
                rustix::fs::linkat(&directory, first, &parent, name, AtFlags::empty())
                    .map_err(|error| failed("link", &path, error))
            }
            EntryKind::Symlink(target) => {
                rustix::fs::symlinkat(target.as_slice(), &parent, name)
                    .map_err(|error| failed("make the link", &path, error))?;
                if let Some(stat) = look(&parent, name, &path)? {
                    self.links.insert((stat.st_dev, stat.st_ino));
                }
                self.node_attributes(&parent, name, &path, entry)
            }
            EntryKind::CharacterDevice(device) => {
                self.node(&parent, name, &path, entry, FileType::CharacterDevice, *device)
            }
            EntryKind::BlockDevice(device) => {
                self.node(&parent, name, &path, entry, FileType::BlockDevice, *device)
            }
            EntryKind::Fifo => {
                let none = Device { major: 0, minor: 0 };
                self.node(&parent, name, &path, entry, FileType::Fifo, none)
            }
        }
    }

    /// The cleaned and renamed name; `None` for the destination itself.
    fn named(&self, name: &[u8], entry: &Entry) -> Result<Option<Vec<u8>>, LayerError> {
        let bad = |error| LayerError::path(&error, name, entry.header_offset);
        let rest = match &self.options.rename {
            None => return Ok(some(&LayerPath::parse(name).map_err(bad)?)),
            Some((first, _)) if first == b"/" => name,
            Some((first, _)) => match name.strip_prefix(first.as_slice()) {
                Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
                _ => return Err(fail(entry, "a name outside of what was asked for")),
            },
        };
        let (_, new) = self.options.rename.as_ref().expect("looked at above");
        let renamed = [new.as_slice(), b"/", rest].concat();
        Ok(some(&LayerPath::parse(&renamed).map_err(bad)?))
    }

    /// The directory at `path` below the destination; what is missing is made.
    fn parent(
        &mut self,
        path: &[u8],
        entry: &Entry,
        make: bool,
    ) -> Result<Rc<OwnedFd>, LayerError> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.destination));
        }
        if let Some(known) = self.cache.get(path) {
            return Ok(Rc::clone(known));
        }
        let mut walked = Vec::new();
        let mut current = Rc::clone(&self.destination);
        for part in components(path) {
            walked = join(&walked, part);
            let next = match look(&current, part, &walked)? {
                None if make => {
                    make_directory(&current, part, &walked)?;
                    enter(&current, part, &walked)?
                }
                None => return Err(failed("open", &walked, Errno::NOENT)),
                Some(stat) => match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => enter(&current, part, &walked)?,
                    FileType::Symlink if self.links.contains(&(stat.st_dev, stat.st_ino)) => {
                        return Err(fail(entry, "it lies behind a link of the archive itself"));
                    }
                    FileType::Symlink => {
                        let whole = join(&self.place, &walked);
                        directory(self.root.as_fd(), &whole).map_err(|error| match error {
                            // Of an entry, not of the place that was asked for.
                            LayerError::Place { .. } => failed("open", &walked, Errno::NOENT),
                            error => error,
                        })?
                    }
                    _ => return Err(failed("open", &walked, Errno::NOTDIR)),
                },
            };
            current = Rc::new(next);
        }
        if self.cache.len() >= CACHE {
            self.cache.clear();
        }
        self.cache.insert(path.to_vec(), Rc::clone(&current));
        Ok(current)
    }

    /// Removes what is in the way of an entry, or refuses it.
    fn make_room(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let Some(stat) = look(parent, name, path)? else { return Ok(()) };
        let there = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let comes = entry.kind == EntryKind::Directory;
        match (there, comes) {
            (true, true) => return Ok(()),
            (true, false) if self.options.keep_kinds => {
                return Err(self.in_the_way("directory", path, "non-directory"));
            }
            (false, true) if self.options.keep_kinds => {
                return Err(self.in_the_way("non-directory", path, "directory"));
            }
            _ => {}
        }
        // Some of what is remembered may be about to go.
        self.cache.clear();
        self.links.remove(&(stat.st_dev, stat.st_ino));
        let name = CString::new(name).map_err(|_| fail(entry, "the name holds a NUL byte"))?;
        crate::tree::remove_entry(parent.as_fd(), &name)
            .map_err(|error| LayerError::io(format!("remove {:?}", shown(path)), error))
    }

    fn in_the_way(&self, there: &'static str, path: &[u8], comes: &'static str) -> LayerError {
        let place = format!("/{}", String::from_utf8_lossy(&self.place));
        LayerError::InTheWay { there, path: shown(path), comes, place }
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        make_directory(parent, name, path)?;
        let made = Rc::new(enter(parent, name, path)?);
        self.attributes(&made, path, entry, Holder::Directory)?;
        if self.directories.len() < MAX_DIRECTORIES {
            self.directories.push((made, entry.mtime));
            return Ok(());
        }
        set_times(&made, entry, path)
    }

    fn node(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
        kind: FileType,
        device: Device,
    ) -> Result<(), LayerError> {
        let number = rustix::fs::makedev(device.major, device.minor);
        // With its mode from the start: there is no way to set it later that follows no link.
        let mode = Mode::from_raw_mode(u32::from(entry.mode));
        rustix::fs::mknodat(parent, name, kind, mode, number)
            .map_err(|error| failed("make the device", path, error))?;
        self.node_attributes(parent, name, path, entry)
    }

    fn owner(&self, entry: &Entry) -> Option<(Uid, Gid)> {
        if self.options.own {
            return None;
        }
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Of an open file or directory, without its times.
    fn attributes(
        &self,
        file: &impl AsFd,
        path: &[u8],
        entry: &Entry,
        holder: Holder,
    ) -> Result<(), LayerError> {
        if let Some((uid, gid)) = self.owner(entry) {
            rustix::fs::fchown(file, Some(uid), Some(gid))
                .map_err(|error| owner_failed(path, (uid, gid), error))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(u32::from(entry.mode)))
            .map_err(|error| failed("set the mode of", path, error))?;
        let (xattrs, _) =
            admitted(&entry.xattrs, holder).map_err(|problem| fail(entry, &problem))?;
        for xattr in xattrs {
            match rustix::fs::fsetxattr(file, &*xattr.name, &xattr.value, XattrFlags::empty()) {
                // What a file system or a container's root may not keep is left out, as Docker
                // does.
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(error) => return Err(failed("set an attribute of", path, error)),
            }
        }
        Ok(())
    }

    /// Of what cannot be opened without effect. It was just made, but somebody else may have
    /// swapped it for something else: nothing here follows a link.
    fn node_attributes(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = self.owner(entry) {
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow)
                .map_err(|error| owner_failed(path, (uid, gid), error))?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), nofollow)
            .map_err(|error| failed("set the times of", path, error))
    }

    fn finish(self) -> Result<Extracted, LayerError> {
        // The deepest last made first: setting a time changes no other.
        for (directory, mtime) in self.directories.iter().rev() {
            rustix::fs::futimens(directory, &times(*mtime))
                .map_err(|error| failed("set the times of", b"a directory", error))?;
        }
        Ok(self.extracted)
    }
}

fn some(path: &LayerPath) -> Option<Vec<u8>> {
    (!path.is_root()).then(|| path.as_bytes().to_vec())
}

fn look(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<Stat>, LayerError> {
    super::pack::look(parent.as_fd(), name, path)
}

fn make_directory(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), LayerError> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed("make the directory", path, error)),
    }
}

/// The directory `name`, which is no link.
fn enter(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)
        .map_err(|error| failed("open", path, error))
}

fn create(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| failed("make the file", path, error))
}

fn set_times(file: &impl AsFd, entry: &Entry, path: &[u8]) -> Result<(), LayerError> {
    rustix::fs::futimens(file, &times(entry.mtime))
        .map_err(|error| failed("set the times of", path, error))
}

fn owner_failed(path: &[u8], (uid, gid): (Uid, Gid), error: Errno) -> LayerError {
    if error == Errno::INVAL {
        let (uid, gid) = (uid.as_raw(), gid.as_raw());
        let problem = format!("owner {uid}:{gid} is outside of the container's range of ids");
        return LayerError::tree(path, problem);
    }
    failed("set the owner of", path, error)
}

fn fail(entry: &Entry, problem: &str) -> LayerError {
    LayerError::entry(&entry.name, entry.header_offset, problem)
}
