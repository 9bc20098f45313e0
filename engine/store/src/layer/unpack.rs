//! A layer as a directory tree that overlayfs takes as it is.
//!
//! While the layer is read, only regular files and the directories on the way to them are made:
//! there is no symlink on disk yet that a name could lead through. Everything else is made from
//! the tree at the end, and directories get their attributes last, deepest first, so that their
//! times stay.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::LayerError;
use super::beneath::{Beneath, failed};
use super::path::{join, split};
use super::tar::{Device, Time};
use super::tree::{Attributes, Inode, Kind, NodeId, Place, Tree};
use super::xattr::OPAQUE;

/// A tree being written.
pub(super) struct Unpack {
    beneath: Beneath,
}

impl Unpack {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { beneath: Beneath::new(root) }
    }

    /// Removes what an entry replaces.
    pub(super) fn remove(&mut self, place: &Place) -> Result<(), LayerError> {
        self.beneath.remove(&place.directory, &place.name)
    }

    /// Writes a regular file; `data` hands its content to the function it is given.
    pub(super) fn write_file(
        &mut self,
        place: &Place,
        attributes: &Attributes,
        data: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), LayerError>) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let directory = self.beneath.make(&place.directory)?;
        let path = join(&place.directory, &place.name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, place.name.as_slice(), flags, Mode::RUSR)
            .map_err(|error| failed("make the file", &path, error))?;
        let mut file = File::from(file);
        data(&mut |bytes| {
            file.write_all(bytes).map_err(|error| {
                LayerError::io(format!("write {:?}", super::error::shown(&path)), error)
            })
        })?;
        set_attributes(&file, attributes, &path)
    }

    /// Gives the regular file at `target` another name.
    pub(super) fn link_file(&mut self, place: &Place, target: &[u8]) -> Result<(), LayerError> {
        let directory = self.beneath.make(&place.directory)?;
        let (from, name) = split(target);
        let from = self.beneath.open(from)?;
        rustix::fs::linkat(&from, name, &directory, place.name.as_slice(), AtFlags::empty())
            .map_err(|error| failed("link", &join(&place.directory, &place.name), error))
    }

    /// Makes what is not there yet and, if it is to be `durable`, waits until all of it is on disk.
    pub(super) fn finish(mut self, tree: &Tree, durable: bool) -> Result<(), LayerError> {
        let mut directories = vec![(Tree::ROOT, Vec::new())];
        let mut made = HashMap::new();
        let mut next = 0;
        while let Some((node, path)) = directories.get(next).cloned() {
            next += 1;
            let Kind::Directory(directory) = &tree.inode(node).kind else { continue };
            let opened = self.beneath.open(&path)?;
            for (name, &child) in &directory.entries {
                let inode = tree.inode(child);
                match &inode.kind {
                    Kind::File { .. } => {}
                    Kind::Directory(_) => {
                        let below = join(&path, name);
                        self.beneath.make_in(&opened, name, &below)?;
                        directories.push((child, below));
                    }
                    _ => self.make_special((child, inode), &path, name, &mut made)?,
                }
            }
        }
        for (node, path) in directories.iter().rev() {
            self.finish_directory(tree.inode(*node), path)?;
        }
        if !durable {
            return Ok(());
        }
        rustix::fs::syncfs(self.beneath.root())
            .map_err(|error| LayerError::io("sync the layer's file system", error))
    }

    /// A symlink, device, pipe or whiteout, or another name for one.
    fn make_special(
        &mut self,
        (node, inode): (NodeId, &Inode),
        directory: &[u8],
        name: &[u8],
        made: &mut HashMap<NodeId, Vec<u8>>,
    ) -> Result<(), LayerError> {
        let path = join(directory, name);
        let opened = self.beneath.open(directory)?;
        if let Some(first) = made.get(&node) {
            let (from, first) = split(first);
            let from = self.beneath.open(from)?;
            return rustix::fs::linkat(&from, first, &opened, name, AtFlags::empty())
                .map_err(|error| failed("link", &path, error));
        }
        make_node(&opened, name, inode).map_err(|error| failed("make", &path, error))?;
        let is_symlink = matches!(inode.kind, Kind::Symlink(_));
        set_node_attributes(&opened, name, &inode.attributes, is_symlink)
            .map_err(|error| failed("set the attributes of", &path, error))?;
        made.insert(node, path);
        Ok(())
    }

    fn finish_directory(&mut self, inode: &Inode, path: &[u8]) -> Result<(), LayerError> {
        let opened = self.beneath.open(path)?;
        if matches!(&inode.kind, Kind::Directory(directory) if directory.opaque) {
            set_xattr(&opened, OPAQUE, b"y", path)?;
        }
        set_attributes(&opened, &inode.attributes, path)
    }
}

fn make_node(directory: impl AsFd, name: &[u8], inode: &Inode) -> Result<(), Errno> {
    let device = |kind, device: Device| {
        let number = rustix::fs::makedev(device.major, device.minor);
        rustix::fs::mknodat(&directory, name, kind, Mode::empty(), number)
    };
    let none = Device { major: 0, minor: 0 };
    match &inode.kind {
        Kind::Symlink(target) => rustix::fs::symlinkat(&**target, &directory, name),
        Kind::CharacterDevice(numbers) => device(FileType::CharacterDevice, *numbers),
        Kind::BlockDevice(numbers) => device(FileType::BlockDevice, *numbers),
        Kind::Fifo => device(FileType::Fifo, none),
        Kind::Whiteout => device(FileType::CharacterDevice, none),
        Kind::File { .. } | Kind::Directory(_) => unreachable!("made elsewhere"),
    }
}

/// Of what cannot be opened without effect.
pub(super) fn set_node_attributes(
    directory: impl AsFd,
    name: &[u8],
    attributes: &Attributes,
    is_symlink: bool,
) -> Result<(), Errno> {
    let (uid, gid) = owner(attributes);
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(&directory, name, Some(uid), Some(gid), nofollow)?;
    if !is_symlink {
        // It was just made, is no symlink, and no one else writes here.
        rustix::fs::chmodat(&directory, name, mode(attributes), AtFlags::empty())?;
    }
    rustix::fs::utimensat(&directory, name, &times(attributes.mtime), nofollow)
}

/// Of an open file or directory. The owner first, as a change of it drops set-id bits and file
/// capabilities.
pub(super) fn set_attributes(
    file: impl AsFd,
    attributes: &Attributes,
    path: &[u8],
) -> Result<(), LayerError> {
    let (uid, gid) = owner(attributes);
    rustix::fs::fchown(&file, Some(uid), Some(gid))
        .map_err(|error| failed("set the owner of", path, error))?;
    rustix::fs::fchmod(&file, mode(attributes))
        .map_err(|error| failed("set the mode of", path, error))?;
    for xattr in &attributes.xattrs {
        set_xattr(&file, &xattr.name, &xattr.value, path)?;
    }
    rustix::fs::futimens(&file, &times(attributes.mtime))
        .map_err(|error| failed("set the times of", path, error))
}

fn set_xattr(file: impl AsFd, name: &[u8], value: &[u8], path: &[u8]) -> Result<(), LayerError> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).map_err(|error| {
        let action = format!("set the attribute {} of", super::error::shown(name));
        failed(&action, path, error)
    })
}

fn owner(attributes: &Attributes) -> (Uid, Gid) {
    (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid))
}

fn mode(attributes: &Attributes) -> Mode {
    Mode::from_raw_mode(u32::from(attributes.mode))
}

pub(super) fn times(mtime: Time) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
