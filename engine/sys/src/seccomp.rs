//! Loading a system call filter.

use std::io;

/// Puts this thread, and all it will start, under `program` for good. Each word is one
/// instruction of classic BPF (`struct sock_filter`) in this machine's byte order.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN` in the thread's user namespace.
///
/// # Errors
/// `InvalidInput` for a program of more than 65535 instructions; otherwise the kernel's
/// (seccomp(2)).
pub fn load(program: &[u64]) -> io::Result<()> {
    let length = u16::try_from(program.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "seccomp program too long"))?;
    let header = Header { length, instructions: program.as_ptr() };
    // SAFETY: `header` and the instructions it points to outlive the call, eight bytes each as
    // the kernel expects; it copies and checks them.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const header)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Header {
    length: u16,
    instructions: *const u64,
}
