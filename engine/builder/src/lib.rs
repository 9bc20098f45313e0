//! Dockerfiles: from bytes to the plan of a build.
//!
//! Pure: nothing here reads a file, opens a connection or knows the time. What a build needs from
//! outside (the configs of base images) is asked for by [`plan::Planner`] and supplied by its
//! caller; what it does (running, copying, storing) is done by whoever takes the [`plan::Plan`].
//!
//! ```text
//! bytes ── parse ──► Dockerfile (stages of instructions, with their lines)
//!       ── Planner ──► base images wanted ──► configs supplied ──► Plan: stages in order, each with
//!                      its steps after expansion of variables, and the image config it ends with
//! ```
//!
//! Everything that is read here may be hostile: parsers refuse what is too large, never recurse on
//! input, and never panic.

mod duration;
mod parse;
mod position;
mod shell;
mod suggest;

pub mod ignore;
pub mod instruction;
pub mod lint;
pub mod mode;
pub mod mount;
pub mod outline;
pub mod plan;
pub mod remote;

pub use parse::{MAX_BYTES, parse};
pub use position::{Lines, Place, Source, SourceError};
