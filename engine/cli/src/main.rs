//! The `hull` command's entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    hull_cli::main()
}
