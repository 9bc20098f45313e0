//! Starting a program of ours without copying this process.
//!
//! The standard library's way costs two system calls for each signal there is (posix_spawn asks
//! for its action and sets it), or a copy of the page tables (fork). Here the child borrows our
//! memory until it executes, as vfork(2) does, and has a stack of its own.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::clone::exit_now;
use crate::descriptor::leave_to_exec;
use crate::exec::{Strings, execute};
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
    arguments: Strings,
    environment: Strings,
    stdin: BorrowedFd<'a>,
    /// Why it did not come to execute the program.
    error: Option<io::Error>,
}

/// Starts `program` with `name` as its only argument, an empty environment, `stdin` as standard
/// input, /dev/null as its other streams and no signal blocked. Signals that this process ignores
/// stay ignored in it. The standard streams of this process must be open.
///
/// # Errors
/// The kernel's, from making the process to executing the program; no process is left then.
pub fn spawn(program: &CStr, name: &CStr, stdin: BorrowedFd<'_>) -> io::Result<Program> {
    let mut errand = Errand {
        program,
        arguments: Strings::new(vec![name.to_owned()]),
        environment: Strings::new(Vec::new()),
        stdin,
        error: None,
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
    match errand.error {
        None => Ok(program),
        Some(error) => {
            program.wait()?;
            Err(error)
        }
    }
}

/// Runs in the child, on its own stack and our memory: system calls and nothing else. An
/// `io::Error` of the kernel's is a number.
extern "C" fn child(errand: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the pointer that `spawn` passed; `spawn` waits until we are done with it.
    let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
    let error = match connect(errand.stdin) {
        Ok(()) => execute(errand.program, &errand.arguments, &errand.environment),
        Err(error) => error,
    };
    errand.error = Some(error);
    exit_now(127)
}

fn connect(stdin: BorrowedFd<'_>) -> io::Result<()> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(stdin)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    leave_to_exec(null);
    crate::signal::unblock_all()
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
