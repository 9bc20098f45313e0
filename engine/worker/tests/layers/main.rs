//! Layers, archives and trees through the sealed worker.
//!
//! What the worker makes is looked at from outside: mounted, unpacked, and beside what GNU tar
//! makes of the same bytes.

mod archive;
mod support;
mod tree;

mod bad;
mod copy;
mod good;
mod many;
mod scan;
