//! What a layer says, in memory: the tree its entries make, whatever their order.
//!
//! All names are resolved here, against this layer alone, so that neither way of keeping a layer
//! has to follow a symlink. A symlink in the middle of a name leads where it would lead inside a
//! container that has only this layer.
//!
//! A later entry replaces an earlier one of the same name, except that a directory over a
//! directory keeps the children. A whiteout never hides what its own layer holds, before or
//! after it (image-spec, layer.md, "Whiteouts"): `.wh.x` beside a directory `x` of the same
//! layer means that nothing of a lower `x` shows through, which is an opaque directory.

use std::collections::{BTreeMap, VecDeque};

use rustix::fs::Stat;

use super::path::{LayerPath, MAX_NAME, MAX_PATH, components, join};
use super::tar::{Device, Time};
use super::xattr::Xattr;

/// As many symlinks in one name as the kernel follows.
const MAX_LINKS: u32 = 40;

/// An inode; the position in [`Tree::inodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

#[derive(Debug, Clone)]
pub(super) struct Attributes {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: Box<[Xattr]>,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) attributes: Attributes,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Directory(Directory),
    /// Where its data lies in the tar, and how long it is.
    File {
        offset: u64,
        size: u64,
    },
    Symlink(Box<[u8]>),
    CharacterDevice(Device),
    BlockDevice(Device),
    Fifo,
    Whiteout,
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) entries: BTreeMap<Box<[u8]>, NodeId>,
    /// Lower layers do not show through.
    pub(super) opaque: bool,
}

/// Where an entry went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Path of its directory, without symlinks.
    pub(super) directory: Vec<u8>,
    pub(super) name: Vec<u8>,
    /// Something else had the name and is gone.
    pub(super) replaced: bool,
}

/// Where a hard link went.
#[derive(Debug)]
pub(super) struct LinkPlace {
    pub(super) place: Place,
    /// Path of the linked inode, without symlinks.
    pub(super) target: Vec<u8>,
    pub(super) is_file: bool,
    /// The name was this inode's already.
    pub(super) unchanged: bool,
}

/// Why an entry has no place in the tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TreeError {
    Invalid(String),
    TooMany,
}

pub(super) struct Tree {
    inodes: Vec<Inode>,
    /// Names made so far, also those replaced since.
    names: u64,
    max_names: u64,
    /// The last directory that was resolved: most entries follow a sibling.
    last: Option<(Vec<u8>, Resolved)>,
}

#[derive(Debug, Clone)]
struct Resolved {
    node: NodeId,
    path: Vec<u8>,
}

/// Whether directories that a name implies are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Refuse,
}

impl Tree {
    pub(super) const ROOT: NodeId = NodeId(0);

    pub(super) fn new(max_names: u64) -> Self {
        let root = Inode::implied_directory(false);
        Self { inodes: vec![root], names: 0, max_names, last: None }
    }

    pub(super) fn inode(&self, node: NodeId) -> &Inode {
        &self.inodes[node.index()]
    }

    /// How many inodes there are, also those without a name.
    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    pub(super) fn max_names(&self) -> u64 {
        self.max_names
    }

    pub(super) fn is_opaque(&self) -> bool {
        matches!(&self.inode(Self::ROOT).kind, Kind::Directory(root) if root.opaque)
    }

    /// Puts an inode at `path`.
    pub(super) fn insert(&mut self, path: &LayerPath, inode: Inode) -> Result<Place, TreeError> {
        let Some((directory, name)) = path.split_last() else {
            return self.replace_root(inode);
        };
        let parent = self.resolve(directory, Missing::Create)?;
        let mut replaced = false;
        let mut inode = inode;
        if let Some(old) = self.child(parent.node, name) {
            match (&mut self.inodes[old.index()].kind, &mut inode.kind) {
                (Kind::Directory(_), Kind::Directory(_)) => {
                    self.count()?;
                    self.inodes[old.index()].attributes = inode.attributes;
                    return Ok(place(parent, name, false));
                }
                (Kind::Whiteout, Kind::Directory(directory)) => directory.opaque = true,
                (Kind::Whiteout, _) => {}
                _ => replaced = true,
            }
        }
        let node = self.add(inode)?;
        self.set_child(parent.node, name, node, replaced);
        Ok(place(parent, name, replaced))
    }

    /// Gives the inode at `target` another name.
    pub(super) fn link(
        &mut self,
        path: &LayerPath,
        target: &LayerPath,
    ) -> Result<LinkPlace, TreeError> {
        let Some((target_directory, target_name)) = target.split_last() else {
            return invalid("a hard link to the root");
        };
        let Some((directory, name)) = path.split_last() else {
            return invalid("a hard link in place of the root");
        };
        let absent = || {
            let target = super::error::shown(target.as_bytes());
            TreeError::Invalid(format!("a hard link to {target:?}, which this layer does not hold"))
        };
        let target_parent =
            self.resolve(target_directory, Missing::Refuse).map_err(|error| match error {
                TreeError::Invalid(_) => absent(),
                TreeError::TooMany => error,
            })?;
        let node = self.child(target_parent.node, target_name).ok_or_else(absent)?;
        let is_file = match self.inode(node).kind {
            Kind::Whiteout => return Err(absent()),
            Kind::Directory(_) => return invalid("a hard link to a directory"),
            Kind::File { .. } => true,
            _ => false,
        };
        let target = join(&target_parent.path, target_name);
        self.count()?;
        let parent = self.resolve(directory, Missing::Create)?;
        let old = self.child(parent.node, name);
        let unchanged = old == Some(node);
        let replaced =
            !unchanged && old.is_some_and(|old| !matches!(self.inode(old).kind, Kind::Whiteout));
        let at = join(&parent.path, name);
        if target.strip_prefix(at.as_slice()).is_some_and(|rest| rest.starts_with(b"/")) {
            return invalid("a hard link in place of the directory that holds its target");
        }
        self.set_child(parent.node, name, node, replaced);
        Ok(LinkPlace { place: place(parent, name, replaced), target, is_file, unchanged })
    }

    /// Hides what lower layers have at `path`.
    pub(super) fn whiteout(&mut self, directory: &[u8], name: &[u8]) -> Result<(), TreeError> {
        let parent = self.resolve(directory, Missing::Create)?;
        match self.child(parent.node, name) {
            None => {
                let attributes = Attributes { mode: 0, ..Attributes::implied() };
                let node = self.add(Inode { attributes, kind: Kind::Whiteout })?;
                self.set_child(parent.node, name, node, false);
            }
            Some(node) => {
                self.count()?;
                if let Kind::Directory(directory) = &mut self.inodes[node.index()].kind {
                    directory.opaque = true;
                }
            }
        }
        Ok(())
    }

    /// Hides what lower layers have in `directory`.
    pub(super) fn opaque(&mut self, directory: &[u8]) -> Result<(), TreeError> {
        self.count()?;
        let resolved = self.resolve(directory, Missing::Create)?;
        self.directory_mut(resolved.node).opaque = true;
        Ok(())
    }

    fn replace_root(&mut self, inode: Inode) -> Result<Place, TreeError> {
        self.count()?;
        if !matches!(inode.kind, Kind::Directory(_)) {
            return invalid("the root is not a directory");
        }
        self.inodes[Self::ROOT.index()].attributes = inode.attributes;
        Ok(Place { directory: Vec::new(), name: Vec::new(), replaced: false })
    }

    /// The directory that `path` leads to in this layer.
    fn resolve(&mut self, path: &[u8], missing: Missing) -> Result<Resolved, TreeError> {
        if let Some((last, resolved)) = &self.last
            && last == path
        {
            return Ok(resolved.clone());
        }
        let mut walk = vec![(Self::ROOT, 0)];
        let mut walked = Vec::new();
        let mut links = 0;
        let mut ahead: VecDeque<Box<[u8]>> = components(path).map(Box::from).collect();
        while let Some(name) = ahead.pop_front() {
            let (node, length) = *walk.last().expect("the root stays");
            match &*name {
                b"." => continue,
                b".." => {
                    if walk.len() > 1 {
                        walk.pop();
                        walked.truncate(walk.last().expect("the root stays").1);
                    }
                    continue;
                }
                _ => {}
            }
            let next = match self.child(node, &name) {
                Some(next) => match &self.inode(next).kind {
                    Kind::Directory(_) => next,
                    Kind::Symlink(target) => {
                        links += 1;
                        if links > MAX_LINKS {
                            return invalid("too many symlinks on the way to it");
                        }
                        if target.starts_with(b"/") {
                            walk.truncate(1);
                            walked.clear();
                        }
                        for part in components(target).collect::<Vec<_>>().into_iter().rev() {
                            ahead.push_front(part.into());
                        }
                        continue;
                    }
                    Kind::Whiteout if missing == Missing::Create => {
                        self.make_directory(node, &name, true)?
                    }
                    Kind::Whiteout => return invalid("a directory on the way to it is missing"),
                    _ => {
                        let name = super::error::shown(&join(&walked[..length], &name));
                        let problem = format!("{name:?} on the way to it is not a directory");
                        return Err(TreeError::Invalid(problem));
                    }
                },
                None if missing == Missing::Create => self.make_directory(node, &name, false)?,
                None => return invalid("a directory on the way to it is missing"),
            };
            walked = join(&walked, &name);
            if walked.len() > MAX_PATH {
                return invalid("symlinks make its name too long");
            }
            walk.push((next, walked.len()));
        }
        let (node, _) = *walk.last().expect("the root stays");
        let resolved = Resolved { node, path: walked };
        self.last = Some((path.to_vec(), resolved.clone()));
        Ok(resolved)
    }

    fn make_directory(
        &mut self,
        parent: NodeId,
        name: &[u8],
        opaque: bool,
    ) -> Result<NodeId, TreeError> {
        // A part of a symlink's target, which no one has looked at yet.
        if name.len() > MAX_NAME {
            return invalid("symlinks make its name too long");
        }
        let node = self.add(Inode::implied_directory(opaque))?;
        self.set_child(parent, name, node, false);
        Ok(node)
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.inode(directory).kind {
            Kind::Directory(directory) => directory.entries.get(name).copied(),
            _ => None,
        }
    }

    fn set_child(&mut self, directory: NodeId, name: &[u8], node: NodeId, replaced: bool) {
        if replaced {
            // What was remembered may have led through what is gone.
            self.last = None;
        }
        self.directory_mut(directory).entries.insert(name.into(), node);
    }

    fn directory_mut(&mut self, node: NodeId) -> &mut Directory {
        match &mut self.inodes[node.index()].kind {
            Kind::Directory(directory) => directory,
            _ => unreachable!("resolved nodes are directories"),
        }
    }

    fn add(&mut self, inode: Inode) -> Result<NodeId, TreeError> {
        self.count()?;
        let node = u32::try_from(self.inodes.len()).map_err(|_| TreeError::TooMany)?;
        self.inodes.push(inode);
        Ok(NodeId(node))
    }

    fn count(&mut self) -> Result<(), TreeError> {
        self.names += 1;
        if self.names > self.max_names { Err(TreeError::TooMany) } else { Ok(()) }
    }
}

impl NodeId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn as_u32(self) -> u32 {
        self.0
    }

    pub(super) fn from_u32(index: u32) -> Self {
        Self(index)
    }
}

impl Attributes {
    /// Of a file on disk.
    pub(super) fn of(stat: &Stat, xattrs: Box<[Xattr]>) -> Self {
        Self {
            mode: u16::try_from(stat.st_mode & 0o7777).expect("twelve bits"),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            xattrs,
        }
    }

    /// Of what a name implies but no entry describes.
    fn implied() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: Box::default() }
    }
}

impl Inode {
    fn implied_directory(opaque: bool) -> Self {
        let directory = Directory { opaque, ..Directory::default() };
        Self { attributes: Attributes::implied(), kind: Kind::Directory(directory) }
    }
}

fn place(parent: Resolved, name: &[u8], replaced: bool) -> Place {
    Place { directory: parent.path, name: name.to_vec(), replaced }
}

fn invalid<T>(problem: &str) -> Result<T, TreeError> {
    Err(TreeError::Invalid(problem.to_owned()))
}
