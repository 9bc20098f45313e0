//! Every parser of foreign bytes, against bytes that nobody meant.
//!
//! A [`Target`] takes bytes, has them parsed, and checks what must be true of whatever comes out:
//! that it reads back, that two ways to read it agree, that what is refused has a reason. Beside
//! each lies a folder of inputs, `inputs/<target>/good` and `bad`: what must be taken and what
//! must be refused. [`run`] changes them again and again, always in the same way for the same
//! seed, so that a failure can be repeated from its seed alone. `cargo test` runs a few thousand
//! changes of each; `cargo xtask fuzz` runs on for as long as it is told to.
//!
//! Not here: guidance by coverage. The functions are those that a libFuzzer harness would call.

pub mod inputs;
mod mutate;
pub mod run;
pub mod targets;

pub use targets::{TARGETS, Target, Verdict};
