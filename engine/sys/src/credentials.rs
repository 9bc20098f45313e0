//! The ids that file access uses.

use std::io;

/// Sets the ids with which this thread appears to file systems.
///
/// From 0 to another user the kernel takes the file capabilities out of the effective set,
/// clears the dumpable flag and the parent-death signal: restore what is needed after.
///
/// # Errors
/// `EPERM` when the kernel kept the old ids (setfsuid(2) itself reports nothing).
pub fn set_file_ids(uid: u32, gid: u32) -> io::Result<()> {
    set_file_gid(gid);
    set_file_uid(uid);
    // The calls return the id before them, so asking again tells whether they took effect.
    if set_file_uid(uid) != uid || set_file_gid(gid) != gid {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

fn set_file_uid(uid: u32) -> u32 {
    // SAFETY: takes a number, touches no memory.
    unsafe { libc::setfsuid(uid) }.cast_unsigned()
}

fn set_file_gid(gid: u32) -> u32 {
    // SAFETY: takes a number, touches no memory.
    unsafe { libc::setfsgid(gid) }.cast_unsigned()
}
