//! `hull-fuzz [TARGET] [-s SECONDS] [--seed NUMBER]`: each target for so long (default 60 seconds).

#![expect(clippy::print_stdout, reason = "it talks to a person")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use hull_fuzz::run::{Bound, many};
use hull_fuzz::{TARGETS, Target, inputs};

fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let (mut wanted, mut seconds, mut seed) = (None, 60, None);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64> {
            let text = words.next().with_context(|| format!("{word} needs a number"))?;
            text.parse().with_context(|| format!("{text:?} is no number"))
        };
        match word.as_str() {
            "-s" => seconds = number()?,
            "--seed" => seed = Some(number()?),
            _ => wanted = Some(word),
        }
    }
    let targets: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| wanted.as_ref().is_none_or(|name| name == target.name))
        .collect();
    if targets.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no such target: there are {}", names.join(", "));
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_secs());
    let seed = seed.map_or_else(now, Ok)?;
    // What gives way is told below; the first words of each panic would only be noise.
    std::panic::set_hook(Box::new(|_| ()));
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        let time = Duration::from_secs(seconds);
        match many(target, &inputs::of(target)?, seed, Bound::Time(time)) {
            Ok(tally) => println!(
                "{:<17} {} accepted, {} refused (seed {seed})",
                target.name, tally.accepted, tally.refused
            ),
            Err(failure) => {
                let name = format!("fuzz-{}-{seed}", target.name);
                let path = std::env::var_os("CARGO_TARGET_DIR")
                    .map_or_else(std::env::temp_dir, PathBuf::from);
                let path = path.join(name);
                std::fs::write(&path, &failure.bytes)?;
                println!("{:<17} FAILED: {}", target.name, failure.message);
                println!("{:<17} the input is {} (seed {seed})", "", path.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
