//! One pull or push: the session and calls on stdin, the answers back on it.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    let socket = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => socket,
        Err(error) => return fail(&format!("cannot use stdin: {error}")),
    };
    match hull_transfer::process::serve(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "stderr is where the engine looks when no answer comes")]
fn fail(message: &str) -> ExitCode {
    eprintln!("hull-transfer: {message}");
    ExitCode::FAILURE
}
