//! How long a start takes: `HULL_SANDBOX_BENCH=100 cargo test --release --test privileged`.
//!
//! `HULL_SANDBOX_FOLDER` says where, `/tmp` otherwise. With 1 the lines `mark begin` and `mark end` on stderr show the part to count in a trace.

use std::time::{Duration, Instant};

use rustix::fd::AsFd;

use crate::container::{Container, capture, wait};

pub(crate) fn run(rounds: usize) {
    let mut total = Vec::new();
    let mut started = Vec::new();
    let mut spent = Vec::new();
    let containers: Vec<_> = (0..rounds).map(|_| container()).collect();
    let cpu = cpu_time();
    for mut container in containers {
        let (_reader, stdio) = capture();
        eprintln!("mark begin");
        let begin = Instant::now();
        let running = container.start(stdio).unwrap();
        started.push(begin.elapsed());
        wait(running.pidfd.as_fd());
        total.push(begin.elapsed());
        running.cgroup.remove().unwrap();
        eprintln!("mark end");
        spent.push(container);
    }
    let cpu = (cpu_time() - cpu) / u32::try_from(rounds).unwrap();
    println!("start of one container, {rounds} rounds:");
    show("until it executes", started);
    show("until it has exited", total);
    println!("  CPU time, of which other load takes nothing: {cpu:?}");
}

/// With the directories that every real image has.
fn container() -> Container {
    let container = Container::new(&["true"]);
    for name in ["proc", "dev", "sys"] {
        std::fs::create_dir(container.image(name)).unwrap();
    }
    container
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (min, median) = (times[0], times[times.len() / 2]);
    println!("  {what}: min {min:?}, median {median:?}");
}

/// CPU time of this process and of its children that have ended.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
    let ticks: u64 = fields.skip(11).take(4).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
