//! The ids that file access uses.

/// Sets the user and group with which this thread appears to file systems; returns those before.
///
/// The kernel does not report when it keeps the old ids (setfsuid(2)): what the next call returns
/// tells.
///
/// From 0 to another user the kernel takes the file capabilities out of the effective set,
/// clears the dumpable flag and the parent-death signal: restore what is needed after.
pub fn replace_file_ids(uid: u32, gid: u32) -> (u32, u32) {
    let gid = set_file_gid(gid);
    (set_file_uid(uid), gid)
}

fn set_file_uid(uid: u32) -> u32 {
    // SAFETY: takes a number, touches no memory.
    unsafe { libc::setfsuid(uid) }.cast_unsigned()
}

fn set_file_gid(gid: u32) -> u32 {
    // SAFETY: takes a number, touches no memory.
    unsafe { libc::setfsgid(gid) }.cast_unsigned()
}
