//! A program's entry point without the standard library's preparations.
//!
//! They are 18 system calls, most of them to set up a handler that tells a stack overflow from
//! another invalid access, for which `/proc/self/maps` is read. Programs that run once for every
//! container do without.

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

/// Makes a `fn() -> u8`, whose result is the exit code, the entry point of the program, which
/// says `#![no_main]`.
///
#[macro_export]
macro_rules! entry_point {
    ($run:path) => {
        // SAFETY: the C library calls `main` once, with these arguments, which are not used; no
        // other function of a program without the standard library's `main` has the name.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _count: ::std::ffi::c_int,
            _words: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            $crate::entry::enter($run)
        }
    };
}

/// What [`entry_point!`] expands to. As in every Rust program a broken pipe is an error and not
/// the end, standard output is flushed, and a panic is the exit code 101.
#[doc(hidden)]
pub fn enter(run: fn() -> u8) -> i32 {
    const PANICKED: i32 = 101;
    if crate::signal::ignore(&[libc::SIGPIPE]).is_err() {
        return PANICKED;
    }
    let code = catch_unwind(AssertUnwindSafe(run)).map_or(PANICKED, i32::from);
    // Who wrote there and cared has flushed it.
    let _ = io::stdout().flush();
    code
}

/// Opens /dev/null as each standard stream that is closed: a file that took its number would be
/// written to by whoever prints. For programs started by somebody else, before they open anything.
///
/// # Errors
/// When the kernel does not tell which are closed, or /dev/null cannot be opened.
pub fn open_standard_streams() -> io::Result<()> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut asked = streams.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::empty()));
    rustix::io::retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))?;
    for _ in asked.iter().filter(|stream| stream.revents().contains(PollFlags::NVAL)) {
        // The kernel gives out the lowest number that is free.
        crate::descriptor::leave_to_exec(rustix::fs::open(
            "/dev/null",
            OFlags::RDWR,
            Mode::empty(),
        )?);
    }
    Ok(())
}
