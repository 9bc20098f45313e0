//! The stdin of a process, shared by all clients that type.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// A process's stdin: the writing end of a pipe, or a terminal. It never blocks.
#[derive(Debug)]
pub(crate) struct Input {
    descriptor: OwnedFd,
    terminal: bool,
    /// What the process has not taken yet. No client is read while there is any.
    pending: Vec<u8>,
    written: usize,
    closing: bool,
}

impl Input {
    /// A stdin over a non-blocking descriptor.
    pub(crate) fn new(descriptor: OwnedFd, terminal: bool) -> Self {
        Self { descriptor, terminal, pending: Vec::new(), written: 0, closing: false }
    }

    /// Whether it takes more.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && !self.closing
    }

    /// Closes it, once the process has taken what there is.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Where clients' bytes are appended; [`Self::flush`] after that.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Writes what there is, as far as the process takes it. False when it is closed: dropped by
    /// the process, or all written after [`Self::close`].
    pub(crate) fn flush(&mut self) -> bool {
        while self.written < self.pending.len() {
            match rustix::io::write(&self.descriptor, &self.pending[self.written..]) {
                Ok(written) => self.written += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                // A terminal without a reader may get one again.
                Err(Errno::IO) if self.terminal => break,
                Err(_) => return false,
            }
        }
        self.written = 0;
        self.pending = Vec::new();
        !self.closing
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
