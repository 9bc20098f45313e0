//! Memory an idle container holds beside its own process.

use std::fs;

use anyhow::Result;

use super::Bench;

/// Which processes an engine keeps for each container.
const SUPERVISORS: &[(&str, &str)] =
    &[("hull", "hull-shim"), ("podman", "conmon"), ("docker", "containerd-shim")];

const CONTAINERS: u32 = 8;

/// Starts idle containers and prints the proportional set size of their supervisors.
pub(crate) fn per_container(bench: &mut Bench) -> Result<()> {
    println!("\nmemory per idle container (PSS of its supervisor, of {CONTAINERS})");
    for engine in &bench.engines {
        let supervisor = SUPERVISORS.iter().find(|(name, _)| *name == engine.name);
        let (Some((_, supervisor)), Some(idle)) = (supervisor, &engine.idle) else { continue };
        let idle: Vec<&str> = idle.iter().map(String::as_str).collect();
        for _ in 0..CONTAINERS {
            bench.agents[engine.agent].output(&idle)?;
        }
        let sizes = sizes(supervisor)?;
        let count = u64::try_from(sizes.len().max(1))?;
        println!(
            "{:<18} {:>6} kB ({} processes)",
            engine.name,
            sizes.iter().sum::<u64>() / count,
            sizes.len()
        );
    }
    Ok(())
}

/// PSS in kB of every process whose name begins with `name` (the kernel keeps 15 bytes of it).
fn sizes(name: &str) -> Result<Vec<u64>> {
    let name = &name[..name.len().min(15)];
    let mut sizes = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let folder = entry.path();
        if !fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            continue;
        }
        let Ok(rollup) = fs::read_to_string(folder.join("smaps_rollup")) else { continue };
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let size = pss.and_then(|rest| rest.trim().strip_suffix(" kB")).map(str::parse);
        if let Some(Ok(size)) = size {
            sizes.push(size);
        }
    }
    Ok(sizes)
}

/// Memory of the command, its sealed workers and its connections together, in kB.
pub(crate) fn pulling() -> Result<u64> {
    let mut sum = 0;
    for name in ["hull", "hull-worker", "hull-transfer"] {
        sum += sizes(name)?.iter().sum::<u64>();
    }
    Ok(sum)
}
