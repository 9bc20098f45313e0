//! Replacing the program of this process.

use std::ffi::{CStr, CString};
use std::io;
use std::ptr;

/// Program arguments or environment, as `execve` takes them.
#[derive(Debug)]
pub struct Strings {
    pointers: Vec<*const libc::c_char>,
    // The pointers point in here: a `CString`'s bytes do not move with it.
    _strings: Vec<CString>,
}

impl Strings {
    /// Prepares the strings, in order.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let ends = std::iter::once(ptr::null());
        let pointers = strings.iter().map(|string| string.as_ptr()).chain(ends).collect();
        Self { pointers, _strings: strings }
    }
}

/// Executes the file at `path`; returns only what went wrong.
pub fn execute(path: &CStr, arguments: &Strings, environment: &Strings) -> io::Error {
    // SAFETY: all three are null-terminated, and `Strings` keeps what its pointers point to.
    unsafe {
        libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr())
    };
    io::Error::last_os_error()
}
