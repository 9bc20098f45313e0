//! Tests of the built programs, one file per subject under `tests/`.
//!
//! Each test has a [`Hull`](hull_test_support::Hull) of its own and ends with `finish`, which
//! fails if a process, cgroup, mount or file is left.
