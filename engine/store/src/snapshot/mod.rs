//! Chains of layers as mounts.
//!
//! An *active* snapshot is a container's: layers below, its `rw` directory on top. It is put
//! together by whoever starts the container, from the descriptors given here. A *view* is the
//! same chain read-only. Nothing here knows what a container is.

mod view;

pub use view::KernelError;
pub use view::ViewError;
pub(crate) use view::read_only_overlay;
pub use view::{read_only_view, writable_view};

use std::os::fd::OwnedFd;

use hull_oci::Digest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::Store;
use crate::error::FileError;
use crate::layers::MountError;

/// The snapshots of a store.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a> {
    store: &'a Store,
}

/// The writable part of an active snapshot. Both lie in one directory: a mount of that directory
/// (`..` of either) is what an id map is put on, since an overlay wants both from one mount.
#[derive(Debug)]
pub struct Upper {
    /// The overlay's upper directory, `rw`, opened with `O_PATH`.
    pub upper: OwnedFd,
    /// The overlay's work directory, `work`, opened with `O_PATH`.
    pub work: OwnedFd,
}

impl Store {
    /// Chains of layers as mounts.
    pub fn snapshots(&self) -> Snapshots<'_> {
        Snapshots { store: self }
    }
}

impl Snapshots<'_> {
    /// One detached mount per layer, the top first, as an overlay wants them. `diff_ids` is in
    /// the order of an image's `rootfs.diff_ids`, the bottom first. A layer that hides all below
    /// it is the last: an overlay does not heed the mark for that on a layer's root. A layer that
    /// is there twice is given once, the upper one, which says all that the lower one could: an
    /// overlay refuses one directory at two places.
    pub fn layers(self, diff_ids: &[Digest]) -> Result<Vec<OwnedFd>, MountError> {
        let layers = self.store.layers();
        let mut trees = Vec::with_capacity(diff_ids.len());
        for (height, diff_id) in diff_ids.iter().enumerate().rev() {
            if diff_ids[height + 1..].contains(diff_id) {
                continue;
            }
            let mounted = layers.mount_marked(diff_id)?;
            trees.push(mounted.tree);
            if mounted.opaque {
                break;
            }
        }
        Ok(trees)
    }

    /// The writable part of the container with this full id.
    pub fn upper(self, container_id: &str) -> Result<Upper, FileError> {
        let open = |name: &str| {
            let path = format!("containers/{container_id}/{name}");
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if !crate::metadata::is_container_id(container_id) {
                return Err(self.store.root.error("open", &path, Errno::NOENT));
            }
            rustix::fs::openat(self.store.root.as_fd(), &path, flags, Mode::empty())
                .map_err(|error| self.store.root.error("open", &path, error))
        };
        Ok(Upper { upper: open("rw")?, work: open("work")? })
    }
}

#[cfg(test)]
mod tests;
