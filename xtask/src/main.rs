//! The project's tasks, each a file: `cargo xtask <task>`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tasks talk to a person")]

mod bench;
mod build;
mod check;
mod demo;
mod fixtures;
mod fuzz;
mod guest;
mod run;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>

  check                 format, lints, docs, package edges, what the helpers link
  test [--full] [NAME]  everything: check, unit tests, the built programs in real sandboxes
                        --full adds peers, load and kill tests
  fixtures              what the tests need from the distribution (the only step that downloads)
  fuzz [TARGET] [-s SECONDS] [--seed NUMBER]
                        parsers of foreign bytes against changed inputs (60 seconds each)
  demo                  build Hull, make a small image, run it, show the sandbox from inside
  bench run [-n RUNS]   start-up beside crun, runc, podman and docker, whichever are present
  bench pull [-n RUNS]  pulls and pushes beside podman and docker
  bench build [-n RUNS] Dockerfile builds beside them
  guest FOLDER          the programs in a virtual machine with the kernel in FOLDER
  dist [DIR]            the static programs, stripped, in one folder";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rest = words.get(1..).unwrap_or_default();
    let outcome = match words.first().map(String::as_str) {
        Some("check") => check::check(),
        Some("test") => test::test(rest),
        Some("fixtures") => fixtures::make().map(|_| ()),
        Some("fuzz") => fuzz::fuzz(rest),
        Some("demo") => demo::demo(),
        Some("bench") => bench::bench(rest),
        Some("guest") => guest::guest(rest),
        Some("dist") => build::dist(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
