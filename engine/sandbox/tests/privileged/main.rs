//! Containers, started for real. Needs root.
//!
//! Every test runs in a process of its own, for `start` wants a caller of one thread. This program
//! is also what runs inside: under the name `probe` it tells what it sees.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program, which lints do not take for one without its harness"
)]

mod attacks;
mod bench;
mod container;
mod errors;
mod exec;
mod isolation;
mod probe;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use hull_sys::mount::{Attributes, add_attributes, seal_program};
use rustix::mount::{OpenTreeFlags, open_tree};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments[0].ends_with("probe") {
        return probe::run(&arguments[1..]);
    }
    let tests: Vec<Test> = [isolation::TESTS, exec::TESTS, errors::TESTS, attacks::TESTS].concat();
    if let Ok(name) = std::env::var("HULL_SANDBOX_TEST") {
        seal_program().unwrap();
        let (_, test) = tests.iter().find(|(known, _)| *known == name).expect("a known test");
        test();
        return ExitCode::SUCCESS;
    }
    if let Ok(rounds) = std::env::var("HULL_SANDBOX_BENCH") {
        bench::run(rounds.parse().expect("a number of rounds"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> =
        arguments[1..].iter().filter(|word| !word.starts_with('-')).collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let tests: Vec<Test> = tests.into_iter().filter(|(name, _)| wanted(name)).collect();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: {} tests need root", tests.len());
        return ExitCode::SUCCESS;
    }
    run_all(&tests)
}

/// Runs the tests side by side, each in a process.
fn run_all(tests: &[Test]) -> ExitCode {
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((name, _)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !run_one(name) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("\ntest result: {} passed; {failed} failed", tests.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(name: &str) -> bool {
    let (program, sealed) = seal();
    let mut command = Command::new(format!("/proc/self/fd/{}", sealed.as_raw_fd()));
    command.env("HULL_SANDBOX_TEST", name).env(PROGRAM, program);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        println!("test {name} ... ok");
        return true;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!(
        "test {name} ... FAILED ({})\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    false
}

/// Names this program's file to a test, whose own file has no name.
const PROGRAM: &str = "HULL_SANDBOX_PROGRAM";

/// This program as the shim's is sealed: a mount of its own, read-only, and not to be executed a
/// second time once it runs.
fn seal() -> (PathBuf, OwnedFd) {
    let program = std::env::current_exe().unwrap();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let sealed = open_tree(rustix::fs::CWD, &program, flags).unwrap();
    add_attributes(&sealed, Attributes::RDONLY, false).unwrap();
    (program, sealed)
}

/// The file of this program.
fn program() -> PathBuf {
    std::env::var_os(PROGRAM).map_or_else(|| std::env::current_exe().unwrap(), PathBuf::from)
}
