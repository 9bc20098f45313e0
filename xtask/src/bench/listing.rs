//! Listing many running containers.

use anyhow::Result;

use super::Bench;
use super::figures::Figures;

const CONTAINERS: usize = 200;

/// Starts idle containers until each engine has many, and measures `ps`.
pub(crate) fn of_many(bench: &mut Bench, runs: usize) -> Result<()> {
    let mut figures = Figures::new(&format!("ps of {CONTAINERS} running containers"));
    for engine in &bench.engines {
        let (Some(idle), Some(list)) = (&engine.idle, &engine.list) else { continue };
        let agent = &mut bench.agents[engine.agent];
        let quiet = [&list[..], &["-q".to_owned()]].concat();
        while agent.run(&quiet)?.lines().count() < CONTAINERS {
            agent.run(idle)?;
        }
    }
    for round in 0..runs + 1 {
        for engine in &bench.engines {
            let Some(list) = &engine.list else { continue };
            let took = bench.agents[engine.agent].time(list, round, 1)?;
            if round > 0 {
                figures.add(&engine.name, took);
            }
        }
    }
    figures.print("hull");
    Ok(())
}
