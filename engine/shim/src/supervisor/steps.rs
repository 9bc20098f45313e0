//! Steps of a build: sandboxes one after another, for as long as who asks for them is there.
//!
//! ```text
//! receive ─ sandbox ─ answer: started ─ wait ─ kill the rest ─ overlay closed ─ answer: exited
//!    └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Unlike a container, a step has no name, no log and no record: who asked holds the other ends of
//! its streams, and when he is gone (killed, or not interested any more) so is the step.

use std::os::fd::{AsFd, BorrowedFd};

use hull_sandbox::{Running, Stdio};
use hull_shim::protocol::{Exit, Failure, Reply};
use rustix::event::{PollFd, PollFlags, poll};

use crate::exit::exit_code;
use crate::start::{Start, internal, number};
use crate::waiters::reply;

/// Runs steps until nobody asks for one.
pub(crate) fn serve(socket: BorrowedFd<'_>, first: Start) {
    let mut next = Some(first);
    while let Some(start) = next {
        match run(socket, start) {
            Ok(exit) => reply(socket, &Reply::Exited(exit)),
            Err(failure) => reply(socket, &Reply::Failed(failure)),
        }
        // Also what cannot be understood ends it: nothing sensible can follow.
        next = Start::receive(socket).ok();
    }
}

fn run(socket: BorrowedFd<'_>, start: Start) -> Result<Exit, Failure> {
    let (request, inputs, streams) = start.into_parts();
    let mut streams = streams.into_iter();
    let stdio = Stdio { stdin: None, stdout: streams.next(), stderr: streams.next() };
    let running = hull_sandbox::start(&request.spec, inputs, stdio)?;
    reply(socket, &Reply::Started { pid: number(running.pid) });
    let waited = wait(socket, &running);
    if waited.is_err() {
        // It may have ended already.
        let _ended = running.cgroup.kill();
    }
    let code = exit_code(running.pidfd.as_fd());
    let oom_killed = code == 137 && running.cgroup.oom_kills() > 0;
    // Its first process took the pid namespace with it, and what has left that dies here.
    if running.cgroup.remove().is_err() {
        let removed = running.cgroup.kill().and_then(|()| running.cgroup.remove());
        removed.map_err(|error| {
            internal("cannot remove the cgroup of a build step", &std::io::Error::other(error))
        })?;
    }
    // Whoever reads what was written must find the overlay unmounted.
    drop(running);
    Ok(Exit { code, oom_killed, ..Exit::default() })
}

/// Waits for the end of the process; an error if it is to be ended.
fn wait(socket: BorrowedFd<'_>, running: &Running) -> rustix::io::Result<()> {
    loop {
        let mut events = [
            PollFd::new(&running.pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(socket, PollFlags::IN | PollFlags::RDHUP),
        ];
        match poll(&mut events, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        if !events[0].revents().is_empty() {
            return Ok(());
        }
        // Nothing is to come while a step runs: it is the end of whoever asked for it.
        if !events[1].revents().is_empty() {
            return Err(rustix::io::Errno::CANCELED);
        }
    }
}
