//! The `hull` command: a client of the Engine API.
//!
//! It speaks to a socket, or to the same service in its own process; no command knows which.
//! Not here: anything that a client of the API could not do, and any state.

mod app;
mod client;
mod commands;
mod download;
mod format;
mod host;
mod options;
mod out;
mod progress;
mod session;
mod signals;
mod stdio;
mod stream;
mod template;
mod terminal;
mod upload;
mod usage;

use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    app::run(&words)
}
