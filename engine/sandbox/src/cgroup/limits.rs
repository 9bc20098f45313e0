//! From [`Resources`] to the writes that set them, for every kind of host.

use std::fmt::Display;

use super::topology::{Topology, Version};
use crate::error::{StartError, StartErrorKind};
use crate::spec::Resources;

/// A file of one controller and what to write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// Whose file it is.
    pub controller: &'static str,
    /// The file's name in the container's cgroup.
    pub file: &'static str,
    /// The content.
    pub value: String,
}

/// What sets `resources` on a host of this `topology`, in order.
///
/// # Errors
/// `Unavailable` for a limit whose controller no hierarchy has; `Invalid` for limits that
/// contradict each other.
pub(crate) fn writes(topology: &Topology, resources: &Resources) -> Result<Vec<Write>, StartError> {
    let mut plan = Plan { topology, writes: Vec::new() };
    plan.memory(resources)?;
    plan.cpu(resources)?;
    plan.cpuset(resources)?;
    plan.pids(resources)?;
    Ok(plan.writes)
}

struct Plan<'t> {
    topology: &'t Topology,
    writes: Vec<Write>,
}

impl Plan<'_> {
    fn version(&self, controller: &'static str) -> Result<Version, StartError> {
        match self.topology.owner(controller) {
            Some(hierarchy) => Ok(hierarchy.version),
            None => Err(StartError::new(
                StartErrorKind::Unavailable,
                format!("this host has no cgroup controller {controller}, which a limit asks for"),
            )),
        }
    }

    fn write(&mut self, controller: &'static str, file: &'static str, value: &dyn Display) {
        self.writes.push(Write { controller, file, value: value.to_string() });
    }

    fn memory(&mut self, resources: &Resources) -> Result<(), StartError> {
        let Resources { memory, memory_swap, memory_reservation, .. } = *resources;
        if memory.is_none() && memory_swap.is_none() && memory_reservation.is_none() {
            return Ok(());
        }
        let total = match (memory, memory_swap) {
            (None, Some(swap)) if swap > 0 => {
                return Err(StartError::invalid("a limit of memory and swap needs one of memory"));
            }
            (Some(memory), Some(swap)) if swap > 0 && swap.unsigned_abs() < memory => {
                return Err(StartError::invalid(format!(
                    "the limit of memory and swap ({swap}) is below that of memory ({memory})"
                )));
            }
            // Docker's default: as much swap as memory.
            (Some(memory), None | Some(0)) => {
                Some(i64::try_from(memory.saturating_mul(2)).unwrap_or(-1))
            }
            (_, swap) => swap,
        };
        match self.version("memory")? {
            Version::V1 => {
                if let Some(memory) = memory {
                    self.write("memory", "memory.limit_in_bytes", &memory);
                }
                if let Some(total) = total {
                    self.write("memory", "memory.memsw.limit_in_bytes", &total);
                }
                if let Some(reservation) = memory_reservation {
                    self.write("memory", "memory.soft_limit_in_bytes", &reservation);
                }
            }
            Version::V2 => {
                if let Some(memory) = memory {
                    self.write("memory", "memory.max", &memory);
                }
                match total {
                    Some(..0) => self.write("memory", "memory.swap.max", &"max"),
                    Some(total) => {
                        let swap = total.unsigned_abs().saturating_sub(memory.unwrap_or(0));
                        self.write("memory", "memory.swap.max", &swap);
                    }
                    None => {}
                }
                if let Some(reservation) = memory_reservation {
                    self.write("memory", "memory.low", &reservation);
                }
            }
        }
        Ok(())
    }

    fn cpu(&mut self, resources: &Resources) -> Result<(), StartError> {
        let (quota, period) = match *resources {
            Resources { nano_cpus: Some(_), cpu_quota: Some(_), .. } => {
                return Err(StartError::invalid("CPUs and a CPU quota cannot both be limited"));
            }
            // 100 ms: a billionth of a CPU for one period is a ten-thousandth of a microsecond.
            Resources { nano_cpus: Some(nano), .. } => {
                (Some(i64::try_from(nano / 10_000).unwrap_or(i64::MAX).max(1000)), Some(100_000))
            }
            Resources { cpu_quota, cpu_period, .. } => (cpu_quota, cpu_period),
        };
        if quota.is_none() && period.is_none() && resources.cpu_shares.is_none() {
            return Ok(());
        }
        match self.version("cpu")? {
            Version::V1 => {
                if let Some(period) = period {
                    self.write("cpu", "cpu.cfs_period_us", &period);
                }
                if let Some(quota) = quota {
                    self.write("cpu", "cpu.cfs_quota_us", &quota);
                }
                if let Some(shares) = resources.cpu_shares {
                    self.write("cpu", "cpu.shares", &shares);
                }
            }
            Version::V2 => {
                if quota.is_some() || period.is_some() {
                    let quota = quota.filter(|quota| *quota > 0);
                    let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                    self.write("cpu", "cpu.max", &format!("{quota} {}", period.unwrap_or(100_000)));
                }
                if let Some(shares) = resources.cpu_shares {
                    self.write("cpu", "cpu.weight", &weight(shares));
                }
            }
        }
        Ok(())
    }

    fn cpuset(&mut self, resources: &Resources) -> Result<(), StartError> {
        let files =
            [("cpuset.cpus", &resources.cpuset_cpus), ("cpuset.mems", &resources.cpuset_mems)];
        for (file, value) in files {
            if let Some(value) = value {
                self.version("cpuset")?;
                self.write("cpuset", file, &value);
            }
        }
        Ok(())
    }

    fn pids(&mut self, resources: &Resources) -> Result<(), StartError> {
        if let Some(limit) = resources.pids_limit {
            self.version("pids")?;
            match limit {
                ..0 => self.write("pids", "pids.max", &"max"),
                limit => self.write("pids", "pids.max", &limit),
            }
        }
        Ok(())
    }
}

/// Version 2's weight (1..=10000, 100 by default) for version 1's shares (2..=262144, 1024 by
/// default), so that the defaults meet: the curve that crun and runc use, 10^((l² + 125 l)/612 -
/// 7/34) with l = log2(shares).
fn weight(shares: u64) -> u64 {
    if shares == 0 {
        return 100;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 262144")]
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 10000"
    )]
    let weight = 10f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::{HYBRID, V1, V2, topology};
    use super::*;

    fn check(host: (&str, &str), resources: &Resources, expected: &[(&str, &str)]) {
        let writes = writes(&topology(host), resources).unwrap();
        let writes: Vec<_> = writes.iter().map(|write| (write.file, &*write.value)).collect();
        assert_eq!(writes, expected);
    }

    #[test]
    fn memory() {
        let limited = Resources { memory: Some(1 << 20), ..Resources::default() };
        check(
            V1,
            &limited,
            &[("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "2097152")],
        );
        check(V2, &limited, &[("memory.max", "1048576"), ("memory.swap.max", "1048576")]);
        check(
            HYBRID,
            &limited,
            &[("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "2097152")],
        );
        let unlimited = Resources { memory_swap: Some(-1), ..limited.clone() };
        check(
            V1,
            &unlimited,
            &[("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "-1")],
        );
        check(V2, &unlimited, &[("memory.max", "1048576"), ("memory.swap.max", "max")]);
        let reserved = Resources { memory_reservation: Some(7), ..Resources::default() };
        check(V1, &reserved, &[("memory.soft_limit_in_bytes", "7")]);
        check(V2, &reserved, &[("memory.low", "7")]);
        let odd = Resources { memory_swap: Some(5), ..limited };
        assert_eq!(writes(&topology(V1), &odd).unwrap_err().kind, StartErrorKind::Invalid);
    }

    #[test]
    fn cpu() {
        let half = Resources { nano_cpus: Some(500_000_000), ..Resources::default() };
        check(V1, &half, &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")]);
        check(V2, &half, &[("cpu.max", "50000 100000")]);
        let quota =
            Resources { cpu_quota: Some(-1), cpu_period: Some(20_000), ..Resources::default() };
        check(V1, &quota, &[("cpu.cfs_period_us", "20000"), ("cpu.cfs_quota_us", "-1")]);
        check(V2, &quota, &[("cpu.max", "max 20000")]);
        let shares = Resources { cpu_shares: Some(1024), ..Resources::default() };
        check(V1, &shares, &[("cpu.shares", "1024")]);
        check(V2, &shares, &[("cpu.weight", "100")]);
        assert_eq!([2, 262_144, 0].map(weight), [1, 10_000, 100]);
    }

    #[test]
    fn the_rest() {
        let all = Resources {
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: Some("0".into()),
            pids_limit: Some(-1),
            ..Resources::default()
        };
        let expected = [("cpuset.cpus", "0-1"), ("cpuset.mems", "0"), ("pids.max", "max")];
        check(V1, &all, &expected);
        check(V2, &all, &expected);
        let none = Topology::default();
        assert_eq!(writes(&none, &all).unwrap_err().kind, StartErrorKind::Unavailable);
        assert_eq!(writes(&none, &Resources::default()).unwrap(), []);
    }
}
