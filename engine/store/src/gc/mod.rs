//! Keeping order: what is reachable, what is garbage, what it all takes, whether it is sound.
//!
//! A collection runs while everything else does. It marks without a lock; then, under the
//! exclusive `gc.lock`, it marks what became reachable meanwhile and renames what is still
//! unreachable into `trash/`; then it empties the trash. Whoever takes a reference does so under
//! the shared lock, and looks whether its target is there after taking it (see
//! [`crate::Lease::add`]): so the target was kept, or is seen to be gone.

mod check;
mod collect;
mod evict;
mod mark;
mod usage;

pub use check::{CheckError, CheckOptions, CheckReport, Problem, ProblemKind};
pub use collect::{CollectError, Collected};
pub use evict::Evicted;
pub(crate) use mark::image_layers;
pub use usage::{Usage, UsageError};

#[cfg(test)]
mod tests;
