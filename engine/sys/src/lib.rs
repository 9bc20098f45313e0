//! The kernel interfaces Hull needs, and the only unsafe code of the project.
//!
//! Not here: policy. Nothing in this package knows what a container or an image is.

pub mod bpf;
pub mod clone;
pub mod credentials;
pub mod descriptor;
pub mod entry;
pub mod exec;
pub mod jail;
pub mod keyring;
pub mod loopback;
pub mod memory;
pub mod message;
pub mod mount;
pub mod probe;
pub mod seccomp;
pub mod signal;
pub mod spawn;
pub mod writeback;
