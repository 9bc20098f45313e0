//! The pseudo terminal of a process: made in the container's own devpts, reached only through
//! descriptors, never through a path the container could have changed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::Winsize;

use crate::error::{StartError, Step};
use crate::filesystems::empty_file;

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Both ends.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Makes a terminal of `size` (columns, rows) from `pts/ptmx` in `dev`.
pub(crate) fn open(dev: BorrowedFd<'_>, size: Option<(u16, u16)>) -> Result<Terminal, StartError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = openat(dev, "pts/ptmx", flags, Mode::empty())
        .step("open /dev/pts/ptmx in the container")?;
    let filesystem =
        rustix::fs::fstatfs(&master).step("check /dev/pts/ptmx in the container")?.f_type;
    if filesystem != DEVPTS_MAGIC {
        return Err(StartError::invalid("/dev/pts in the container is not a devpts file system"));
    }
    unlockpt(&master).step("unlock the terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).step("open the terminal")?;
    if let Some((columns, rows)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).step("size the terminal")?;
    }
    Ok(Terminal { master, slave })
}

/// Binds the terminal to `/dev/console`. The current directory must be the container's `/dev`.
pub(crate) fn bind_console(slave: BorrowedFd<'_>) -> Result<(), StartError> {
    empty_file("console")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(slave, "", flags).step("clone the terminal's mount")?;
    move_mount(tree.as_fd(), "", CWD, "console", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step("bind the terminal to /dev/console")
}
