//! The kernel interfaces Hull needs, and the only unsafe code of the project.
//!
//! Not here: policy. Nothing in this package knows what a container or an image is.

pub mod message;
