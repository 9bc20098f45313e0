//! The descriptor table as a whole.

use std::io;
use std::os::fd::{IntoRawFd as _, OwnedFd};

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// The kernel's (close_range(2)).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on: what a program inherited by accident.
///
/// Call it before the program opens anything: an `OwnedFd` over a closed number would later
/// close another's.
///
/// # Errors
/// The kernel's (close_range(2)).
pub fn close_inherited(first: u32) -> io::Result<()> {
    close_range(first, 0)
}

/// Leaves a descriptor to the exec that is about to close it.
///
/// For a process that will execute another program or exit: nothing else ever closes it.
pub fn leave_to_exec(descriptor: OwnedFd) {
    let _ = descriptor.into_raw_fd();
}

fn close_range(first: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: takes numbers, touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
