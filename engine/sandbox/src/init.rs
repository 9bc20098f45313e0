//! `--init`: a process 1 that reaps orphans and passes signals on.
//!
//! Not another program: the child that was about to execute the container's program copies
//! itself, the copy executes, and the original stays as process 1, with the container's own
//! user, capabilities and filter.

use hull_sys::clone::{SingleThreaded, exit_now, fork_process};
use hull_sys::{descriptor, signal};
use rustix::process::{Pid, Signal, WaitOptions, wait};

use crate::error::{StartError, Step};

/// Returns in the copy, which is to execute; the original never returns.
pub(crate) fn split(proof: &SingleThreaded) -> Result<(), StartError> {
    signal::block_all().step("block signals")?;
    match fork_process(proof).step("start the program under the init process")? {
        None => {
            take_foreground();
            signal::reset(std::iter::empty()).step("reset signals")
        }
        Some(program) => exit_now(look_after(program)),
    }
}

/// Makes the program a process group of its own, in the foreground of its terminal if it has one:
/// a key that signals the group must not reach it twice, once through process 1.
fn take_foreground() {
    let own = rustix::process::getpid();
    // Neither can fail for a child just made, but for there being no terminal.
    let _ = rustix::process::setpgid(None, None);
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own);
}

/// Serves until the program ends; returns what the container's exit code is to be.
fn look_after(program: Pid) -> i32 {
    // Its name is what `ps` shows. A failure of any of these three changes nothing that matters.
    let _ = rustix::thread::set_name(c"hull-init");
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // Also the standard streams: whoever reads them waits for the last holder to let go.
    let _ = descriptor::close_inherited(0);
    loop {
        match signal::wait(None) {
            Ok(Some(number)) if Some(number) == Some(Signal::CHILD.as_raw()) => {
                if let Some(code) = reap(program) {
                    return code;
                }
            }
            // A program that has just ended needs no signal.
            Ok(Some(number)) => drop(signal::send_to_child(program, number)),
            Ok(None) => {}
            Err(_) => return 125,
        }
    }
}

/// Takes every exited child; the program's exit code when it is among them.
fn reap(program: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == program {
            code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        }
    }
    code
}
