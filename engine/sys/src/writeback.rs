//! Writing a file's pages to disk before a sync asks for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes after which [`Writeback`] pushes.
const STEP: u64 = 32 << 20;

/// Pushes what is written to a file towards the disk as it grows, so that the sync at the end is
/// short.
#[derive(Debug, Default)]
pub struct Writeback {
    pushed: u64,
}

impl Writeback {
    /// For a file whose first `length` bytes are somebody else's.
    pub fn from(length: u64) -> Self {
        Self { pushed: length }
    }

    /// Says how far the file is written.
    pub fn written(&mut self, file: BorrowedFd<'_>, length: u64) {
        if length.saturating_sub(self.pushed) >= STEP {
            // Whether it succeeds shows at the sync.
            let _ = start(file, self.pushed, length - self.pushed);
            self.pushed = length;
        }
    }
}

/// Starts to write `length` bytes from `offset` and does not wait. This is a hint: durability
/// needs a sync after it, which then has less to do.
///
/// # Errors
/// `InvalidInput` for a range past 8 EiB, otherwise the system's.
fn start(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let number =
        |value: u64| i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, length) = (number(offset)?, number(length)?);
    // SAFETY: the call takes numbers only, and `file` is open while it lasts.
    let result = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
