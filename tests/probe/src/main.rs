//! A static program to run in a container: it prints its own view, or does one small thing.
//!
//! Without arguments, or with `view`, it prints a [`view::View`] as JSON. See [`modes`] for the
//! rest.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod modes;
mod paths;
mod status;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match modes::run(&arguments) {
        Ok(code) => code,
        Err(message) => {
            println!("probe: {message}");
            ExitCode::from(99)
        }
    }
}
