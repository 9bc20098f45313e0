//! Sealed jobs on layers, archives and trees.
pub mod job;
