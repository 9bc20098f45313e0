//! What the loop waits for, gathered afresh for every round.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Descriptors to wait for, each with a token of the caller's.
pub(crate) struct Interest<'a, T> {
    descriptors: Vec<PollFd<'a>>,
    tokens: Vec<T>,
    deadline: Option<Instant>,
}

impl<'a, T: Copy> Interest<'a, T> {
    pub(crate) fn new() -> Self {
        Self { descriptors: Vec::new(), tokens: Vec::new(), deadline: None }
    }

    /// Waits for `flags` too; for `HUP` and `ERR` in any case.
    pub(crate) fn add(&mut self, descriptor: BorrowedFd<'a>, flags: PollFlags, token: T) {
        self.descriptors.push(PollFd::from_borrowed_fd(descriptor, flags));
        self.tokens.push(token);
    }

    /// Waits no longer than this.
    pub(crate) fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = self.deadline.into_iter().chain(deadline).min();
    }

    /// Waits; empty when the time is up.
    pub(crate) fn wait(mut self) -> io::Result<Vec<(T, PollFlags)>> {
        let left = self.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(left + Duration::from_millis(1)).expect("deadlines are near")
        });
        match poll(&mut self.descriptors, left.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let happened = self.descriptors.iter().zip(self.tokens);
        let happened = happened.map(|(descriptor, token)| (token, descriptor.revents()));
        Ok(happened.filter(|(_, flags)| !flags.is_empty()).collect())
    }
}

/// Whether a read of this descriptor would not block.
pub(crate) fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut descriptors, Some(&now)), Ok(1..))
}
