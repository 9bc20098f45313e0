//! What a container uses, once or every second.

use super::stored::{Container, is_running, state_of};
use crate::error::ApiError;
use crate::http::{Body, Query, Response, json, typed};
use crate::service::{Engine, Service};
use hull_api::{
    BlkioStatEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats,
    PidsStats, ThrottlingData,
};
use hull_sandbox::Cgroup;
use hull_sandbox::cgroup::Version;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// Docker's time for a sample that was not taken.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `GET /containers/{id}/stats`. Without `stream` two samples a second apart, so that the CPU's
/// share can be worked out; with `one-shot` a single one at once.
pub(crate) async fn stats(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let stream = query.get("stream").is_none() || query.flag("stream");
    let one_shot = query.flag("one-shot");
    if stream && one_shot {
        return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
    }
    let text = text.to_owned();
    let (container, first) = service
        .run(move |engine| {
            let container = Container::find(engine.store()?, &text)?;
            let first = sample(engine, &container)?.unwrap_or_else(|| blank(&container));
            Ok((container, first))
        })
        .await?;
    if !stream {
        if one_shot || first.pids_stats.current.is_none() {
            return json(&first);
        }
        tokio::time::sleep(PERIOD).await;
        let own = container.clone();
        let second = service.run(move |engine| sample(engine, &own)).await?;
        return json(&second.map_or(first.clone(), |second| after(second, &first)));
    }
    let (sender, body) = Body::stream();
    let service = service.clone();
    tokio::spawn(async move {
        let mut last = first;
        while sender.send_json(&last).await {
            tokio::time::sleep(PERIOD).await;
            let own = container.clone();
            match service.run(move |engine| sample(engine, &own)).await {
                Ok(Some(sample)) => last = after(sample, &last),
                Ok(None) => return,
                Err(error) => {
                    let id = &container.record.id;
                    tracing::debug!(container_id = id, %error, "statistics ended");
                    return;
                }
            }
        }
    });
    Ok(typed("application/json", body))
}

/// A sample that knows the one before.
fn after(sample: ContainerStats, before: &ContainerStats) -> ContainerStats {
    if sample.pids_stats.current.is_none() {
        return sample;
    }
    ContainerStats {
        preread: before.read.clone(),
        precpu_stats: before.cpu_stats.clone(),
        ..sample
    }
}

/// What is told of a container that does not run.
fn blank(container: &Container) -> ContainerStats {
    ContainerStats {
        name: format!("/{}", container.record.name),
        id: container.record.id.clone(),
        read: NEVER.to_owned(),
        preread: NEVER.to_owned(),
        ..ContainerStats::default()
    }
}

/// What a container uses now; `None` if it is gone.
fn sample(engine: &Engine, container: &Container) -> Result<Option<ContainerStats>, ApiError> {
    let id = &container.record.id;
    let Some(state) = state_of(engine.store()?, id)? else { return Ok(None) };
    let Some(pid) = state.as_ref().map(|state| state.pid).filter(|&pid| pid != 0) else {
        return Ok(Some(blank(container)));
    };
    if !is_running(state.as_ref()) {
        return Ok(Some(blank(container)));
    }
    let cgroup = Cgroup::open(id).map_err(|error| ApiError::internal(&error))?;
    let used = cgroup.stats();
    let (system, cpus) = host_cpu();
    let of_v1 = used.memory_version == Some(Version::V1);
    let host_memory = host_memory();
    Ok(Some(ContainerStats {
        read: hull_shim::state::now(),
        pids_stats: PidsStats { current: used.pids.or(Some(0)), limit: used.pids_limit },
        blkio_stats: BlkioStats {
            io_service_bytes_recursive: Some(used.io.iter().flat_map(entries).collect()),
            ..BlkioStats::default()
        },
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: used.cpu_nanoseconds.unwrap_or_default(),
                percpu_usage: used.cpu_each,
                usage_in_kernelmode: used.cpu_kernel_nanoseconds.unwrap_or_default(),
                usage_in_usermode: used.cpu_user_nanoseconds.unwrap_or_default(),
            },
            system_cpu_usage: Some(system),
            online_cpus: Some(cpus),
            throttling_data: ThrottlingData {
                periods: used.throttling.periods,
                throttled_periods: used.throttling.throttled_periods,
                throttled_time: used.throttling.throttled_nanoseconds,
            },
        },
        memory_stats: MemoryStats {
            usage: used.memory,
            max_usage: used.memory_peak.filter(|_| of_v1),
            failcnt: used.memory_failures.filter(|_| of_v1),
            stats: used.memory_details,
            limit: Some(used.memory_limit.unwrap_or(host_memory).min(host_memory)),
        },
        networks: networks(pid),
        ..blank(container)
    }))
}

fn entries(io: &hull_sandbox::cgroup::Io) -> [BlkioStatEntry; 2] {
    [("read", io.read), ("write", io.written)].map(|(op, value)| BlkioStatEntry {
        major: io.major,
        minor: io.minor,
        op: op.to_owned(),
        value,
    })
}

/// Nanoseconds that all CPUs of the host have spent, on anything or nothing, and their number.
fn host_cpu() -> (u64, u32) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut lines = text.lines();
    let all = lines.next().unwrap_or_default().split_ascii_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq; the rest is counted in these already.
    let ticks: u64 = all.take(7).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let cpus = lines.take_while(|line| line.starts_with("cpu")).count();
    (ticks * 10_000_000, u32::try_from(cpus).unwrap_or(1))
}

fn host_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib = line.split_ascii_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

/// Traffic of the interfaces in the network namespace of process `pid`; `None` if there is none
/// but the loopback.
fn networks(pid: u32) -> Option<BTreeMap<String, NetworkStats>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    let networks = parse_networks(&text);
    (!networks.is_empty()).then_some(networks)
}

fn parse_networks(text: &str) -> BTreeMap<String, NetworkStats> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> =
            numbers.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, ..] = numbers[..] else { return None };
        let [tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = *numbers.get(8..)? else {
            return None;
        };
        let stats = NetworkStats {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        };
        Some((name.trim().to_owned(), stats))
    };
    text.lines().filter_map(interface).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces() {
        let text = "Inter-|   Receive                |  Transmit\n face |bytes packets|bytes\n    \
                    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  \
                    eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let networks = parse_networks(text);
        assert_eq!(networks.len(), 1);
        let eth0 = networks["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (1, 4, 9, 12));
    }
}
