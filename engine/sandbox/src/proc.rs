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
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(CHUNK);
    loop {
        if text.spare_capacity_mut().len() < CHUNK / 2 {
            text.reserve(CHUNK);
        }
        if rustix::io::retry_on_intr(|| {
            rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text))
        })? == 0
        {
            break;
        }
    }
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
