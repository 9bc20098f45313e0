//! Harmless system calls that tell a filter's verdict: tests ask them from inside a sandbox.
//!
//! Each is made so that the kernel, if the call reaches it, either only reports something or
//! refuses the arguments with another error than a filter would.

use rustix::io::Errno;

/// A call to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `add_key` with null pointers.
    AddKey,
    /// `clone3` without arguments.
    Clone3,
    /// `file_getattr` (Linux 6.17) with null pointers: newer than the default profile.
    FileGetattr,
    /// `get_mempolicy` that asks for nothing.
    GetMempolicy,
    /// `getpid` by the 32-bit interface.
    Getpid32,
    /// `getpid` by the x32 interface.
    GetpidX32,
    /// `io_uring_setup` without parameters.
    IoUringSetup,
    /// `kcmp` of processes that cannot be.
    Kcmp,
    /// `keyctl` with an operation that does not exist.
    Keyctl,
    /// `landlock_create_ruleset` that asks for the version.
    LandlockVersion,
    /// `mount` on a null path.
    Mount,
    /// A number no kernel has.
    NoSuchCall,
    /// `open_by_handle_at` with a null handle.
    OpenByHandleAt,
    /// `perf_event_open` without attributes.
    PerfEventOpen,
    /// `personality` that switches address randomisation off, for this process.
    PersonalityNoRandomize,
    /// `personality` that only asks.
    PersonalityQuery,
    /// `process_madvise` on no descriptor.
    ProcessMadvise,
    /// `ptrace` with a request that does not exist.
    Ptrace,
    /// `setns` to no descriptor.
    Setns,
    /// `socket` of family `AF_ALG`.
    SocketAlg,
    /// `socket` of family `AF_INET`.
    SocketInet,
    /// `socket` of family `AF_INET`, raw: needs CAP_NET_RAW.
    SocketRaw,
    /// `socket` of family `AF_VSOCK`.
    SocketVsock,
    /// `umount2` of a null path.
    Umount,
    /// `unshare` of nothing.
    UnshareNothing,
    /// `unshare` of the user namespace: changes this process if it succeeds.
    UnshareUser,
}

impl Probe {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AddKey,
        Self::Clone3,
        Self::FileGetattr,
        Self::GetMempolicy,
        Self::Getpid32,
        Self::GetpidX32,
        Self::IoUringSetup,
        Self::Kcmp,
        Self::Keyctl,
        Self::LandlockVersion,
        Self::Mount,
        Self::NoSuchCall,
        Self::OpenByHandleAt,
        Self::PerfEventOpen,
        Self::PersonalityNoRandomize,
        Self::PersonalityQuery,
        Self::ProcessMadvise,
        Self::Ptrace,
        Self::Setns,
        Self::SocketAlg,
        Self::SocketInet,
        Self::SocketRaw,
        Self::SocketVsock,
        Self::Umount,
        Self::UnshareNothing,
        Self::UnshareUser,
    ];

    /// Makes the call. A descriptor it opens stays open until the process ends.
    ///
    /// # Errors
    /// The error number the call came back with.
    pub fn run(self) -> Result<(), Errno> {
        let vsock = libc::AF_VSOCK.into();
        let datagram = libc::SOCK_DGRAM.into();
        let stream = libc::SOCK_STREAM.into();
        match self {
            Self::AddKey => call(libc::SYS_add_key, [0; 5]),
            Self::Clone3 => call(libc::SYS_clone3, [0; 5]),
            Self::FileGetattr => call(468, [-1, 0, 0, 0, 0]),
            Self::GetMempolicy => call(libc::SYS_get_mempolicy, [0; 5]),
            Self::Getpid32 => getpid_32(),
            Self::GetpidX32 => call(0x4000_0000 | libc::SYS_getpid, [0; 5]),
            Self::IoUringSetup => call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
            Self::Kcmp => call(libc::SYS_kcmp, [i64::from(i32::MAX), i64::from(i32::MAX), 0, 0, 0]),
            Self::Keyctl => call(libc::SYS_keyctl, [0xffff, 0, 0, 0, 0]),
            Self::LandlockVersion => call(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0]),
            Self::Mount => call(libc::SYS_mount, [0; 5]),
            Self::NoSuchCall => call(1000, [0; 5]),
            Self::OpenByHandleAt => call(libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0]),
            Self::PerfEventOpen => call(libc::SYS_perf_event_open, [0, 0, -1, -1, 0]),
            Self::PersonalityNoRandomize => call(libc::SYS_personality, [0x4_0000, 0, 0, 0, 0]),
            Self::PersonalityQuery => call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0]),
            Self::ProcessMadvise => call(libc::SYS_process_madvise, [-1, 0, 0, 0, 0]),
            Self::Ptrace => call(libc::SYS_ptrace, [0xffff, i64::from(i32::MAX), 0, 0, 0]),
            Self::Setns => call(libc::SYS_setns, [-1, 0, 0, 0, 0]),
            Self::SocketAlg => call(libc::SYS_socket, [libc::AF_ALG.into(), 5, 0, 0, 0]),
            Self::SocketInet => call(libc::SYS_socket, [libc::AF_INET.into(), datagram, 0, 0, 0]),
            Self::SocketRaw => call(libc::SYS_socket, [libc::AF_INET.into(), 3, 1, 0, 0]),
            Self::SocketVsock => call(libc::SYS_socket, [vsock, stream, 0, 0, 0]),
            Self::Umount => call(libc::SYS_umount2, [0; 5]),
            Self::UnshareNothing => call(libc::SYS_unshare, [0; 5]),
            Self::UnshareUser => call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0]),
        }
    }
}

fn call(number: i64, args: [i64; 5]) -> Result<(), Errno> {
    let [a, b, c, d, e] = args;
    // SAFETY: only the fixed calls above come here. Their pointers are null and their
    // descriptors are none of ours, so the kernel touches no memory and no state but what their
    // documentation says; `clone3` with a size of 0 is refused before anything is cloned.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result == -1 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn getpid_32() -> Result<(), Errno> {
    const GETPID: u32 = 20;
    let result: u32;
    // SAFETY: the 32-bit `getpid` reads no memory; the kernel clears r8 to r11 on this way in,
    // which the clobbers say.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") GETPID => result,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    let error = result.cast_signed();
    if (-4095..0).contains(&error) { Err(Errno::from_raw_os_error(-error)) } else { Ok(()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn getpid_32() -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
