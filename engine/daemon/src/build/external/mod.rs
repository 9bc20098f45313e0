//! External caches: results of steps that engines give each other, `--cache-to` and
//! `--cache-from`.
//!
//! ```text
//! manifest ── config: key of a step ── what it was made on ── number of its layer
//!          └─ layers, compressed as a push sends them
//! ```
//!
//! A cache lies in a repository, in a directory that is an OCI layout, or in the config of an
//! image whose own steps it lists (inline). Keys are over content, so they are the same on every
//! host. What is read is hostile: [`document`] parses it within bounds, a layer is fetched only
//! when a step that runs, or the result, needs it, and is then compared with digest, size and
//! diffID by a sealed worker as that of a pull is.
//!
//! Whoever writes a cache decides what the steps gave whose keys it lists. That holds for the
//! builds that name it and for no others: what is imported gets no record in this engine's own
//! cache, and what is made on top of it only one whose key says so.

mod document;
mod export;
mod folder;
mod import;
mod options;

pub(super) use export::{Exporting, Made, hands_on, inline};
pub(super) use import::{Imports, Offer};
pub(super) use options::{Place, Source, Target};
