//! Ends a program, and all it started, before its k-th change of the disk.
//!
//! The program is traced by ptrace: it starts stopped (a shell stops itself before it turns into
//! the program), is seized, and every system call of every thread and child is looked at before
//! it runs. Changes are what leaves something in a folder: writes to files below it, and calls
//! that create, remove, rename, link, truncate, sync or mount.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How a traced run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code, after that many changes.
    Exited {
        /// Exit code of the first process.
        code: i32,
        /// Changes it made.
        changes: usize,
    },
    /// Killed before this change.
    Killed {
        /// Name of the call that was about to run.
        call: &'static str,
    },
}

/// Runs `command` and kills it with everything it started right before change number `limit`
/// (from 0) of something below `folder`.
///
/// Only the calling thread's children are waited for, so tests may run side by side.
pub fn kill_before_change(command: &Command, folder: &Path, limit: usize) -> End {
    let child = start_stopped(command);
    let first = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits"));
    let end =
        Trace { first, folder: folder.to_owned(), limit, changes: 0, inside: HashMap::new() }.run();
    // ptrace has already reaped it: dropping does nothing but close its pipes.
    drop(child);
    end
}

fn start_stopped(command: &Command) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().expect("/bin/sh starts")
}

struct Trace {
    first: Pid,
    folder: PathBuf,
    limit: usize,
    changes: usize,
    /// Whether a thread is inside a call: its next stop is the end of it.
    inside: HashMap<Pid, bool>,
}

impl Trace {
    fn run(mut self) -> End {
        let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let stopped = waitpid(self.first, Some(flags)).expect("the shell can be waited for");
        assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(self.first, options).expect("a child can be seized");
        nix::sys::signal::kill(self.first, Signal::SIGCONT).expect("a child can be signalled");
        let flags = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
        let mut code = -1;
        loop {
            match waitpid(None, flags) {
                Ok(WaitStatus::Exited(pid, status)) => {
                    if pid == self.first {
                        code = status;
                    }
                }
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    if let Some(call) = self.entering(pid) {
                        self.changes += 1;
                        if self.changes > self.limit {
                            self.kill_all(pid);
                            return End::Killed { call };
                        }
                    }
                    resume(pid, None);
                }
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    self.inside.entry(pid).or_insert(false);
                    // The report of an exec comes before the end of its call.
                    if event == nix::libc::PTRACE_EVENT_EXEC {
                        self.inside.insert(pid, true);
                    }
                    resume(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => resume(pid, Some(signal)),
                Ok(_) => {}
                Err(nix::errno::Errno::ECHILD) => break,
                Err(error) => panic!("waiting for traced processes: {error}"),
            }
        }
        End::Exited { code, changes: self.changes }
    }

    /// The name of the change a thread is about to make, if it is one.
    fn entering(&mut self, pid: Pid) -> Option<&'static str> {
        let inside = self.inside.entry(pid).or_insert(false);
        *inside = !*inside;
        if !*inside {
            return None;
        }
        let registers = ptrace::getregs(pid).ok()?;
        let descriptor = |argument: u64| {
            let link = format!("/proc/{pid}/fd/{argument}");
            std::fs::read_link(link).is_ok_and(|target| target.starts_with(&self.folder))
        };
        let creates = |flags: u64| flags & 0o100 != 0 || flags & 0o20_000_000 != 0;
        // x86-64 numbers.
        match registers.orig_rax {
            1 => descriptor(registers.rdi).then_some("write"),
            18 => descriptor(registers.rdi).then_some("pwrite64"),
            20 => descriptor(registers.rdi).then_some("writev"),
            40 => descriptor(registers.rdi).then_some("sendfile"),
            74 => descriptor(registers.rdi).then_some("fsync"),
            75 => descriptor(registers.rdi).then_some("fdatasync"),
            77 => descriptor(registers.rdi).then_some("ftruncate"),
            2 => creates(registers.rsi).then_some("open"),
            257 => creates(registers.rdx).then_some("openat"),
            82 => Some("rename"),
            83 => Some("mkdir"),
            84 => Some("rmdir"),
            86 => Some("link"),
            87 => Some("unlink"),
            88 => Some("symlink"),
            165 => Some("mount"),
            258 => Some("mkdirat"),
            259 => Some("mknodat"),
            263 => Some("unlinkat"),
            264 => Some("renameat"),
            265 => Some("linkat"),
            266 => Some("symlinkat"),
            275 => descriptor(registers.rdx).then_some("splice"),
            285 => descriptor(registers.rdi).then_some("fallocate"),
            296 => descriptor(registers.rdi).then_some("pwritev"),
            306 => Some("syncfs"),
            316 => Some("renameat2"),
            326 => descriptor(registers.rdx).then_some("copy_file_range"),
            _ => None,
        }
    }

    /// Kills every thread that is known and waits until all are gone.
    fn kill_all(&self, stopped: Pid) {
        let mut all: Vec<Pid> = self.inside.keys().copied().collect();
        all.extend([self.first, stopped]);
        for pid in all {
            // One that ended meanwhile needs no killing.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
        let flags = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
        loop {
            match waitpid(None, flags) {
                // One that was being started while we killed shows itself only now.
                Ok(
                    WaitStatus::Stopped(pid, _)
                    | WaitStatus::PtraceEvent(pid, ..)
                    | WaitStatus::PtraceSyscall(pid),
                ) => {
                    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

/// Lets a thread go on to its next call. It may have been killed meanwhile, which its next
/// report tells.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}
