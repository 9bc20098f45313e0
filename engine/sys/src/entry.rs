//! A program's entry point without the standard library's preparations.
//!
//! Those are for programs that people start: they look whether the standard streams are open and
//! set up a handler that names a stack overflow, for which `/proc/self/maps` is read; 18 system
//! calls. A program that the engine starts once for every container can do without.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Makes a `fn() -> u8`, whose result is the exit code, the entry point of the program, which
/// says `#![no_main]`.
///
/// Its caller has opened the standard streams. What is in the buffer of `std::io::stdout` at the
/// end is lost.
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

/// What [`entry_point!`] expands to: SIGPIPE is ignored as in every Rust program, and a panic is
/// not let through to C.
#[doc(hidden)]
pub fn enter(run: fn() -> u8) -> i32 {
    const PANICKED: i32 = 101;
    // Without it, a broken pipe would be the end instead of an error.
    if crate::signal::ignore(&[libc::SIGPIPE]).is_err() {
        return PANICKED;
    }
    catch_unwind(AssertUnwindSafe(run)).map_or(PANICKED, i32::from)
}
