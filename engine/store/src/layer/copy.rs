//! A directory tree to another place, entry by entry.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, statat};

use super::beneath::{Beneath, failed};
use super::error::shown;
use super::path::{join, split};
use super::tree::Attributes;
use super::unpack::{set_attributes, set_node_attributes};
use super::xattr::{Holder, Raw, admitted};
use super::{LayerError, Limits};

const BUFFER: usize = 256 << 10;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Entries, without the root.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Copies what is in the directory `source` into the empty directory `destination`, which also
/// gets the source's own attributes: owners, modes, extended attributes that a layer may have,
/// modification times, hard links within the tree, symlinks, devices and pipes. Sockets are left
/// out: nobody listens at a copy.
///
/// Symlinks are copied, never followed, on neither side.
///
/// # Errors
/// As [`LayerError`] says; `destination` then holds part of the tree.
pub fn copy_tree(
    source: OwnedFd,
    destination: OwnedFd,
    limits: Limits,
) -> Result<Copied, LayerError> {
    let mut copy = Copy {
        source: Beneath::new(source),
        destination: Beneath::new(destination),
        limits,
        copied: Copied::default(),
        links: HashMap::new(),
        buffer: vec![0; BUFFER],
    };
    let mut directories = vec![Vec::new()];
    let mut next = 0;
    while let Some(path) = directories.get(next).cloned() {
        next += 1;
        copy.entries_of(&path, &mut directories)?;
    }
    for path in directories.iter().rev() {
        copy.finish_directory(path)?;
    }
    Ok(copy.copied)
}

struct Copy {
    source: Beneath,
    destination: Beneath,
    limits: Limits,
    copied: Copied,
    /// First path of each file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl Copy {
    fn entries_of(
        &mut self,
        path: &[u8],
        directories: &mut Vec<Vec<u8>>,
    ) -> Result<(), LayerError> {
        let source = self.source.open(path)?;
        let entries = Dir::read_from(&source).map_err(|error| failed("read", path, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed("read", path, error))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.copied.entries += 1;
            if self.copied.entries > self.limits.max_entries {
                let limit = self.limits.max_entries;
                return Err(LayerError::TooLarge { what: "entries", limit });
            }
            let below = join(path, name);
            if self.entry(path, name, &below)? {
                directories.push(below);
            }
        }
        Ok(())
    }

    /// Copies one entry; true for a directory, whose content is still to come.
    fn entry(&mut self, path: &[u8], name: &[u8], below: &[u8]) -> Result<bool, LayerError> {
        let source = self.source.open(path)?;
        let destination = self.destination.open(path)?;
        let stat = statat(&source, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("look at", below, error))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            self.destination.make_in(&destination, name, below)?;
            return Ok(true);
        }
        if stat.st_nlink > 1 && self.link(&stat, &destination, name, below)? {
            return Ok(false);
        }
        let made = match kind {
            FileType::RegularFile => {
                self.file(&source, &destination, name, below)?;
                return Ok(false);
            }
            FileType::Symlink => rustix::fs::readlinkat(&source, name, Vec::new())
                .and_then(|target| rustix::fs::symlinkat(target, &destination, name)),
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                rustix::fs::mknodat(&destination, name, kind, Mode::empty(), stat.st_rdev)
            }
            _ => return Ok(false),
        };
        let attributes = Attributes::of(&stat, Box::default());
        let is_symlink = kind == FileType::Symlink;
        made.and_then(|()| set_node_attributes(&destination, name, &attributes, is_symlink))
            .map_err(|error| failed("copy", below, error))?;
        Ok(false)
    }

    /// Links to the copy of the same file, if it was copied already.
    fn link(
        &mut self,
        stat: &Stat,
        destination: &OwnedFd,
        name: &[u8],
        below: &[u8],
    ) -> Result<bool, LayerError> {
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else {
            self.links.insert((stat.st_dev, stat.st_ino), below.to_vec());
            return Ok(false);
        };
        let (directory, first) = split(first);
        let directory = self.destination.open(directory)?;
        rustix::fs::linkat(&directory, first, destination, name, AtFlags::empty())
            .map_err(|error| failed("link", below, error))?;
        Ok(true)
    }

    fn file(
        &mut self,
        source: &OwnedFd,
        destination: &OwnedFd,
        name: &[u8],
        below: &[u8],
    ) -> Result<(), LayerError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let from = rustix::fs::openat(source, name, flags, Mode::empty())
            .map_err(|error| failed("open", below, error))?;
        let stat = rustix::fs::fstat(&from).map_err(|error| failed("look at", below, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(LayerError::tree(below, "it changed while it was copied"));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let to = rustix::fs::openat(destination, name, flags | OFlags::CLOEXEC, Mode::RUSR)
            .map_err(|error| failed("make the file", below, error))?;
        let mut to = File::from(to);
        let mut from = File::from(from);
        self.content(&mut from, &mut to).map_err(|error| match error.downcast::<LayerError>() {
            Ok(error) => error,
            Err(error) => LayerError::io(format!("copy {:?}", shown(below)), error),
        })?;
        let attributes = attributes(&from, &stat, Holder::File, below)?;
        set_attributes(&to, &attributes, below)
    }

    fn content(&mut self, from: &mut File, to: &mut File) -> io::Result<()> {
        loop {
            let read = match from.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.copied.bytes += read as u64;
            if self.copied.bytes > self.limits.max_bytes {
                let limit = self.limits.max_bytes;
                return Err(io::Error::other(LayerError::TooLarge { what: "bytes", limit }));
            }
            to.write_all(&self.buffer[..read])?;
        }
    }

    fn finish_directory(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let source = self.source.open(path)?;
        let destination = self.destination.open(path)?;
        let stat = rustix::fs::fstat(&source).map_err(|error| failed("look at", path, error))?;
        let attributes = attributes(&source, &stat, Holder::Directory, path)?;
        set_attributes(&destination, &attributes, path)
    }
}

/// What an archive keeps of an open file or directory.
pub(super) fn attributes(
    file: &impl AsFd,
    stat: &Stat,
    holder: Holder,
    path: &[u8],
) -> Result<Attributes, LayerError> {
    let (xattrs, _) = admitted(&xattrs(file, path)?, holder)
        .map_err(|problem| LayerError::tree(path, problem))?;
    Ok(Attributes::of(stat, xattrs.into()))
}

fn xattrs(file: &impl AsFd, path: &[u8]) -> Result<Raw, LayerError> {
    let read = |error| failed("read the extended attributes of", path, error);
    let mut buffer = vec![0; 4096];
    let names = loop {
        match rustix::fs::flistxattr(file, buffer.as_mut_slice()) {
            Ok(length) => break buffer[..length].to_vec(),
            Err(rustix::io::Errno::RANGE) if buffer.len() < 64 << 10 => {
                buffer.resize(64 << 10, 0);
            }
            Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(read(error)),
        }
    };
    let mut xattrs = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        buffer.resize(64 << 10, 0);
        let length = rustix::fs::fgetxattr(file, name, buffer.as_mut_slice()).map_err(read)?;
        xattrs.push((name.to_vec(), buffer[..length].to_vec()));
    }
    Ok(xattrs)
}
