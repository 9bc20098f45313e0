//! How a process ended, and what follows when it was the container's first.

use std::os::fd::BorrowedFd;

use rustix::process::{WaitId, WaitIdOptions, waitid};

/// Reaps the ended process behind `pidfd`. A signal counts as 128 and its number, as in a shell.
pub(crate) fn exit_code(pidfd: BorrowedFd<'_>) -> i32 {
    let status = loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.ok().flatten(),
        }
    };
    let Some(status) = status else { return 255 };
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(255)
}
