//! How long a start takes: `HULL_SANDBOX_BENCH=100 cargo test --release --test privileged`.
//!
//! With 1 the lines `mark begin` and `mark end` on stderr show the part to count in a trace.

use std::time::{Duration, Instant};

use rustix::fd::AsFd;

use crate::container::{Container, capture, wait};

pub(crate) fn run(rounds: usize) {
    let mut total = Vec::new();
    let mut started = Vec::new();
    for _ in 0..rounds {
        let mut container = Container::new(&["true"]);
        let (reader, stdio) = capture();
        eprintln!("mark begin");
        let begin = Instant::now();
        let running = container.start(stdio).unwrap();
        started.push(begin.elapsed());
        wait(running.pidfd.as_fd());
        total.push(begin.elapsed());
        running.cgroup.remove().unwrap();
        eprintln!("mark end");
        drop(reader);
    }
    println!("start of one container, {rounds} rounds:");
    show("until it executes", started);
    show("until it has exited", total);
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (min, median) = (times[0], times[times.len() / 2]);
    println!("  {what}: min {min:?}, median {median:?}");
}
