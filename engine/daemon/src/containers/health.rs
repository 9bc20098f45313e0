//! Health checks as clients and images write them.

use super::{host, spec};
use crate::error::ApiError;
use hull_api::{ContainerConfig, Health, HealthcheckResult};
use hull_oci::Healthcheck;
use hull_sandbox::spec::Process;
use hull_shim::protocol::HealthCheck;
use std::time::Duration;

use super::stored::Container;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// The shortest time that can be asked for, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Fills what the client left open with what the image says.
#[must_use]
pub(crate) fn merge(own: Option<Healthcheck>, image: Option<Healthcheck>) -> Option<Healthcheck> {
    let (Some(mut own), Some(image)) = (own.clone(), image.clone()) else { return own.or(image) };
    if own.test.is_empty() {
        own.test = image.test;
    }
    for (value, default) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *value == 0 {
            *value = default;
        }
    }
    Some(own)
}

/// Refuses what makes no sense.
///
/// # Errors
/// Docker's words.
pub(crate) fn check(health: &Healthcheck) -> Result<(), ApiError> {
    for (name, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value != 0 && value < SHORTEST {
            return Err(ApiError::invalid(format!(
                "{name} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    if health.retries < 0 {
        return Err(ApiError::invalid("Retries in Healthcheck cannot be negative"));
    }
    match health.test.as_slice() {
        [] => Ok(()),
        [kind] if kind == "NONE" => Ok(()),
        [kind, _, ..] if matches!(kind.as_str(), "CMD" | "CMD-SHELL") => Ok(()),
        [kind, ..] if matches!(kind.as_str(), "CMD" | "CMD-SHELL") => {
            Err(ApiError::invalid(format!("Healthcheck of kind {kind} names no command")))
        }
        [kind, ..] => {
            Err(ApiError::invalid(format!("Unknown healthcheck type {kind:?} (expected 'CMD')")))
        }
    }
}

/// The probe of a container, if it has one.
///
/// # Errors
/// Those of the checks that were made when it was created.
pub(crate) fn probe(container: &Container) -> Result<Option<HealthCheck>, ApiError> {
    let (config, host) = (&container.stored.config, &container.stored.host);
    let Some(health) = &config.healthcheck else { return Ok(None) };
    let Some(args) = command(config, health) else { return Ok(None) };
    let capabilities = host::capabilities(host)?;
    let process = Process {
        args,
        env: spec::base_environment(config, &spec::hostname(container)),
        cwd: spec::working_directory(&config.working_dir),
        user: config.user.clone(),
        additional_groups: host.group_add.clone(),
        terminal: false,
        terminal_size: None,
        capabilities: capabilities.iter().map(|capability| capability.name().to_owned()).collect(),
        no_new_privileges: host::security(host)?.no_new_privileges,
        rlimits: host::rlimits(host)?,
    };
    let or = |nanoseconds: i64, default: Duration| match u64::try_from(nanoseconds) {
        Ok(nanoseconds @ 1..) => Duration::from_nanos(nanoseconds),
        _ => default,
    };
    Ok(Some(HealthCheck {
        process,
        interval: or(health.interval, INTERVAL),
        timeout: or(health.timeout, TIMEOUT),
        retries: u32::try_from(health.retries).ok().filter(|&count| count > 0).unwrap_or(RETRIES),
        start_period: or(health.start_period, Duration::ZERO),
        start_interval: or(health.start_interval, START_INTERVAL),
    }))
}

fn command(config: &ContainerConfig, health: &Healthcheck) -> Option<Vec<String>> {
    let (kind, words) = health.test.split_first()?;
    match kind.as_str() {
        "CMD" => Some(words.to_vec()),
        "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| ["/bin/sh", "-c"].map(str::to_owned).to_vec());
            Some([&shell, words].concat())
        }
        _ => None,
    }
}

/// What the probes found, as inspection shows it.
#[must_use]
pub(crate) fn shown(health: &hull_shim::state::Health) -> Health {
    let result = |probe: &hull_shim::state::Probe| HealthcheckResult {
        start: probe.start.clone(),
        end: probe.end.clone(),
        exit_code: probe.exit_code.into(),
        output: probe.output.clone(),
    };
    Health {
        status: health.status.as_str().to_owned(),
        failing_streak: health.failing_streak.into(),
        log: health.log.iter().map(result).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(words: &[&str]) -> Healthcheck {
        let test = words.iter().map(|&word| word.to_owned()).collect();
        Healthcheck { test, ..Healthcheck::default() }
    }

    #[test]
    fn what_the_client_leaves_open_is_the_images() {
        let image = Healthcheck { interval: 5, retries: 2, ..test(&["CMD", "a"]) };
        assert_eq!(merge(None, Some(image.clone())), Some(image.clone()));
        let own = Healthcheck { interval: 7, ..Healthcheck::default() };
        let merged = merge(Some(own), Some(image.clone())).unwrap();
        assert_eq!(merged, Healthcheck { interval: 7, ..image.clone() });
        assert_eq!(merge(Some(test(&["NONE"])), Some(image)).unwrap().test, ["NONE"]);
        assert_eq!(merge(None, None), None);
    }

    #[test]
    fn kinds_and_times() {
        for good in [&["CMD", "x"][..], &["CMD-SHELL", "x"], &["NONE"], &[]] {
            assert!(check(&test(good)).is_ok(), "{good:?}");
        }
        for bad in [&["CMD"][..], &["x"], &["CMD-SHELL"]] {
            assert!(check(&test(bad)).is_err(), "{bad:?}");
        }
        let short = Healthcheck { timeout: 1000, ..test(&["CMD", "x"]) };
        assert!(check(&short).unwrap_err().message.starts_with("Timeout in Healthcheck"));
    }
}
