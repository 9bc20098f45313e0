//! The `hull` command: a client of the Engine API.
//!
//! It speaks to a socket, or to the same service in its own process; no command knows which.
//! Not here: anything that a client of the API could not do, and any state.

mod app;
mod build;
mod client;
mod commands;
mod credentials;
mod download;
mod format;
mod host;
mod options;
mod out;
mod progress;
mod prompt;
mod registry;
mod screen;
mod session;
mod signals;
mod stdio;
mod stream;
mod template;
mod terminal;
mod upload;
mod usage;

use std::process::ExitCode;

/// Parsers for the fuzz targets, and for nobody else.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::credentials::fuzz::{credentials, rewrite};
}

/// Runs the command line of this process; returns the exit code.
pub fn main() -> u8 {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let code = match hull_sys::entry::open_standard_streams() {
        Ok(()) => number(app::run(&words)),
        Err(_) => return 125,
    };
    match out::finish() {
        Err(error) if code == 0 => {
            out::error(&format!("hull: cannot write to stdout: {error}"));
            1
        }
        _ => code,
    }
}

/// The standard library does not tell it.
fn number(code: ExitCode) -> u8 {
    (0..u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(u8::MAX)
}
