//! Fixtures and drivers for tests of the built programs.
//!
//! Not here: assertions about one feature. Each test makes a [`Hull`] of its own, with its own
//! state in a temporary folder, and ends with [`Hull::finish`], which fails if anything is left.
#![expect(clippy::print_stderr, reason = "what was skipped is told to the one who runs the tests")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test that asked for it")]
#![expect(clippy::missing_panics_doc, reason = "failing a test is what these are for")]

pub mod archive;
pub mod base64;
pub mod busybox;
pub mod daemon;
pub mod http;
pub mod image;
pub mod leaks;
pub mod needs;
pub mod peers;
pub mod registry;
pub mod serve;
pub mod shelf;
pub mod terminal;
pub mod writes;

mod driver;

pub use driver::{Hull, Output, eventually, exchange, held, keep_open_at_exec, kill_9, set_xattr};

/// Says something to the one who runs the tests.
pub fn note(text: &str) {
    eprintln!("note: {text}");
}

#[cfg(test)]
mod tests;
