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

/// Gives the kernel back what the heap does not need now.
///
/// By itself the allocator keeps every page below one that is in use. Takes a millisecond or two
/// for some ten megabytes.
pub fn give_back() {
    // SAFETY: it looks at the allocator's own lists, under the allocator's lock.
    let _given = unsafe { libc::malloc_trim(0) };
}
