//! One sealed job: the request on stdin, the answer back on it.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use hull_sys::message::{recv_message, send_message};
use hull_worker::job::{Answer, FailureKind};

/// The longest request.
const MAX_REQUEST: usize = 64 << 10;

fn main() -> ExitCode {
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    let (body, descriptors) = match recv_message(socket, MAX_REQUEST) {
        Ok(Some(message)) => message,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return fail(&format!("cannot read the job from stdin: {error}")),
    };
    let job = match serde_json::from_slice(&body) {
        Ok(job) => job,
        Err(error) => return fail(&format!("the job is not one: {error}")),
    };
    let answer = hull_worker::work::work(&job, descriptors).unwrap_or_else(|error| {
        Answer::Failed { kind: FailureKind::Io, message: error.to_string() }
    });
    let body = serde_json::to_vec(&answer).expect("an answer has no maps and no foreign types");
    match send_message(socket, &body, &[]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("cannot send the answer: {error}")),
    }
}

#[expect(clippy::print_stderr, reason = "stderr is where the engine looks when no answer comes")]
fn fail(message: &str) -> ExitCode {
    eprintln!("hull-worker: {message}");
    ExitCode::FAILURE
}
