//! The session keyring.

use std::io;

/// Gives this process a new, empty session keyring instead of the one it inherited.
///
/// # Errors
/// `Unsupported` on a kernel without key rings; otherwise the kernel's (keyctl(2)).
pub fn new_session() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: without a name no memory is read.
    let result = unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
