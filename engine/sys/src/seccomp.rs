//! Loading a system call filter.

use std::io;

/// One instruction of classic BPF (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// Puts this thread, and all it will start, under `program` for good.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN` in the thread's user namespace.
///
/// # Errors
/// `InvalidInput` for a program the kernel cannot take (empty, over 4096 instructions, bad jump);
/// otherwise the kernel's (seccomp(2)).
pub fn load(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "seccomp program too long"))?;
    let header = Header { length, instructions: program.as_ptr() };
    // SAFETY: `header` and the instructions it points to outlive the call; the kernel copies
    // and checks them.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const header)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Header {
    length: u16,
    instructions: *const Instruction,
}
