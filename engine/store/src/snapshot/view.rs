//! Read-only views.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use hull_oci::Digest;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{Snapshots, Upper};
use crate::error::ErrorKind;
pub use crate::layers::KernelError;
use crate::layers::MountError;

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A layer cannot be mounted.
    #[error(transparent)]
    Layer(#[from] MountError),
    /// The kernel refused the overlay.
    #[error("cannot mount a read-only view of {layers} layers")]
    Overlay {
        /// How many layers.
        layers: usize,
        /// What the kernel said.
        source: KernelError,
    },
}

impl ViewError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Layer(error) => error.kind(),
            Self::Overlay { .. } => ErrorKind::Unavailable,
        }
    }
}

impl Snapshots<'_> {
    /// A detached read-only mount of a chain of layers (bottom first), with a container's `rw`
    /// on top if it is given. Owners are those on disk; devices and set-uid bits have no effect.
    pub fn view(
        self,
        diff_ids: &[Digest],
        upper: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd, ViewError> {
        let layers = self.layers(diff_ids)?;
        let chain: Vec<_> = upper.into_iter().chain(layers.iter().map(AsFd::as_fd)).collect();
        read_only_overlay(&chain)
            .map_err(|source| ViewError::Overlay { layers: diff_ids.len(), source })
    }
}

impl Snapshots<'_> {
    /// A detached writable mount of the container with this full id, whose image has these layers
    /// (bottom first). Owners are those on disk; devices and set-uid bits have no effect. Nobody
    /// else may have the container's directory mounted: it must not run, nor be started.
    pub fn writable(self, diff_ids: &[Digest], container_id: &str) -> Result<OwnedFd, ViewError> {
        let layers = self.layers(diff_ids)?;
        let upper = self.upper(container_id).map_err(MountError::from)?;
        let fail = |source| ViewError::Overlay { layers: diff_ids.len(), source };
        let empty = empty_directory().map_err(fail)?;
        let lowers: Vec<_> = layers.iter().map(AsFd::as_fd).chain([empty.as_fd()]).collect();
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        overlay(&lowers, Some(&upper), attributes).map_err(fail)
    }
}

/// A detached read-only mount of directories or mounts laid over each other, the top first.
/// Owners are those on disk; devices and set-uid bits have no effect.
///
/// # Errors
/// What the kernel said.
pub fn read_only_view(chain: &[BorrowedFd<'_>]) -> Result<OwnedFd, KernelError> {
    read_only_overlay(chain)
}

/// The same with a directory on top that is written to, without a sync at its end.
///
/// # Errors
/// What the kernel said.
pub fn writable_view(chain: &[BorrowedFd<'_>], upper: &Upper) -> Result<OwnedFd, KernelError> {
    let empty = empty_directory()?;
    let lowers: Vec<_> = chain.iter().copied().chain([empty.as_fd()]).collect();
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    overlay_with(&lowers, Some(upper), attributes, true)
}

/// Lays directories over each other, the top first.
pub(crate) fn read_only_overlay(chain: &[BorrowedFd<'_>]) -> Result<OwnedFd, KernelError> {
    // An overlay that is never written to wants two directories, and whiteouts show in the lowest
    // unless something is below it.
    let empty = empty_directory()?;
    if chain.is_empty() {
        return Ok(empty);
    }
    let lowers: Vec<_> = chain.iter().copied().chain([empty.as_fd()]).collect();
    overlay(&lowers, None, inert())
}

fn overlay(
    lowers: &[BorrowedFd<'_>],
    upper: Option<&Upper>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, KernelError> {
    overlay_with(lowers, upper, attributes, false)
}

fn overlay_with(
    lowers: &[BorrowedFd<'_>],
    upper: Option<&Upper>,
    attributes: MountAttrFlags,
    volatile: bool,
) -> Result<OwnedFd, KernelError> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|error| KernelError::new("fsopen overlay", error))?;
    let fail = |call| {
        let context = &context;
        move |errno| KernelError::in_context(call, errno, context)
    };
    rustix::mount::fsconfig_set_string(&context, "source", "hull")
        .map_err(fail("fsconfig source"))?;
    let set = |key: &'static str, directory: BorrowedFd<'_>| {
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        rustix::mount::fsconfig_set_string(&context, key, path).map_err(fail(key))
    };
    for lower in lowers {
        set("lowerdir+", *lower)?;
    }
    match upper {
        Some(Upper { upper, work }) => {
            set("upperdir", upper.as_fd())?;
            set("workdir", work.as_fd())?;
        }
        None => {
            rustix::mount::fsconfig_set_flag(&context, "ro").map_err(fail("fsconfig ro"))?;
        }
    }
    if volatile {
        rustix::mount::fsconfig_set_flag(&context, "volatile")
            .map_err(fail("fsconfig volatile"))?;
    }
    // The upper directory of a running container may be among the lower ones; and no layer steers
    // where its files come from by the overlay's own attributes.
    for (key, value) in [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")] {
        rustix::mount::fsconfig_set_string(&context, key, value).map_err(fail(key))?;
    }
    rustix::mount::fsconfig_create(&context).map_err(fail("fsconfig create"))?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(fail("fsmount overlay"))
}

fn empty_directory() -> Result<OwnedFd, KernelError> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|error| KernelError::new("fsopen tmpfs", error))?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0755")
        .and_then(|()| rustix::mount::fsconfig_create(&context))
        .and_then(|()| rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, inert()))
        .map_err(|errno| KernelError::in_context("mounting tmpfs", errno, &context))
}

fn inert() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
}
