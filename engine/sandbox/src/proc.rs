//! Reading the kernel's small text files in as few calls as they need.

use std::ffi::CStr;
use std::io;

use rustix::fs::{Mode, OFlags, open};

/// As much as the kernel hands out at once of a long file.
const CHUNK: usize = 16 << 10;

/// The text of a file in `/proc` or `/sys`.
///
/// `std::fs` asks for a size first, which these files do not have, and then begins with 32 bytes.
pub(crate) fn read(path: &CStr) -> io::Result<String> {
    read_until(path, |read, _room| read == 0)
}

/// The same for a file that the kernel hands out whole where there is room for it, as it does
/// all but long lists: what does not fill the buffer is the end.
pub(crate) fn read_whole(path: &CStr) -> io::Result<String> {
    read_until(path, |read, room| read < room)
}

fn read_until(path: &CStr, is_end: impl Fn(usize, usize) -> bool) -> io::Result<String> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(CHUNK);
    loop {
        if text.spare_capacity_mut().len() < CHUNK / 2 {
            text.reserve(CHUNK);
        }
        let room = text.spare_capacity_mut().len();
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text))
        })?;
        if is_end(read, room) {
            break;
        }
    }
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
