//! Everything that is known of one container.

use super::list::{sizes, status_word};
use super::mounts::mount_points;
use super::stored::{Container, is_running};
use super::{health, merge, spec};
use crate::error::ApiError;
use crate::http::{Query, Response, json};
use crate::service::{Engine, Service};
use hull_api::{ContainerInspectResponse, DriverData, EndpointSettings, NetworkSettings};
use hull_shim::state::{ContainerState, Status};

const NEVER: &str = "0001-01-01T00:00:00Z";

/// `GET /containers/{id}/json`.
pub(crate) async fn inspect(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let (text, size) = (text.to_owned(), query.flag("size"));
    json(&service.run(move |engine| response(engine, &text, size)).await?)
}

fn response(engine: &Engine, text: &str, size: bool) -> Result<ContainerInspectResponse, ApiError> {
    let store = engine.store()?;
    let (container, state) = Container::find_with_state(store, text)?;
    let sizes = if size { Some(sizes(&container, &store.usage()?)) } else { None };
    let hostname = spec::hostname(&container);
    let Container { record, stored } = container;
    let mut command = merge::command_line(&stored.config);
    let args = if command.is_empty() { Vec::new() } else { command.split_off(1) };
    let log = store.container_directory(&record.id).join("logs").join(super::logs::FILE);
    let mode = store.layer_mode()?.mode.as_str().to_owned();
    let mut config = stored.config;
    config.hostname = hostname;
    let network_mode = stored.host.network_mode.clone();
    Ok(ContainerInspectResponse {
        path: command.pop().unwrap_or_default(),
        args,
        state: shown_state(state.as_ref()),
        restart_count: state.as_ref().map_or(0, |state| state.restart_count.into()),
        image: record.image_id.to_string(),
        log_path: log.display().to_string(),
        name: format!("/{}", record.name),
        driver: mode.clone(),
        platform: "linux".to_owned(),
        exec_ids: exec_ids(engine, &record.id, is_running(state.as_ref())),
        graph_driver: DriverData { name: mode, ..Default::default() },
        size_rw: sizes.map(|(rw, _)| rw),
        size_root_fs: sizes.map(|(_, all)| all),
        mounts: mount_points(&stored.mounts, |name| store.volume_path(name).display().to_string()),
        network_settings: NetworkSettings {
            networks: [(network_mode, EndpointSettings::default())].into(),
            ..Default::default()
        },
        host_config: stored.host,
        config,
        created: record.created,
        id: record.id,
        ..Default::default()
    })
}

fn exec_ids(engine: &Engine, id: &str, running: bool) -> Option<Vec<String>> {
    let execs = engine.live().execs();
    let own = execs.iter().filter(|(_, exec)| running && exec.container_id() == id);
    let ids: Vec<String> = own.map(|(id, _)| id.clone()).collect();
    (!ids.is_empty()).then_some(ids)
}

fn shown_state(state: Option<&ContainerState>) -> hull_api::ContainerState {
    let running = is_running(state);
    let time = |time: Option<&String>| time.cloned().unwrap_or_else(|| NEVER.to_owned());
    hull_api::ContainerState {
        status: status_word(state).to_owned(),
        running,
        paused: state.is_some_and(|state| state.paused),
        restarting: state.is_some_and(|state| state.status == Status::Restarting),
        oom_killed: state.is_some_and(|state| state.oom_killed),
        pid: state.filter(|_| running).map_or(0, |state| state.pid.into()),
        exit_code: state.map_or(0, |state| state.exit_code.into()),
        error: state.map(|state| state.error.clone()).unwrap_or_default(),
        started_at: time(state.and_then(|state| state.started_at.as_ref())),
        finished_at: time(state.and_then(|state| state.finished_at.as_ref())),
        health: state.and_then(|state| state.health.as_ref()).map(health::shown),
        ..Default::default()
    }
}
