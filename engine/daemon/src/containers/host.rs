//! Checking what a client wants of the host, and filling in Docker's and Hull's defaults.

use crate::error::ApiError;
use hull_api::HostConfig;
use hull_sandbox::capability::{self, Capability};
use hull_sandbox::seccomp::Profile;
use hull_sandbox::spec::{Network, Rlimit, Seccomp};
use hull_shim::protocol::{LogConfig, RestartPolicy};
use serde_json::Value;

const DEFAULT_SHM_SIZE: i64 = 64 << 20;
const MIN_MEMORY: i64 = 6 << 20;

/// Limits the kernel knows, by Docker's names.
const RLIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
    "as",
];

/// Refuses what makes no sense or is not there yet, and writes the defaults out, so that
/// inspection shows what holds. `cpus` is the number of CPUs of the host.
///
/// # Errors
/// The first thing that cannot be had, in Docker's words where it has some.
pub(crate) fn check(
    mut host: HostConfig,
    cpus: impl FnOnce() -> u64,
) -> Result<HostConfig, ApiError> {
    check_network(&mut host)?;
    check_namespaces(&host)?;
    check_memory(&mut host)?;
    check_cpu(&mut host, cpus)?;
    check_rest(&host)?;
    rlimits(&host)?;
    capabilities(&host)?;
    security(&host)?;
    log_config(&host)?;
    if host.shm_size < 0 {
        return Err(ApiError::invalid("SHM size can not be less than 0"));
    }
    if host.shm_size == 0 {
        host.shm_size = DEFAULT_SHM_SIZE;
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(ApiError::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if restart_policy(&host.restart_policy)? != RestartPolicy::No && host.auto_remove {
        return Err(ApiError::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    if host.restart_policy.name.is_empty() {
        "no".clone_into(&mut host.restart_policy.name);
    }
    if host.log_config.driver.is_empty() {
        "json-file".clone_into(&mut host.log_config.driver);
    }
    let list = |paths: &[&str]| -> Vec<String> { paths.iter().map(ToString::to_string).collect() };
    if host.privileged {
        (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
    } else {
        host.masked_paths.get_or_insert_with(|| {
            [list(hull_sandbox::DEFAULT_MASKED_PATHS), hull_sandbox::thermal_throttle_paths()]
                .concat()
        });
        host.readonly_paths.get_or_insert_with(|| list(hull_sandbox::DEFAULT_READONLY_PATHS));
    }
    Ok(host)
}

/// When a container is started again.
///
/// # Errors
/// Docker's words for what is no policy.
pub(crate) fn restart_policy(policy: &hull_api::RestartPolicy) -> Result<RestartPolicy, ApiError> {
    let invalid = |why: &str| Err(ApiError::invalid(format!("invalid restart policy: {why}")));
    let count = policy.maximum_retry_count;
    let parsed = match policy.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => match u32::try_from(count) {
            Ok(most) => return Ok(RestartPolicy::OnFailure { most }),
            Err(_) => return invalid("maximum retry count cannot be negative"),
        },
        other => {
            return invalid(&format!(
                "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
                 'unless-stopped'"
            ));
        }
    };
    match count {
        0 => Ok(parsed),
        ..0 => {
            invalid("maximum retry count can only be used with 'on-failure' and cannot be negative")
        }
        _ => invalid("maximum retry count can only be used with 'on-failure'"),
    }
}

fn not_yet(what: &str) -> ApiError {
    ApiError::invalid(format!("{what} is not available in this release"))
}

/// How many CPUs this host gives us. Not asked for in vain: the standard library reads the whole
/// cgroup tree for it.
pub(crate) fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64
}

fn check_network(host: &mut HostConfig) -> Result<(), ApiError> {
    match host.network_mode.as_str() {
        "" | "default" => "none".clone_into(&mut host.network_mode),
        "none" | "host" => {}
        "bridge" => {
            return Err(not_yet("network \"bridge\"")
                .hint("use --network none (the default) or --network host"));
        }
        other => {
            return Err(not_yet(&format!("network {other:?}"))
                .hint("use --network none (the default) or --network host"));
        }
    }
    Ok(())
}

fn check_namespaces(host: &HostConfig) -> Result<(), ApiError> {
    let one_of = |what: &str, value: &str, known: &[&str]| {
        if value.is_empty() || known.contains(&value) {
            Ok(())
        } else {
            Err(not_yet(&format!("{what} mode {value:?}")))
        }
    };
    one_of("user namespace", &host.userns_mode, &["host", "private"])?;
    one_of("pid", &host.pid_mode, &["private"])?;
    one_of("ipc", &host.ipc_mode, &["private"])?;
    one_of("UTS", &host.uts_mode, &["private"])?;
    one_of("cgroup namespace", &host.cgroupns_mode, &["private"])?;
    if host.userns_mode == "private" && uses_host_namespaces(host) {
        return Err(ApiError::invalid(
            "a user namespace of its own cannot be had with --privileged or --network host",
        ));
    }
    Ok(())
}

fn uses_host_namespaces(host: &HostConfig) -> bool {
    host.privileged || host.network_mode == "host"
}

/// Whether the container lives in the host's user namespace.
#[must_use]
pub(crate) fn host_userns(host: &HostConfig) -> bool {
    host.userns_mode == "host" || uses_host_namespaces(host)
}

/// The network namespace of a checked configuration.
#[must_use]
pub(crate) fn network(host: &HostConfig) -> Network {
    if host.network_mode == "host" { Network::Host } else { Network::None }
}

fn check_memory(host: &mut HostConfig) -> Result<(), ApiError> {
    if host.memory < 0 || (host.memory > 0 && host.memory < MIN_MEMORY) {
        return Err(ApiError::invalid("Minimum memory limit allowed is 6MB"));
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(ApiError::invalid(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return Err(ApiError::invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if host.memory_swap < -1 {
        return Err(ApiError::invalid(format!("Invalid memory swap limit {}", host.memory_swap)));
    }
    if host.memory_reservation < 0 || (host.memory > 0 && host.memory < host.memory_reservation) {
        return Err(ApiError::invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    Ok(())
}

fn check_cpu(host: &mut HostConfig, cpus: impl FnOnce() -> u64) -> Result<(), ApiError> {
    if host.nano_cpus > 0 && (host.cpu_period > 0 || host.cpu_quota > 0) {
        let other = if host.cpu_period > 0 { "Period" } else { "Quota" };
        return Err(ApiError::invalid(format!(
            "Conflicting options: Nano CPUs and CPU {other} cannot both be set"
        )));
    }
    if host.nano_cpus != 0 {
        let cpus = cpus();
        let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        if !(10_000_000..=most).contains(&host.nano_cpus) {
            return Err(ApiError::invalid(format!(
                "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            )));
        }
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return Err(ApiError::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return Err(ApiError::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    if host.cpu_shares < 0 {
        return Err(ApiError::invalid(format!("invalid CPU shares {}", host.cpu_shares)));
    }
    if host.cpu_shares > 0 {
        host.cpu_shares = host.cpu_shares.clamp(2, 262_144);
    }
    for (what, list) in [("cpus", &host.cpuset_cpus), ("mems", &host.cpuset_mems)] {
        if !is_cpu_list(list) {
            return Err(ApiError::invalid(format!("Invalid value {list} for cpuset {what}")));
        }
    }
    Ok(())
}

fn is_cpu_list(list: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().ok();
    list.is_empty()
        || list.split(',').all(|part| match part.split_once('-') {
            Some((from, to)) => {
                matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to)
            }
            None => number(part).is_some(),
        })
}

/// Refuses every field that no type names and that says something.
fn check_rest(host: &HostConfig) -> Result<(), ApiError> {
    for (name, value) in &host.rest {
        let says_nothing = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => matches!(number.as_i64(), Some(0 | -1)),
            Value::String(text) => {
                text.is_empty()
                    || matches!(
                        (name.as_str(), text.as_str()),
                        ("VolumeDriver", "local") | ("Isolation", "default") | ("Runtime", "hull")
                    )
            }
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(true) => false,
        };
        if !says_nothing {
            return Err(not_yet(&format!("HostConfig.{name}")));
        }
    }
    Ok(())
}

/// The resource limits, as the sandbox wants them.
///
/// # Errors
/// Unknown names, a soft limit over the hard one.
pub(crate) fn rlimits(host: &HostConfig) -> Result<Vec<Rlimit>, ApiError> {
    host.ulimits
        .iter()
        .map(|limit| {
            let name = limit.name.to_ascii_lowercase();
            if !RLIMITS.contains(&name.as_str()) {
                return Err(ApiError::invalid(format!("invalid ulimit type: {}", limit.name)));
            }
            let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
            let (soft, hard) = (value(limit.soft), value(limit.hard));
            if soft > hard {
                return Err(ApiError::invalid(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                    limit.soft, limit.hard
                )));
            }
            Ok(Rlimit { name, soft, hard })
        })
        .collect()
}

/// The bounding set.
///
/// # Errors
/// Words that name no capability.
pub(crate) fn capabilities(host: &HostConfig) -> Result<Vec<Capability>, ApiError> {
    if host.privileged {
        return Ok(Capability::ALL.to_vec());
    }
    capability::adjust(capability::DEFAULT, &host.cap_add, &host.cap_drop)
        .map_err(|error| ApiError::invalid(error.to_string()))
}

/// What `SecurityOpt` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) seccomp: Seccomp,
    pub(crate) no_new_privileges: bool,
}

/// Reads `SecurityOpt`. Without a word on it, privileges cannot grow, except in a privileged
/// container.
///
/// # Errors
/// Unknown options, a seccomp profile that is none.
pub(crate) fn security(host: &HostConfig) -> Result<Security, ApiError> {
    let mut security = Security {
        seccomp: if host.privileged { Seccomp::Unconfined } else { Seccomp::Default },
        no_new_privileges: !host.privileged,
    };
    for option in &host.security_opt {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let invalid = || ApiError::invalid(format!("invalid --security-opt: {option:?}"));
        match (name, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin" | "default") => security.seccomp = Seccomp::Default,
            ("seccomp", profile) if profile.trim_start().starts_with('{') => {
                Profile::parse(profile).map_err(|error| {
                    ApiError::chain(hull_api::ErrorKind::Invalid, &error)
                        .context("invalid seccomp profile")
                })?;
                security.seccomp = Seccomp::Profile(profile.to_owned());
            }
            ("seccomp", _) => {
                return Err(ApiError::invalid(format!("invalid seccomp profile {value:?}"))
                    .hint("give unconfined, builtin or the profile's text"));
            }
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor" | "label", _) => {
                return Err(not_yet(&format!("security option {option:?}")));
            }
            _ => return Err(invalid()),
        }
    }
    Ok(security)
}

/// How the log is kept.
///
/// # Errors
/// Drivers and options that are not there.
pub(crate) fn log_config(host: &HostConfig) -> Result<LogConfig, ApiError> {
    let mut log = LogConfig::default();
    match host.log_config.driver.as_str() {
        "" | "json-file" => {}
        "none" => log.disabled = true,
        other => return Err(not_yet(&format!("log driver {other:?}"))),
    }
    for (name, value) in &host.log_config.config {
        let invalid = || ApiError::invalid(format!("invalid value {value:?} for log opt '{name}'"));
        match name.as_str() {
            _ if log.disabled => {
                return Err(ApiError::invalid(format!(
                    "unknown log opt '{name}' for none log driver"
                )));
            }
            // What `logs --details` shows.
            "labels" | "env" => {}
            "max-size" if value == "-1" => log.max_size = None,
            "max-size" => log.max_size = Some(size(value).ok_or_else(invalid)?),
            "max-file" => {
                log.max_file = value.parse().ok().filter(|&files| files > 0).ok_or_else(invalid)?;
            }
            _ => {
                return Err(ApiError::invalid(format!(
                    "unknown log opt '{name}' for json-file log driver"
                )));
            }
        }
    }
    Ok(log)
}

/// Reads `10m`, `1.5g`, `4096`, with or without `b`: powers of 1024.
pub(crate) fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, shift) = match bare.as_bytes().last()? {
        b'k' => (&bare[..bare.len() - 1], 10),
        b'm' => (&bare[..bare.len() - 1], 20),
        b'g' => (&bare[..bare.len() - 1], 30),
        b't' => (&bare[..bare.len() - 1], 40),
        _ => (bare, 0),
    };
    let number = number.trim();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = 1_u64 << shift;
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
    whole.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests;
