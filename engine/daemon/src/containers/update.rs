//! Changing a container's limits and its restart policy.

use super::host;
use super::spec::resources;
use super::start::renew;
use super::stored::{Container, is_running};
use super::wait::run_directory;
use crate::error::ApiError;
use crate::events;
use crate::http::{Request, Response, json};
use crate::service::{Engine, Service};
use hull_api::{ContainerUpdateBody, ContainerUpdateResponse, HostConfig};
use hull_sandbox::Cgroup;
use hull_sandbox::spec::Resources;
use hull_shim::client::Shim;
use hull_shim::protocol::{Failure, RestartPolicy};
use std::os::fd::AsFd;

/// `POST /containers/{id}/update`: what the body names changes, in the record and, while the
/// container runs, at once.
pub(crate) async fn update(
    service: &Service,
    text: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let body: ContainerUpdateBody = Request::json(request.body).await?;
    let text = text.to_owned();
    service.run_long(move |engine| change(engine, &text, body)).await?;
    json(&ContainerUpdateResponse::default())
}

fn change(engine: &Engine, text: &str, body: ContainerUpdateBody) -> Result<(), ApiError> {
    let store = engine.store()?;
    let (mut container, state) = Container::find_with_state(store, text)?;
    let before = resources(&container.stored.host);
    let policy_before = host::restart_policy(&container.stored.host.restart_policy)?;
    let host = merged(container.stored.host.clone(), body)?;
    let policy = host::restart_policy(&host.restart_policy)?;
    if host.auto_remove && policy != RestartPolicy::No {
        return Err(ApiError::conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ));
    }
    container.stored.host = host;
    let after = resources(&container.stored.host);
    let id = container.record.id.clone();
    let running = is_running(state.as_ref());
    // The cgroup first: it may refuse, and then nothing has changed. One that waits to be
    // started again has none.
    if running && after != before && state.is_some_and(|state| state.pid != 0) {
        apply(&id, &changed(&before, after))?;
    }
    let config =
        serde_json::to_value(&container.stored).map_err(|error| ApiError::internal(&error))?;
    container.record = store.update_container(&id, |record| record.config = config)?;
    engine.happened(&events::container(&container, "update"));
    let concerns_shim = policy != RestartPolicy::No || policy_before != RestartPolicy::No;
    if running
        && concerns_shim
        && let Some(run) = run_directory(engine, &id)?
    {
        renew(store, &container, &Shim::new(run.as_fd()))?;
    }
    Ok(())
}

/// The host's part with what the body says, checked as at a create.
fn merged(mut host: HostConfig, body: ContainerUpdateBody) -> Result<HostConfig, ApiError> {
    let number = |to: &mut i64, from: i64| {
        if from != 0 {
            *to = from;
        }
    };
    let text = |to: &mut String, from: String| {
        if !from.is_empty() {
            *to = from;
        }
    };
    if body.memory > 0 && body.memory_swap == 0 && host.memory_swap > 0 {
        // What was worked out from the old limit is not a wish.
        let wished = host.memory_swap != host.memory.saturating_mul(2);
        if wished && body.memory > host.memory_swap {
            return Err(ApiError::conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the \
                 memoryswap at the same time",
            ));
        }
        if !wished {
            host.memory_swap = 0;
        }
    }
    if body.nano_cpus > 0 && (host.cpu_quota > 0 || host.cpu_period > 0) {
        return Err(ApiError::conflict(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ));
    }
    if host.nano_cpus > 0 && (body.cpu_quota > 0 || body.cpu_period > 0) {
        let what = if body.cpu_quota > 0 { "Quota" } else { "Period" };
        return Err(ApiError::conflict(format!(
            "Conflicting options: CPU {what} cannot be updated as NanoCPUs has already been set"
        )));
    }
    number(&mut host.memory, body.memory);
    number(&mut host.memory_swap, body.memory_swap);
    number(&mut host.memory_reservation, body.memory_reservation);
    number(&mut host.nano_cpus, body.nano_cpus);
    number(&mut host.cpu_period, body.cpu_period);
    number(&mut host.cpu_quota, body.cpu_quota);
    number(&mut host.cpu_shares, body.cpu_shares);
    text(&mut host.cpuset_cpus, body.cpuset_cpus);
    text(&mut host.cpuset_mems, body.cpuset_mems);
    if let Some(pids) = body.pids_limit {
        host.pids_limit = Some(if pids == 0 { -1 } else { pids });
    }
    if let Some(policy) = body.restart_policy.filter(|policy| !policy.name.is_empty()) {
        host.restart_policy = policy;
    }
    host.rest.extend(body.rest);
    let auto_remove = std::mem::take(&mut host.auto_remove);
    let host = host::check(host, host::cpus)?;
    Ok(HostConfig { auto_remove, ..host })
}

/// Only what differs: what stays may be no longer what the kernel would take.
fn changed(before: &Resources, after: Resources) -> Resources {
    fn new<T: PartialEq>(before: &Option<T>, after: Option<T>) -> Option<T> {
        if *before == after { None } else { after }
    }
    let memory = before.memory != after.memory || before.memory_swap != after.memory_swap;
    let cpu = before.nano_cpus != after.nano_cpus
        || before.cpu_quota != after.cpu_quota
        || before.cpu_period != after.cpu_period;
    Resources {
        // These are written together.
        memory: after.memory.filter(|_| memory),
        memory_swap: after.memory_swap.filter(|_| memory),
        nano_cpus: after.nano_cpus.filter(|_| cpu),
        cpu_quota: after.cpu_quota.filter(|_| cpu),
        cpu_period: after.cpu_period.filter(|_| cpu),
        memory_reservation: new(&before.memory_reservation, after.memory_reservation),
        cpu_shares: new(&before.cpu_shares, after.cpu_shares),
        cpuset_cpus: new(&before.cpuset_cpus, after.cpuset_cpus),
        cpuset_mems: new(&before.cpuset_mems, after.cpuset_mems),
        pids_limit: new(&before.pids_limit, after.pids_limit),
    }
}

fn apply(id: &str, resources: &Resources) -> Result<(), ApiError> {
    let cgroup = Cgroup::open(id).map_err(|error| ApiError::internal(&error))?;
    cgroup.update(resources).map_err(|error| {
        ApiError::from(Failure::from(error)).context(&format!("Cannot update container {id}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(before: &str, body: &str) -> Result<HostConfig, String> {
        let before = serde_json::from_str(before).unwrap();
        let body = serde_json::from_str(body).unwrap();
        merged(before, body).map_err(|error| error.message)
    }

    #[test]
    fn what_is_named_changes_and_the_rest_stays() {
        let host = update(
            r#"{"Memory":67108864,"MemorySwap":134217728,"CpuShares":512,"AutoRemove":true}"#,
            r#"{"Memory":268435456,"PidsLimit":0,"RestartPolicy":{"Name":""},"BlkioWeight":0}"#,
        )
        .unwrap();
        assert_eq!((host.memory, host.memory_swap), (256 << 20, 512 << 20));
        assert_eq!((host.cpu_shares, host.pids_limit), (512, Some(-1)));
        assert!(host.auto_remove);
    }

    #[test]
    fn nonsense_is_refused() {
        for (before, body) in [
            (r#"{"Memory":67108864,"MemorySwap":100000000}"#, r#"{"Memory":268435456}"#),
            (r#"{"CpuQuota":50000}"#, r#"{"NanoCpus":500000000}"#),
            ("{}", r#"{"BlkioWeight":300}"#),
            ("{}", r#"{"RestartPolicy":{"Name":"sometimes"}}"#),
            ("{}", r#"{"Memory":1}"#),
        ] {
            assert!(update(before, body).is_err(), "{before} {body}");
        }
    }
}
