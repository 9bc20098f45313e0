//! Making the stdio of a process.

use std::io;
use std::os::fd::OwnedFd;

use hull_sandbox::Stdio;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::streams::Ends;

/// Which of its three the process gets a pipe for; the others are its own `/dev/null`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// The process's ends, and ours.
///
/// # Errors
/// Of making pipes.
pub(crate) fn make(wanted: Wanted) -> io::Result<(Stdio, Ends)> {
    let (stdin, to_stdin) = if wanted.stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: the process expects a read of its stdin to wait.
        rustix::fs::fcntl_setfl(&write, OFlags::WRONLY | OFlags::NONBLOCK)?;
        (Some(read), Some(write))
    } else {
        (None, None)
    };
    let (stdout, from_stdout) = output(wanted.stdout)?;
    let (stderr, from_stderr) = output(wanted.stderr)?;
    let ends = Ends { stdin: to_stdin, stdout: from_stdout, stderr: from_stderr };
    Ok((Stdio { stdin, stdout, stderr }, ends))
}

fn output(wanted: bool) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if !wanted {
        return Ok((None, None));
    }
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Some(write), Some(read)))
}
