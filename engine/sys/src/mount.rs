//! `mount_setattr`: what rustix lacks of the mount interface.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Attributes of a mount, as the kernel's `MOUNT_ATTR_*` bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// None.
    pub const NONE: Self = Self(0);
    /// No writes.
    pub const RDONLY: Self = Self(0x1);
    /// Set-user-id and file capabilities have no effect.
    pub const NOSUID: Self = Self(0x2);
    /// Device nodes cannot be opened.
    pub const NODEV: Self = Self(0x4);
    /// Nothing can be executed.
    pub const NOEXEC: Self = Self(0x8);

    const IDMAP: Self = Self(0x0010_0000);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Translates the ids of the files of a mount that is attached nowhere: what is id `n` on disk
/// shows as what `n` in `userns` is.
///
/// # Errors
/// `EINVAL` when a file system refuses (overlay, NFS, proc, sysfs ...) or is mapped already,
/// otherwise the kernel's (mount_setattr(2)).
pub fn map_ids(mount: impl AsFd, userns: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let attributes = MountAttr {
        attr_set: Attributes::IDMAP.0,
        userns_fd: userns.as_raw_fd().unsigned_abs().into(),
        ..MountAttr::default()
    };
    set(mount.as_fd(), recursive, &attributes)
}

/// Adds `attributes` to the mount whose root `mount` refers to.
///
/// # Errors
/// The kernel's (mount_setattr(2)).
pub fn add_attributes(mount: impl AsFd, attributes: Attributes, recursive: bool) -> io::Result<()> {
    set(mount.as_fd(), recursive, &MountAttr { attr_set: attributes.0, ..MountAttr::default() })
}

/// As [`add_attributes`] for the mount at `path`.
///
/// # Errors
/// The kernel's (mount_setattr(2)).
pub fn add_attributes_at(path: &CStr, attributes: Attributes, recursive: bool) -> io::Result<()> {
    let attributes = MountAttr { attr_set: attributes.0, ..MountAttr::default() };
    set_at(rustix::fs::CWD, path, recursive, &attributes)
}

/// Makes the program this process runs read-only, and impossible to execute again, also through
/// `/proc/self/exe`. The process itself goes on as before.
///
/// For a program executed from a mount of its own that is attached nowhere (`open_tree` of its
/// file). Whoever made that mount must still hold it.
///
/// # Errors
/// `InvalidInput` where the program lies on an ordinary mount; otherwise the kernel's.
pub fn seal_program() -> io::Result<()> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let program = rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())?;
    add_attributes(program, Attributes::RDONLY.and(Attributes::NOEXEC), false)
}

/// Makes every mount of this mount namespace private: none learns of mounts elsewhere, and
/// nowhere else is told of ours.
///
/// # Errors
/// The kernel's (mount_setattr(2)).
pub fn make_all_private() -> io::Result<()> {
    let root = rustix::fs::open(
        "/",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let attributes = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    set(root.as_fd(), true, &attributes)
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn set(mount: BorrowedFd<'_>, recursive: bool, attributes: &MountAttr) -> io::Result<()> {
    set_at(mount, c"", recursive, attributes)
}

fn set_at(
    directory: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    attributes: &MountAttr,
) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a C string, `attributes` outlives the call and its size is passed
    // beside it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const *attributes,
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
