//! `cargo xtask bench run`, `bench pull` and `bench build`: Hull beside its peers, A against B.
//!
//! Everything is measured in one run, the engines taking turns, because machines are noisy and
//! only ratios carry over. Peers are found in PATH, or through a command prefix in HULL_PEERS
//! that runs its words in another root where our `/tmp` is `/host`.

mod agent;
mod building;
mod engines;
mod figures;
mod listing;
mod memory;
mod prepared;
mod pull;
mod scratch;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::agent::Agent;
use self::engines::{Bench, Engine};
use self::figures::{Figures, busy_time, come_to_rest, milliseconds};
use crate::{build, run};

pub(crate) fn bench(words: &[String]) -> Result<()> {
    match words.first().map(String::as_str) {
        Some("agent") => agent::serve(),
        Some("run") => start_up(&words[1..]),
        Some("build") => building::builds(&words[1..]),
        Some("pull") => pull::pulls(&words[1..]),
        _ => bail!("usage: cargo xtask bench run|pull|build [-n RUNS]"),
    }
}

fn start_up(words: &[String]) -> Result<()> {
    if !run::is_root() {
        bail!("sandboxes are measured as root");
    }
    let runs = match words {
        [] => 40,
        [flag, number] if flag == "-n" => number.parse().context("-n takes a number")?,
        _ => bail!("usage: cargo xtask bench run [-n RUNS]"),
    };
    let programs = build::release()?;
    let mut bench = Bench::set_up(&programs)?;
    println!("engines: {}", bench.names().join(", "));
    rounds(&mut bench, "run --rm, no network, static true", runs, |engine| engine.run.clone())?;
    rounds(&mut bench, "exec true", runs, |engine| engine.exec.clone())?;
    prepared::start(&mut bench, runs)?;
    at_once(&mut bench, runs)?;
    bench.system_calls()?;
    memory::per_container(&mut bench)?;
    listing::of_many(&mut bench, runs)
}

/// Runs one command of each engine in turn, `runs` times over, and prints medians and ratios.
fn rounds(
    bench: &mut Bench,
    title: &str,
    runs: usize,
    command: impl Fn(&Engine) -> Option<Vec<String>>,
) -> Result<()> {
    let mut figures = Figures::new(title);
    // Caches and lazily loaded modules are warm before the first figure.
    for round in 0..runs + 3 {
        for engine in &mut bench.engines {
            let Some(words) = command(engine) else { continue };
            let took = bench.agents[engine.agent].time(&words, round, 1)?;
            if round >= 3 {
                figures.add(&engine.name, took);
            }
        }
    }
    figures.print("hull");
    Ok(())
}

/// Sixteen at once, beside sixteen times the CPU time of one.
fn at_once(bench: &mut Bench, runs: usize) -> Result<()> {
    const COUNT: usize = 16;
    let mut figures = Figures::new("16 run --rm at once");
    for round in 0..runs.div_ceil(4) + 1 {
        for engine in &mut bench.engines {
            let Some(words) = engine.run.clone() else { continue };
            come_to_rest()?;
            let took = bench.agents[engine.agent].time(&words, round, COUNT)?;
            if round > 0 {
                figures.add(&engine.name, took);
            }
        }
    }
    figures.print("hull");

    let hull = bench.engines.iter().find(|engine| engine.name == "hull").context("no hull")?;
    let words = hull.run.clone().context("hull cannot run")?;
    let (agent, count) = (hull.agent, 200);
    come_to_rest()?;
    let before = busy_time()?;
    for round in 0..count {
        bench.agents[agent].time(&words, round, 1)?;
    }
    // Clean-up that goes on behind the exit code belongs to the run: let the machine come to rest.
    std::thread::sleep(Duration::from_millis(200));
    let one = (busy_time()? - before) / u32::try_from(count)?;
    let cores = u32::try_from(std::thread::available_parallelism()?.get())?;
    let bound = one * u32::try_from(COUNT)? / cores;
    let wall = figures.median("hull").context("no figure for hull")?;
    println!(
        "CPU time of one: {}; 16 x that / {cores} cores: {}; wall of 16: {} = {:.2} x",
        milliseconds(one),
        milliseconds(bound),
        milliseconds(wall),
        wall.as_secs_f64() / bound.as_secs_f64()
    );
    Ok(())
}
