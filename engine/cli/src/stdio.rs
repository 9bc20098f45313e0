//! This program's own standard streams, without threads and without changing them for others.
//!
//! They stay blocking, because that is a property of the open file, which other programs share.
//! So each is read or written only when it is known not to wait.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use std::io;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a pipe takes without waiting once it says it is writable (`PIPE_BUF`).
const PIECE: usize = 4096;

/// Whether `descriptor` is ready for `what` now. A stream that is broken counts as ready: the
/// call that follows says what is wrong.
fn is_ready(descriptor: BorrowedFd<'_>, what: PollFlags) -> io::Result<bool> {
    let mut descriptors = [PollFd::new(&descriptor, what)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::io::retry_on_intr(|| poll(&mut descriptors, Some(&now)))? > 0)
}

/// Events of a descriptor.
///
/// # Errors
/// What has no events, such as a regular file.
#[expect(deprecated, reason = "its successor is unsafe; what is passed here owns its descriptor")]
pub(crate) fn events<T: AsRawFd>(of: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(of, interest)
}

/// Standard input.
#[derive(Debug)]
pub(crate) struct Input {
    /// `None` for what is always ready, such as a regular file.
    events: Option<AsyncFd<BorrowedFd<'static>>>,
}

impl Input {
    /// Standard input; needs a running runtime.
    pub(crate) fn open() -> Self {
        let events = events(rustix::stdio::stdin(), Interest::READABLE).ok();
        Self { events }
    }

    /// Reads what is there; 0 at the end.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = rustix::stdio::stdin();
        if let Some(events) = &self.events {
            while !is_ready(stdin, PollFlags::IN)? {
                let mut guard = events.readable().await?;
                // What an earlier event told may not be true any more.
                if !is_ready(stdin, PollFlags::IN)? {
                    guard.clear_ready();
                }
            }
        }
        Ok(rustix::io::retry_on_intr(|| rustix::io::read(stdin, &mut *buffer))?)
    }
}

/// Standard output or error.
#[derive(Debug)]
pub(crate) struct Output {
    descriptor: BorrowedFd<'static>,
    /// Made when it first has to wait.
    events: Option<AsyncFd<BorrowedFd<'static>>>,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        Self { descriptor: rustix::stdio::stdout(), events: None }
    }

    /// Standard error.
    pub(crate) fn stderr() -> Self {
        Self { descriptor: rustix::stdio::stderr(), events: None }
    }

    /// Writes all of `bytes`, in pieces that do not wait: a reader who is slow keeps neither
    /// signals nor input from being served.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.room().await?;
            let piece = &bytes[..bytes.len().min(PIECE)];
            match rustix::io::write(self.descriptor, piece) {
                Ok(written) => bytes = &bytes[written..],
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn room(&mut self) -> io::Result<()> {
        while !is_ready(self.descriptor, PollFlags::OUT)? {
            let events = match self.events.take() {
                Some(events) => events,
                None => events(self.descriptor, Interest::WRITABLE)?,
            };
            let mut guard = events.writable().await?;
            if !is_ready(self.descriptor, PollFlags::OUT)? {
                guard.clear_ready();
            }
            drop(guard);
            self.events = Some(events);
        }
        Ok(())
    }
}
