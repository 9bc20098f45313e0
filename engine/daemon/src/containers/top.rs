//! The processes of a container, as `ps` would show them. Read from `/proc`: no program is run.

mod columns;
mod options;
mod process;

use self::options::Listing;
use self::process::{Host, Process};
use super::stored::{Container, is_running};
use crate::error::ApiError;
use crate::events;
use crate::http::{Query, Response, json};
use crate::service::{Engine, Service};
use hull_api::ContainerTopResponse;
use hull_sandbox::Cgroup;
use hull_shim::state::Status;

/// `GET /containers/{id}/top`.
pub(crate) async fn top(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let listing = Listing::parse(query.get("ps_args").unwrap_or("-ef"))?;
    let text = text.to_owned();
    json(&service.run(move |engine| list(engine, &text, &listing)).await?)
}

fn list(engine: &Engine, text: &str, listing: &Listing) -> Result<ContainerTopResponse, ApiError> {
    let (container, state) = Container::find_with_state(engine.store()?, text)?;
    let id = &container.record.id;
    if !is_running(state.as_ref()) {
        return Err(ApiError::conflict(format!("container {id} is not running")));
    }
    if state.is_some_and(|state| state.status == Status::Restarting) {
        return Err(ApiError::conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        )));
    }
    let cgroup = Cgroup::open(id).map_err(|error| ApiError::internal(&error))?;
    let mut pids = cgroup.pids().map_err(|error| ApiError::internal(&error))?;
    pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    let host = Host::read()?;
    engine.happened(&events::container(&container, "top"));
    let processes = pids.into_iter().filter_map(|pid| {
        // One that ended since is not listed.
        let process = Process::read(pid.as_raw_nonzero().get(), &host)?;
        Some(listing.columns.iter().map(|column| column.value(&process, &host)).collect())
    });
    Ok(ContainerTopResponse {
        titles: listing.columns.iter().map(|column| column.title.clone()).collect(),
        processes: processes.collect(),
    })
}
