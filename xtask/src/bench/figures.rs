//! Collecting times and printing them as medians and ratios.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Times by engine.
#[derive(Debug)]
pub(crate) struct Figures {
    title: String,
    times: BTreeMap<String, Vec<Duration>>,
}

impl Figures {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), times: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, engine: &str, time: Duration) {
        self.times.entry(engine.to_owned()).or_default().push(time);
    }

    pub(crate) fn median(&self, engine: &str) -> Option<Duration> {
        let mut times = self.times.get(engine)?.clone();
        times.sort();
        times.get(times.len() / 2).copied()
    }

    /// One line an engine; the ratio says how many times `base`'s median it took.
    pub(crate) fn print(&self, base: &str) {
        println!("\n{}", self.title);
        println!("{:<18} {:>10} {:>10} {:>10} {:>8}", "engine", "min", "median", "max", "ratio");
        let Some(base_median) = self.median(base) else { return };
        for (engine, times) in &self.times {
            let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) else { continue };
            let Some(median) = self.median(engine) else { continue };
            println!(
                "{engine:<18} {:>10} {:>10} {:>10} {:>7.2}x",
                milliseconds(*min),
                milliseconds(median),
                milliseconds(*max),
                median.as_secs_f64() / base_median.as_secs_f64()
            );
        }
    }
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Time all cores together were not idle since boot.
pub(crate) fn busy_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq; a tick is 1/100 s (proc_stat(5)).
    let [user, nice, system, _idle, _wait, irq, softirq, ..] = fields[..] else {
        anyhow::bail!("/proc/stat has an unknown first line");
    };
    Ok(Duration::from_millis((user + nice + system + irq + softirq) * 10))
}

/// Waits, for a bounded time, until the machine has nothing to do: what an engine leaves to be
/// done after its command would be counted against the next one.
pub(crate) fn come_to_rest() -> Result<()> {
    const LOOK: Duration = Duration::from_millis(100);
    for _ in 0..50 {
        let before = busy_time()?;
        std::thread::sleep(LOOK);
        if busy_time()? - before <= LOOK / 5 {
            break;
        }
    }
    Ok(())
}
