//! The allocator of a process that lives long.

/// Makes all threads share one heap, to be called before there are others.
///
/// By default each thread gets a heap of its own, which keeps the most that any of its work ever
/// took; in a daemon with dozens of threads that is most of its memory.
pub fn share_one_heap() {
    // SAFETY: it sets a number in the allocator, which does its own locking.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    debug_assert_eq!(set, 1, "the allocator knows this parameter");
}
