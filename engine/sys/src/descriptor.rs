//! The descriptor table as a whole.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// The kernel's (close_range(2)).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on: what a program inherited by accident.
///
/// Call it before the program opens anything: an `OwnedFd` over a closed number would later
/// close another's.
///
/// # Errors
/// The kernel's (close_range(2)).
pub fn close_inherited(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, 0)
}

/// A descriptor that the program was started with, by its number, as one of our own. The number
/// itself stays open until the process ends, and is not passed on to programs.
///
/// # Errors
/// The kernel's (fcntl(2)): nothing is open under that number.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers, touches no memory.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, so nobody else has it.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    // SAFETY: takes numbers, touches no memory.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(copy)
}

/// Leaves a descriptor to the exec that is about to close it.
///
/// For a process that will execute another program or exit: nothing else ever closes it.
pub fn leave_to_exec(descriptor: OwnedFd) {
    let _ = descriptor.into_raw_fd();
}

/// Closes descriptors that are not needed any more, neighbours with one call.
pub fn close_all(descriptors: impl IntoIterator<Item = OwnedFd>) {
    let mut numbers: Vec<RawFd> =
        descriptors.into_iter().map(|descriptor| descriptor.into_raw_fd()).collect();
    numbers.sort_unstable();
    for run in numbers.chunk_by(|one, next| one + 1 == *next) {
        let (first, last) = (run[0].unsigned_abs(), run[run.len() - 1].unsigned_abs());
        // As when an `OwnedFd` is dropped, there is nobody to tell.
        let _ = close_range(first, last, 0);
    }
}

/// Closes every descriptor but this one.
///
/// For a child of [`crate::clone::clone_process`] that does one thing with it and exits: all that
/// its parent had open is still in the child's memory, and must not be used nor dropped.
///
/// # Errors
/// The kernel's (close_range(2)).
pub fn close_all_but(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().unsigned_abs();
    if kept > 0 {
        close_range(0, kept - 1, 0)?;
    }
    close_range(kept + 1, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: takes numbers, touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_inherited_one_is_ours_and_a_missing_one_is_an_error() {
        use std::os::fd::AsRawFd as _;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let copy = inherited(theirs.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), theirs.as_raw_fd());
        drop(theirs);
        drop(copy);
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        assert_eq!(inherited(1 << 20).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn neighbours_and_strangers_are_closed_and_nothing_else() {
        let mut kept = Vec::new();
        let mut closed: Vec<OwnedFd> = Vec::new();
        for number in 0..6 {
            let (ours, theirs) = UnixStream::pair().unwrap();
            kept.push(ours);
            // Both ends of some pairs, so that runs of more than one appear.
            if number % 2 == 0 {
                closed.push(kept.pop().unwrap().into());
            }
            closed.push(theirs.into());
        }
        closed.reverse();
        close_all(closed);
        for mut stream in kept {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
        close_all([]);
    }
}
