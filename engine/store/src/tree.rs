//! Walks over directory trees whose content is hostile: any depth, any names, changing meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_oci::{Algorithm, Digest, Hasher};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Descriptors a walk holds open; what is further up is reopened through `..`.
const OPEN_LEVELS: usize = 64;

/// What a walk does at each directory.
trait Visitor {
    /// Takes in a directory and names the ones below it that are to be entered.
    fn list(&mut self, directory: BorrowedFd<'_>) -> io::Result<Vec<CString>>;

    /// Everything below `name` has been visited.
    fn leave(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()>;
}

struct Level {
    name: CString,
    directory: Option<OwnedFd>,
    /// Device and inode, once `directory` is closed.
    identity: (u64, u64),
    pending: Vec<CString>,
}

fn walk(top: OwnedFd, visitor: &mut impl Visitor) -> io::Result<()> {
    let pending = visitor.list(top.as_fd())?;
    let mut levels =
        vec![Level { name: CString::default(), directory: Some(top), identity: (0, 0), pending }];
    while let Some(level) = levels.last_mut() {
        let directory = level.directory.as_ref().expect("the deepest level is open");
        if let Some(name) = level.pending.pop() {
            let child = match open_directory(directory, &name) {
                Ok(child) => child,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(error.into()),
            };
            let pending = visitor.list(child.as_fd())?;
            levels.push(Level { name, directory: Some(child), identity: (0, 0), pending });
            close_far(&mut levels)?;
        } else {
            let done = levels.pop().expect("the loop has a level");
            let Some(parent) = levels.last_mut() else { break };
            let directory = match parent.directory.take() {
                Some(directory) => directory,
                None => reopen_parent(&done, parent.identity)?,
            };
            visitor.leave(directory.as_fd(), &done.name)?;
            parent.directory = Some(directory);
        }
    }
    Ok(())
}

fn open_directory(parent: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn close_far(levels: &mut [Level]) -> io::Result<()> {
    let Some(far) = levels.len().checked_sub(OPEN_LEVELS + 1) else { return Ok(()) };
    let level = &mut levels[far];
    if let Some(directory) = &level.directory {
        let stat = rustix::fs::fstat(directory)?;
        level.identity = (stat.st_dev, stat.st_ino);
        level.directory = None;
    }
    Ok(())
}

fn reopen_parent(child: &Level, identity: (u64, u64)) -> io::Result<OwnedFd> {
    let child = child.directory.as_ref().expect("the deepest level is open");
    let parent = open_directory(child, c"..")?;
    let stat = rustix::fs::fstat(&parent)?;
    if (stat.st_dev, stat.st_ino) != identity {
        return Err(io::Error::other("a directory was moved while the tree was read"));
    }
    Ok(parent)
}

fn entries(directory: BorrowedFd<'_>) -> io::Result<Vec<(CString, FileType)>> {
    let mut entries = Vec::new();
    let listing = match rustix::fs::Dir::read_from(directory) {
        // Removed since it was opened.
        Err(Errno::NOENT) => return Ok(entries),
        listing => listing?,
    };
    for entry in listing {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        if entry.file_name() != c"." && entry.file_name() != c".." {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(entries)
}

/// Removes `path` below `parent`, whatever it is and holds. Not being there is fine.
pub(crate) fn remove(parent: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    remove_busy(parent, &CString::new(path)?)
}

/// The same for a name in `parent` that somebody else chose.
pub(crate) fn remove_entry(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => remove_busy(parent, name),
        Err(error) => Err(error.into()),
    }
}

fn remove_busy(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // Who was killed may have left a worker that still writes here, until it notices.
    let mut attempts = 8;
    loop {
        match remove_tree(parent, name) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempts > 1 => {
                attempts -= 1;
            }
            result => return result,
        }
    }
}

fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match open_directory(parent, name) {
        Ok(top) => walk(top, &mut Remover)?,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    remove_empty(parent, name)
}

struct Remover;

impl Visitor for Remover {
    fn list(&mut self, directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
        let mut directories = Vec::new();
        for (name, kind) in entries(directory)? {
            if kind == FileType::Directory {
                directories.push(name);
                continue;
            }
            match rustix::fs::unlinkat(directory, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // The listing did not say what it is.
                Err(Errno::ISDIR) => directories.push(name),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(directories)
    }

    fn leave(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        remove_empty(parent, name)
    }
}

fn remove_empty(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Adds up disk space as `du` does: blocks of everything, hard links once.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    linked: HashSet<(u64, u64)>,
    total: u64,
}

impl Meter {
    /// Bytes on disk of `path` and all below it; nothing if it is not there.
    pub(crate) fn measure(&mut self, parent: BorrowedFd<'_>, path: &str) -> io::Result<u64> {
        self.total = 0;
        let name = CString::new(path)?;
        if self.add(parent, &name)? {
            match open_directory(parent, &name) {
                Ok(top) => walk(top, self)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.total)
    }

    /// Bytes on disk of `path` alone.
    pub(crate) fn measure_one(&mut self, parent: BorrowedFd<'_>, path: &str) -> io::Result<u64> {
        self.total = 0;
        self.add(parent, &CString::new(path)?)?;
        Ok(self.total)
    }

    /// True if it is a directory.
    fn add(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory || stat.st_nlink == 1 || self.linked.insert((stat.st_dev, stat.st_ino)) {
            self.total += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        Ok(is_directory)
    }
}

impl Visitor for Meter {
    fn list(&mut self, directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
        let mut directories = Vec::new();
        for (name, _) in entries(directory)? {
            if self.add(directory, &name)? {
                directories.push(name);
            }
        }
        Ok(directories)
    }

    fn leave(&mut self, _: BorrowedFd<'_>, _: &CStr) -> io::Result<()> {
        Ok(())
    }
}

/// The sha256 digest of what is left to read.
pub(crate) fn digest_of(reader: &mut impl Read) -> io::Result<Digest> {
    digest_as(Algorithm::Sha256, reader)
}

pub(crate) fn digest_as(algorithm: Algorithm, reader: &mut impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A digest over names, types, owners, modes, sizes, link targets, devices and times of a tree;
/// content is not read.
pub(crate) fn fingerprint(top: OwnedFd) -> io::Result<Digest> {
    let mut fingerprinter = Fingerprinter { hasher: Hasher::new(Algorithm::Sha256) };
    let stat = rustix::fs::fstat(&top)?;
    fingerprinter.add(c"", &stat, &[]);
    walk(top, &mut fingerprinter)?;
    Ok(fingerprinter.hasher.finish())
}

struct Fingerprinter {
    hasher: Hasher,
}

impl Fingerprinter {
    fn add(&mut self, name: &CStr, stat: &Stat, target: &[u8]) {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let size = if is_directory { 0 } else { stat.st_size };
        self.hasher.update(name.to_bytes_with_nul());
        self.hasher.update(&stat.st_mode.to_le_bytes());
        self.hasher.update(&stat.st_uid.to_le_bytes());
        self.hasher.update(&stat.st_gid.to_le_bytes());
        self.hasher.update(&size.to_le_bytes());
        self.hasher.update(&stat.st_rdev.to_le_bytes());
        self.hasher.update(&stat.st_mtime.to_le_bytes());
        self.hasher.update(&(target.len() as u64).to_le_bytes());
        self.hasher.update(target);
    }
}

impl Visitor for Fingerprinter {
    fn list(&mut self, directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
        let sorted: BTreeMap<_, _> = entries(directory)?.into_iter().collect();
        self.hasher.update(&(sorted.len() as u64).to_le_bytes());
        let mut directories = Vec::new();
        for name in sorted.into_keys() {
            let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let target = match kind {
                FileType::Symlink => rustix::fs::readlinkat(directory, &name, Vec::new())?,
                _ => CString::default(),
            };
            self.add(&name, &stat, target.as_bytes());
            if kind == FileType::Directory {
                directories.push(name);
            }
        }
        Ok(directories)
    }

    fn leave(&mut self, _: BorrowedFd<'_>, _: &CStr) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
