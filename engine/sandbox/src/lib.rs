//! The sandbox around one container: namespaces, root file system, cgroups, capabilities,
//! seccomp.
//!
//! Not here: images, names and the store (trees arrive as descriptors), what happens to a
//! container's output, and when it ends. The caller, the shim, is the parent of everything
//! started here and reaps it.

pub mod capability;
pub mod cgroup;
pub mod seccomp;
pub mod spec;
pub mod user;

mod channel;
mod child;
mod error;
mod exec_error;
mod filesystems;
mod host_devices;
mod id_range;
mod init;
mod join;
mod limits;
mod mounts;
pub mod path;
mod proc;
mod process;
mod rootfs;
mod start;
mod terminal;

use std::os::fd::OwnedFd;

use rustix::mount::{OpenTreeFlags, open_tree};

pub use cgroup::{Cgroup, CgroupError, Stats};
pub use error::{StartError, StartErrorKind};
pub use join::{ExecProcess, ExecStarting, Progress};
pub use mounts::{DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS, thermal_throttle_paths};
pub use start::{Running, start};

/// Name of the overlay's upper directory, and of its work directory beside it. With a private id
/// range both are found again by these names in what holds them.
pub const UPPER: &str = "rw";
/// See [`UPPER`].
pub const WORK: &str = "work";

/// The trees and places a container is made of.
#[derive(Debug)]
pub struct Inputs {
    /// Image layers, top first: directories or mounts, also as `O_PATH`. At least one.
    pub layers: Vec<OwnedFd>,
    /// The writable layer and the overlay's work directory: the directories [`UPPER`] and
    /// [`WORK`] of one directory on one mount. Without it the root is read-only, and every
    /// place to mount on must be in the image.
    pub upper: Option<(OwnedFd, OwnedFd)>,
    /// `open_tree` clones, attached nowhere, that [`spec::MountSource::Tree`] refers to. Each is
    /// used by one mount.
    pub trees: Vec<OwnedFd>,
    /// The directory that holds the lock files of id ranges.
    pub id_ranges: OwnedFd,
}

impl Inputs {
    /// The same again, for a further start: [`start`] uses its inputs up.
    ///
    /// # Errors
    /// The kernel's (dup(2), open_tree(2)).
    pub fn duplicate(&self) -> std::io::Result<Self> {
        let again = |descriptor: &OwnedFd| descriptor.try_clone();
        // A tree is given an id map and attached, which can be done once.
        let tree = |tree: &OwnedFd| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH
                | OpenTreeFlags::AT_RECURSIVE;
            Ok(open_tree(tree, "", flags)?)
        };
        Ok(Self {
            layers: self.layers.iter().map(again).collect::<std::io::Result<_>>()?,
            upper: match &self.upper {
                Some((upper, work)) => Some((again(upper)?, again(work)?)),
                None => None,
            },
            trees: self.trees.iter().map(tree).collect::<std::io::Result<_>>()?,
            id_ranges: again(&self.id_ranges)?,
        })
    }

    pub(crate) fn into_descriptors(self) -> impl Iterator<Item = OwnedFd> {
        let upper = self.upper.into_iter().flat_map(|(upper, work)| [upper, work]);
        self.layers.into_iter().chain(upper).chain(self.trees).chain([self.id_ranges])
    }
}

/// Standard streams of a process. `None` is the container's own `/dev/null`; with a terminal all
/// three are ignored.
#[derive(Debug, Default)]
pub struct Stdio {
    /// What the process reads.
    pub stdin: Option<OwnedFd>,
    /// Where its output goes.
    pub stdout: Option<OwnedFd>,
    /// Where its errors go.
    pub stderr: Option<OwnedFd>,
}

impl Stdio {
    pub(crate) fn into_descriptors(self) -> impl Iterator<Item = OwnedFd> {
        [self.stdin, self.stdout, self.stderr].into_iter().flatten()
    }
}
