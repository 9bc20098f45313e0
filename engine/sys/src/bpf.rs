//! Programs that decide, for a version 2 cgroup, which device nodes may be used.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Loads a device program. Each word is one instruction (`struct bpf_insn`) in this machine's
/// byte order; the program sees a `struct bpf_cgroup_dev_ctx` and returns 1 to allow.
///
/// # Errors
/// The kernel's (bpf(2)); `EINVAL` or `EACCES` when it does not accept the program.
pub fn load_device_program(program: &[u64]) -> io::Result<OwnedFd> {
    const PROG_LOAD: libc::c_int = 5;
    const PROG_TYPE_CGROUP_DEVICE: u32 = 15;

    let length = u32::try_from(program.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "device program too long"))?;
    let attributes = Load {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: length,
        instructions: program.as_ptr().addr() as u64,
        license: c"Apache".as_ptr().addr() as u64,
        ..Load::default()
    };
    // SAFETY: `attributes` and what it points to outlive the call, and its size is passed
    // beside it. The kernel copies and verifies the program.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, std::mem::size_of::<Load>())
    };
    let descriptor = RawFd::try_from(result).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches a device program to the cgroup whose directory is `cgroup`, beside those of its
/// ancestors: all must allow. It stays until the cgroup is removed.
///
/// # Errors
/// The kernel's (bpf(2)).
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const PROG_ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;

    let attributes = Attach {
        target: cgroup.as_raw_fd().unsigned_abs(),
        program: program.as_raw_fd().unsigned_abs(),
        attach_type: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: `attributes` outlives the call and its size is passed beside it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attributes,
            std::mem::size_of::<Attach>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The members of `union bpf_attr` for BPF_PROG_LOAD, as far as they are used.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}
