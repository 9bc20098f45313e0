//! The sandbox around one container.
pub mod capability;
pub mod seccomp;
pub mod spec;
pub mod user;
