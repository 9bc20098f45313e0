//! The sandbox around one container.
pub mod spec;
