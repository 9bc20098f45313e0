//! hull-shim: the supervisor of one container.
//!
//! Started by the engine with a socket as stdin, over which one start request comes. Afterwards it
//! depends on nobody: it has its own session and cgroup, and holds nothing it inherited.

#![cfg_attr(not(test), no_main)]

mod attached;
mod closing;
mod control;
mod detach;
mod events;
mod exec;
mod exit;
mod health;
mod inbox;
mod input;
mod interest;
mod life;
mod log;
mod output;
mod restart;
mod start;
mod stdio;
mod steps;
mod streams;
mod supervisor;
mod waiters;

#[cfg(not(test))]
hull_sys::entry_point!(run);

/// Returns the exit code.
#[cfg_attr(test, expect(dead_code, reason = "tests have an entry point of their own"))]
fn run() -> u8 {
    match life::live() {
        Ok(()) => 0,
        Err(_already_told) => 1,
    }
}
