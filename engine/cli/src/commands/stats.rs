//! `hull stats`

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use hull_api::{ContainerStats, ContainerSummary, CpuStats};

use crate::app::Context;
use crate::client::{ApiError, Client, encode};
use crate::format::listing::{self, Columns, Row, Wish};
use crate::format::{text, units};
use crate::template::Value;
use crate::{options, out};

/// Between two pictures.
const PERIOD: Duration = Duration::from_millis(500);

/// To the upper left corner, and no rest of the picture before.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

const COLUMNS: Columns = Columns {
    type_name: "*container.statsContext",
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    titles: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
};

pub(crate) fn command() -> Command {
    Command::new("stats")
        .about("Display a live stream of container(s) resource usage statistics")
        .args([
            options::switch("all", Some('a'), "Show all containers (default shows just running)"),
            listing::argument(),
            options::switch(
                "no-stream",
                None,
                "Disable streaming stats and only pull the first result",
            ),
            options::switch("no-trunc", None, "Do not truncate output"),
            Arg::new("container").value_name("CONTAINER").num_args(0..),
        ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let client = context.client();
    let names = options::texts(&matches, "container");
    let all = options::is_set(&matches, "all");
    let short = !options::is_set(&matches, "no-trunc");
    let format = options::text(&matches, "format");
    if options::is_set(&matches, "no-stream") {
        let wanted = wanted(client, &names, all).await?;
        // Each takes a second: all at once.
        let samples = futures(client, &wanted).await?;
        let rows =
            wanted.iter().zip(&samples).map(|(name, sample)| row(name, sample.as_ref(), short));
        let rows = rows.collect();
        out::text(&listing::render(Wish { format, quiet: false }, &COLUMNS, "", |_| rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    stream(client, &names, all, short, format).await
}

/// Pictures until somebody interrupts, each of what there is then.
async fn stream(
    client: &Client,
    names: &[String],
    all: bool,
    short: bool,
    format: Option<&str>,
) -> Result<ExitCode> {
    let mut before: BTreeMap<String, CpuStats> = BTreeMap::new();
    loop {
        let wanted = wanted(client, names, all).await?;
        let mut rows = Vec::new();
        for name in &wanted {
            let mut sample = one(client, name, true).await?;
            if let Some(sample) = &mut sample {
                let last = before.insert(sample.id.clone(), sample.cpu_stats.clone());
                sample.precpu_stats = last.unwrap_or_default();
            }
            rows.push(row(name, sample.as_ref(), short));
        }
        let text = listing::render(Wish { format, quiet: false }, &COLUMNS, "", |_| rows)?;
        let lines = text.replace('\n', &format!("{CLEAR_LINE}\n"));
        out::text(&format!("{HOME}{lines}{CLEAR_BELOW}"));
        tokio::time::sleep(PERIOD).await;
    }
}

/// The containers that were named, or all that run.
async fn wanted(client: &Client, names: &[String], all: bool) -> Result<Vec<String>> {
    if !names.is_empty() {
        return Ok(names.to_vec());
    }
    let path = if all { "/containers/json?all=1" } else { "/containers/json" };
    let containers: Vec<ContainerSummary> = client.get(path).await?;
    Ok(containers.into_iter().map(|container| container.id).collect())
}

/// A sample of each, with the one before.
async fn futures(client: &Client, names: &[String]) -> Result<Vec<Option<ContainerStats>>> {
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (client, name) = (client.clone(), name.clone());
            tokio::task::spawn(async move { one(&client, &name, false).await })
        })
        .collect();
    let mut samples = Vec::with_capacity(tasks.len());
    for task in tasks {
        samples.push(task.await??);
    }
    Ok(samples)
}

/// `None` if the container went away since it was listed.
async fn one(client: &Client, name: &str, at_once: bool) -> Result<Option<ContainerStats>> {
    let mode = if at_once { "stream=0&one-shot=1" } else { "stream=0" };
    match client.get(&format!("/containers/{}/stats?{mode}", encode(name))).await {
        Ok(sample) => Ok(Some(sample)),
        Err(error)
            if name.len() == 64
                && error.downcast_ref::<ApiError>().is_some_and(|error| error.status == 404) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn row(name: &str, sample: Option<&ContainerStats>, short: bool) -> Value {
    let running = sample.filter(|sample| sample.pids_stats.current.is_some());
    let id = sample.map_or(name, |sample| sample.id.as_str());
    let none = || "--".to_owned();
    let pair = |values: Option<(String, String)>| match values {
        Some((left, right)) => format!("{left} / {right}"),
        None => "-- / --".to_owned(),
    };
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let memory = running.map(memory);
    let percent = |share: f64| format!("{share:.2}%");
    Row::new(&COLUMNS)
        .field(
            "BlockIO",
            pair(running.map(|sample| {
                let (read, written) = block_io(sample);
                (units::short_size(signed(read)), units::short_size(signed(written)))
            })),
        )
        .field("CPUPerc", running.map_or_else(none, |sample| percent(cpu_share(sample))))
        .field("Container", name)
        .field("ID", if short { text::short_id(id) } else { id })
        .field(
            "MemPerc",
            memory.map_or_else(none, |(used, limit)| {
                #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
                percent(if limit == 0 { 0.0 } else { used as f64 / limit as f64 * 100.0 })
            }),
        )
        .field(
            "MemUsage",
            pair(memory.map(|(used, limit)| {
                (units::binary_size(signed(used)), units::binary_size(signed(limit)))
            })),
        )
        .field(
            "Name",
            sample.map_or_else(none, |sample| sample.name.trim_start_matches('/').to_owned()),
        )
        .field(
            "NetIO",
            pair(running.map(|sample| {
                let networks = sample.networks.iter().flatten();
                let (received, sent) = networks.fold((0, 0), |(received, sent), (_, network)| {
                    (received + network.rx_bytes, sent + network.tx_bytes)
                });
                (units::short_size(signed(received)), units::short_size(signed(sent)))
            })),
        )
        .field(
            "PIDs",
            running.map_or_else(none, |sample| {
                sample.pids_stats.current.unwrap_or_default().to_string()
            }),
        )
        .build()
}

/// Percent of one CPU between the two samples.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
fn cpu_share(sample: &ContainerStats) -> f64 {
    let (now, before) = (&sample.cpu_stats, &sample.precpu_stats);
    let own = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let system = now.system_cpu_usage.unwrap_or_default() as f64
        - before.system_cpu_usage.unwrap_or_default() as f64;
    let cpus = match now.online_cpus {
        Some(cpus @ 1..) => f64::from(cpus),
        _ => now.cpu_usage.percpu_usage.len() as f64,
    };
    if own > 0.0 && system > 0.0 { own / system * cpus * 100.0 } else { 0.0 }
}

/// Memory in use without the page cache that can be dropped, and the limit.
fn memory(sample: &ContainerStats) -> (u64, u64) {
    let memory = &sample.memory_stats;
    let usage = memory.usage.unwrap_or_default();
    let droppable =
        memory.stats.get("total_inactive_file").or_else(|| memory.stats.get("inactive_file"));
    let droppable = droppable.copied().filter(|&bytes| bytes < usage).unwrap_or_default();
    (usage - droppable, memory.limit.unwrap_or_default())
}

fn block_io(sample: &ContainerStats) -> (u64, u64) {
    let entries = sample.blkio_stats.io_service_bytes_recursive.iter().flatten();
    entries.fold((0, 0), |(read, written), entry| match entry.op.as_bytes().first() {
        Some(b'r' | b'R') => (read + entry.value, written),
        Some(b'w' | b'W') => (read, written + entry.value),
        _ => (read, written),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(json: &str, format: Option<&str>) -> String {
        let sample: ContainerStats = serde_json::from_str(json).unwrap();
        let rows = vec![row("web", Some(&sample), true)];
        listing::render(Wish { format, quiet: false }, &COLUMNS, "", |_| rows).unwrap()
    }

    const RUNNING: &str = r#"{"name":"/web","id":"13a9a413db9ac37e4ca0f2e347dfaa5bd3118833",
        "pids_stats":{"current":3},"memory_stats":{"usage":10485760,"limit":104857600,
        "stats":{"inactive_file":1048576}},
        "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
        "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
        "blkio_stats":{"io_service_bytes_recursive":[{"op":"read","value":1000},
        {"op":"write","value":2000},{"op":"Read","value":500}]},
        "networks":{"eth0":{"rx_bytes":1500,"tx_bytes":20}}}"#;

    #[test]
    fn shares_are_worked_out_as_docker_does() {
        let line = render(
            RUNNING,
            Some(
                "{{.CPUPerc}}|{{.MemUsage}}|{{.MemPerc}}|{{.NetIO}}|{{.BlockIO}}|{{.PIDs}}|{{.Container}}",
            ),
        );
        assert_eq!(line, "40.00%|9MiB / 100MiB|9.00%|1.5kB / 20B|1.5kB / 2kB|3|web\n");
        let table = render(RUNNING, None);
        assert!(
            table.starts_with(
                "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O     PIDS\n"
            ),
            "{table}"
        );
    }

    #[test]
    fn one_that_does_not_run_uses_nothing() {
        let line = render(
            r#"{"name":"/web","id":"13a9"}"#,
            Some("{{.Name}} {{.CPUPerc}} {{.NetIO}} {{.PIDs}}"),
        );
        assert_eq!(line, "web -- -- / -- --\n");
    }
}
