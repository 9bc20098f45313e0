//! Layers, archives and trees through the sealed worker.
//!
//! What the worker makes is looked at from outside: mounted, unpacked, and beside what GNU tar
//! makes of the same bytes.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod archive;
mod support;
mod tree;

mod bad;
mod compress;
mod copy;
mod good;
mod many;
mod places;
mod scan;
