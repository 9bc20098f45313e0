//! `hull build`: what the command line says, the context, and what is shown while a build runs.
//!
//! ```text
//! options ── what is asked for ─┬─ Hull in this process: the directory itself
//! context ── Dockerfile, files ─┤
//!                               ├─ Hull behind a socket: a tar, .dockerignore applied
//!                               └─ another engine: POST /build, Docker's own stream
//! check   ── --check, --call: only the Dockerfile is read
//! display ── lines, rows or JSON, made of the engine's events
//! ```

pub(crate) mod archive;
pub(crate) mod check;
pub(crate) mod classic;
pub(crate) mod context;
pub(crate) mod display;
pub(crate) mod engine;
pub(crate) mod fields;
pub(crate) mod options;
pub(crate) mod proxies;
