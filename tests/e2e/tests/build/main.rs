//! Builds: each semantics that builders get wrong, on the image that came out.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod cache;
mod context;
mod copy;
mod debian;
mod driver;
mod failures;
mod image;
mod kill;
mod mounts;
mod outputs;
mod run;
