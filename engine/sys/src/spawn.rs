//! Starting a program of ours without copying this process.
//!
//! The standard library's way costs two system calls for each signal there is (posix_spawn asks
//! for its action and sets it), or a copy of the page tables (fork). Here the child borrows our
//! memory until it executes, as vfork(2) does, and has a stack of its own.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::signal::Blocked;

/// Enough for the few calls the child makes, each of which needs less than a page.
const STACK: usize = 16 * 1024;

/// A program that was started. Its parent is this process, which should [wait](Self::wait) for it
/// in the end; nothing happens to it when this is dropped.
#[derive(Debug)]
pub struct Program {
    pid: Pid,
}

/// What the child needs, in memory that it shares with us.
struct Errand<'a> {
    program: &'a CStr,
    arguments: [*const libc::c_char; 2],
    environment: [*const libc::c_char; 1],
    stdin: RawFd,
    /// Why it did not come to execute the program; 0 if it did.
    error: i32,
}

/// Starts `program` with `name` as its only argument, an empty environment, `stdin` as standard
/// input, /dev/null as its other streams and no signal blocked. Signals that this process ignores
/// stay ignored in it.
///
/// # Errors
/// The kernel's, from making the process to executing the program; no process is left then.
pub fn spawn(program: &CStr, name: &CStr, stdin: BorrowedFd<'_>) -> io::Result<Program> {
    let mut errand = Errand {
        program,
        arguments: [name.as_ptr(), std::ptr::null()],
        environment: [std::ptr::null()],
        stdin: stdin.as_raw_fd(),
        error: 0,
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    // A handler of ours must not run in the child: it would change memory that is ours.
    let blocked = Blocked::all()?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack grows down from its end, which is aligned to 16 bytes, and is used by
    // nobody else. CLONE_VFORK holds this thread until the child has executed or exited, so that
    // stack and errand outlive the child's use of them and nobody else touches them meanwhile. The
    // child takes no lock and allocates nothing (see `child`).
    let pid = unsafe {
        libc::clone(
            child,
            stack.as_mut_ptr_range().end.cast(),
            flags,
            (&raw mut errand).cast::<libc::c_void>(),
        )
    };
    let error = io::Error::last_os_error();
    blocked.release()?;
    let Some(pid) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else { return Err(error) };
    let program = Program { pid };
    if errand.error == 0 {
        return Ok(program);
    }
    program.wait()?;
    Err(io::Error::from_raw_os_error(errand.error))
}

/// Runs in the child, on its own stack and our memory: system calls only.
extern "C" fn child(errand: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the pointer that `spawn` passed; `spawn` waits until we are done with it.
    let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
    // SAFETY: calls that take numbers and null-terminated strings, which outlive them. They may
    // set `errno`, which the waiting thread does not look at before its own next call.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        let connected = null >= 0
            && move_to(errand.stdin, 0)
            && move_to(null, 1)
            && move_to(null, 2)
            && crate::signal::unblock_all().is_ok();
        if connected {
            libc::execve(
                errand.program.as_ptr(),
                errand.arguments.as_ptr(),
                errand.environment.as_ptr(),
            );
        }
        errand.error = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// Makes `to` a copy of `from` that stays open on exec.
///
/// # Safety
/// `to` must not be a descriptor that anything in this process still uses.
unsafe fn move_to(from: RawFd, to: RawFd) -> bool {
    // SAFETY: numbers only. A descriptor copied onto itself would keep its close-on-exec flag.
    unsafe {
        if from == to {
            libc::fcntl(from, libc::F_SETFD, 0) >= 0
        } else {
            libc::dup2(from, to) >= 0
        }
    }
}

impl Program {
    /// Its process id. Not given to another before it was waited for.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its process id, as a number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills it.
    ///
    /// # Errors
    /// `NotFound`-like (`ESRCH`) once it was waited for.
    pub fn kill(&self) -> io::Result<()> {
        Ok(rustix::process::kill_process(self.pid, Signal::KILL)?)
    }

    /// Waits for its end and releases its process id.
    ///
    /// # Errors
    /// `ECHILD` when somebody else has waited for it.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other.map(|_| ())?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_program_gets_its_stdin_and_nothing_else() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let program = spawn(c"/bin/sh", c"sh", theirs.as_fd()).unwrap();
        drop(theirs);
        let script = "exec 3>&0; (ls -l /proc/$$/fd/1 /proc/$$/fd/2) >&3; env >&3; \
                      grep SigBlk /proc/self/status >&3; kill -9 $$\n";
        ours.write_all(script.as_bytes()).unwrap();
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert_eq!(said.matches("-> /dev/null").count(), 2, "{said}");
        assert!(said.contains("SigBlk:\t0000000000000000"), "{said}");
        assert!(!said.contains("PATH=/"), "{said}");
        program.wait().unwrap();
        assert!(program.wait().is_err(), "its id is released");
    }

    #[test]
    fn what_cannot_be_executed_is_told_and_leaves_no_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = spawn(c"/nowhere/at/all", c"x", ours.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = spawn(c"/dev/null", c"x", ours.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
