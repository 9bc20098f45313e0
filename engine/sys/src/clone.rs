//! New processes: `clone3`, and proof that it is safe to go on running Rust in the child.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// Proof that this process has one thread, so that no other held a lock (of the allocator,
/// say) at the moment memory was copied.
///
/// The proof goes stale when the process starts a thread: ask for it where it is used.
#[derive(Debug, Clone, Copy)]
pub struct SingleThreaded {
    ignored_signals: u32,
}

impl SingleThreaded {
    /// Asks the kernel how many threads this process has.
    ///
    /// # Errors
    /// `ResourceBusy` when there is more than one; otherwise what reading /proc gave.
    pub fn prove() -> io::Result<Self> {
        let mut buffer = [0; 1024];
        let length = File::open("/proc/self/stat")?.read(&mut buffer)?;
        let stat = String::from_utf8_lossy(&buffer[..length]);
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "odd /proc/self/stat");
        match field(&stat, NUM_THREADS).ok_or_else(invalid)? {
            1 => Ok(Self { ignored_signals: field(&stat, SIGIGNORE).ok_or_else(invalid)? }),
            more => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("a process of {more} threads cannot clone itself"),
            )),
        }
    }

    /// The signals from 1 to 31 that this process ignored when asked, as found on the way.
    pub fn ignored_signals(self) -> impl Iterator<Item = i32> {
        (1..=31).filter(move |signal| self.ignored_signals & (1 << (signal - 1)) != 0)
    }
}

const NUM_THREADS: usize = 20;
const SIGIGNORE: usize = 33;

/// A field of proc_pid_stat(5) by its number there, counted behind the command's closing
/// bracket because the command may hold blanks.
fn field(stat: &str, number: usize) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// Namespaces that [`clone_process`] makes, as the kernel's `CLONE_NEW*` bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// None: the child shares all of its parent's.
    pub const NONE: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(0x0002_0000);
    /// Host and domain name.
    pub const UTS: Self = Self(0x0400_0000);
    /// System V IPC and message queues.
    pub const IPC: Self = Self(0x0800_0000);
    /// Ids and capabilities.
    pub const USER: Self = Self(0x1000_0000);
    /// Processes.
    pub const PID: Self = Self(0x2000_0000);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A process just made.
#[derive(Debug)]
pub struct Child {
    /// Its id in this process's pid namespace.
    pub pid: Pid,
    /// Refers to it for as long as it is open, whatever happens to the number.
    pub pidfd: OwnedFd,
}

/// Who is running after [`clone_process`].
#[derive(Debug)]
pub enum Cloned {
    /// The caller.
    Parent(Child),
    /// The copy.
    Child,
}

/// Copies this process into new `namespaces` and, where given, into the cgroup (v2) whose
/// directory `cgroup` is. Signal handlers are reset in the child; ignored signals stay ignored.
///
/// # Errors
/// The kernel's (clone(2), "ERRORS").
pub fn clone_process(
    _proof: &SingleThreaded,
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    const CLONE_PIDFD: u64 = 0x1000;
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

    let mut pidfd: RawFd = -1;
    let mut arguments = Clone3 {
        flags: namespaces.0 | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        ..Clone3::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
    }
    // SAFETY: `arguments` outlives the call and its size is passed beside it. The child gets a
    // copy of our memory (no CLONE_VM), and `SingleThreaded` proves that no other thread held a
    // lock. `pidfd` is written in the parent only, before the call returns.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, std::mem::size_of::<Clone3>())
    };
    match result {
        0 => Ok(Cloned::Child),
        -1 => Err(io::Error::last_os_error()),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| io::Error::other("clone3 returned no process id"))?;
            // SAFETY: CLONE_PIDFD made this descriptor for us alone.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent(Child { pid, pidfd }))
        }
    }
}

/// Copies this process as fork(2) does; `None` is the copy. For where a filter forbids `clone3`.
///
/// # Errors
/// The kernel's (fork(2)).
pub fn fork_process(_proof: &SingleThreaded) -> io::Result<Option<Pid>> {
    // SAFETY: `SingleThreaded` proves that no other thread held a lock that the copy would wait
    // for.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// `struct clone_args` of linux/sched.h, up to `cgroup` (CLONE_ARGS_SIZE_VER2).
#[repr(C)]
#[derive(Default)]
struct Clone3 {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Moves this process into a new network namespace.
///
/// # Errors
/// The kernel's (unshare(2)).
pub fn unshare_network() -> io::Result<()> {
    unshare(libc::CLONE_NEWNET)
}

/// Moves this process into a new cgroup namespace whose roots are its present cgroups.
///
/// # Errors
/// The kernel's (unshare(2)).
pub fn unshare_cgroup() -> io::Result<()> {
    unshare(libc::CLONE_NEWCGROUP)
}

fn unshare(namespace: libc::c_int) -> io::Result<()> {
    // SAFETY: takes a number, touches no memory; neither namespace is tied to the address space
    // or the descriptor table.
    match unsafe { libc::unshare(namespace) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process at once: no destructors, no exit handlers.
///
/// For a child of [`clone_process`], which must not run what its parent registered.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_behind_the_command() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 100 0 0 0 0 0 0 0 0 0 0 4096 5 0";
        assert_eq!(field(stat, NUM_THREADS), Some(3));
        assert_eq!(field(stat, SIGIGNORE), Some(4096));
        assert_eq!(field("7 (a", NUM_THREADS), None);
        let proof = SingleThreaded { ignored_signals: 4096 };
        assert_eq!(proof.ignored_signals().collect::<Vec<_>>(), [libc::SIGPIPE]);
    }
}
