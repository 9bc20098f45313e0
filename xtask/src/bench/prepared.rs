//! Starting containers that were created before.

use anyhow::Result;

use super::Bench;
use super::figures::Figures;

/// Creates a container of each engine in turn, measures its `start` and removes it.
pub(crate) fn start(bench: &mut Bench, runs: usize) -> Result<()> {
    let mut figures = Figures::new("start of a created container");
    for round in 0..runs + 3 {
        for engine in &bench.engines {
            let Some(prepared) = &engine.prepared else { continue };
            let agent = &mut bench.agents[engine.agent];
            let name = format!("prepared-{round}");
            let with_name = |words: &[String]| -> Vec<String> {
                words.iter().map(|word| word.replace("{name}", &name)).collect()
            };
            agent.run(&with_name(&prepared.create))?;
            let took = agent.time(&with_name(&prepared.start), round, 1)?;
            agent.run(&with_name(&prepared.remove))?;
            if round >= 3 {
                figures.add(&engine.name, took);
            }
        }
    }
    figures.print("hull");
    Ok(())
}
