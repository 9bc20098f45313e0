//! hull-shim: the supervisor of one container.
//!
//! Started by the engine with a socket as stdin, over which one start request comes. Afterwards it
//! depends on nobody: it has its own session and cgroup, and holds nothing it inherited.

mod attached;
mod control;
mod detach;
mod exec;
mod exit;
mod inbox;
mod input;
mod interest;
mod life;
mod log;
mod output;
mod start;
mod stdio;
mod streams;
mod supervisor;
mod waiters;

use std::process::ExitCode;

fn main() -> ExitCode {
    match life::live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_already_told) => ExitCode::FAILURE,
    }
}
