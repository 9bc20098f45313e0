//! Listing containers.

use super::mounts::mount_points;
use super::stored::{Container, is_running, state_of};
use super::{merge, time};
use crate::error::ApiError;
use crate::http::{Filters, Query, Response, json};
use crate::service::{Engine, Service};
use hull_api::{ContainerSummary, SummaryHostConfig, SummaryNetworkSettings};
use hull_oci::{Digest, Reference};
use hull_shim::state::{ContainerState, HealthStatus, Status};
use hull_store::{Store, Usage};
use jiff::Timestamp;
use std::collections::HashMap;

const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "health", "id", "label", "label!", "name", "network", "since",
    "status", "volume",
];
const HEALTHS: &[&str] = &["starting", "healthy", "unhealthy", "none"];
const STATUSES: &[&str] =
    &["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// One container with its state.
type Listed = (Container, Option<ContainerState>);

/// `GET /containers/json`.
pub(crate) async fn list(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let filters = query.filters()?;
    // Clients say -1 for all of them.
    let limit = query.number::<i64>("limit")?.filter(|&limit| limit > 0);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let (all, size) = (query.flag("all"), query.flag("size"));
    check(&filters)?;
    let summaries =
        service.run(move |engine| summaries(engine, &filters, all, limit, size)).await?;
    json(&summaries)
}

fn check(filters: &Filters) -> Result<(), ApiError> {
    filters.only(FILTERS)?;
    for status in filters.get("status") {
        if !STATUSES.contains(&status.as_str()) {
            return Err(ApiError::invalid(format!("invalid filter 'status={status}'")));
        }
    }
    for health in filters.get("health") {
        if !HEALTHS.contains(&health.as_str()) {
            return Err(ApiError::invalid(format!("invalid filter 'health={health}'")));
        }
    }
    for code in filters.get("exited") {
        if code.parse::<i32>().is_err() {
            return Err(ApiError::invalid(format!("invalid filter 'exited={code}'")));
        }
    }
    Ok(())
}

/// Every container, for disk usage.
pub(crate) fn all_with_size(engine: &Engine) -> Result<Vec<ContainerSummary>, ApiError> {
    summaries(engine, &Filters::default(), true, None, true)
}

fn summaries(
    engine: &Engine,
    filters: &Filters,
    all: bool,
    limit: Option<usize>,
    size: bool,
) -> Result<Vec<ContainerSummary>, ApiError> {
    let store = engine.store()?;
    let everything = load(store)?;
    let all = all
        || limit.is_some()
        || ["status", "exited"].iter().any(|name| !filters.get(name).is_empty());
    let bounds = Bounds::new(filters, &everything)?;
    let usage = if size { Some(store.usage()?) } else { None };
    let mut images = HashMap::new();
    everything
        .iter()
        .filter(|(_, state)| all || is_running(state.as_ref()))
        .filter(|listed| matches(filters, listed) && bounds.hold(&listed.0))
        .take(limit.unwrap_or(usize::MAX))
        .map(|listed| summary(store, listed, usage.as_ref(), &mut images))
        .collect()
}

/// All containers, the youngest first. One whose record this engine did not write is left out
/// with a warning.
fn load(store: &Store) -> Result<Vec<Listed>, ApiError> {
    let mut listed = Vec::new();
    // One after the other: a record as it is on disk takes much more memory than what is kept.
    for id in store.container_ids()? {
        let record = match store.container(&id) {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(container_id = id, %error, "a container went away");
                continue;
            }
        };
        let loaded = state_of(store, &id)
            .and_then(|state| state.map(|state| Ok((Container::new(record)?, state))).transpose());
        match loaded {
            Ok(container) => listed.extend(container),
            Err(error) => tracing::warn!(container_id = id, %error, "skipped a container"),
        }
    }
    listed.sort_by(|(left, _), (right, _)| right.record.created.cmp(&left.record.created));
    Ok(listed)
}

/// Times given as containers: older than, younger than.
struct Bounds {
    before: Option<String>,
    since: Option<String>,
}

impl Bounds {
    fn new(filters: &Filters, everything: &[Listed]) -> Result<Self, ApiError> {
        let created = |name: &str| {
            let Some(text) = filters.get(name).first() else { return Ok(None) };
            everything
                .iter()
                .map(|(container, _)| &container.record)
                .find(|record| record.name == *text || record.id.starts_with(text.as_str()))
                .map(|record| Some(record.created.clone()))
                .ok_or_else(|| ApiError::not_found(format!("No such container: {text}")))
        };
        Ok(Self { before: created("before")?, since: created("since")? })
    }

    fn hold(&self, container: &Container) -> bool {
        let created = &container.record.created;
        self.before.as_ref().is_none_or(|before| created < before)
            && self.since.as_ref().is_none_or(|since| created > since)
    }
}

fn matches(filters: &Filters, (container, state): &Listed) -> bool {
    let (record, stored) = (&container.record, &container.stored);
    let volume_matches = |wanted: &String| {
        stored.mounts.iter().any(|mount| mount.destination == *wanted)
            || record.volumes.contains(wanted)
    };
    filters.any("id", |wanted| record.id.starts_with(wanted.as_str()))
        && filters.any("name", |wanted| name_matches(&record.name, wanted))
        && filters.any("status", |wanted| wanted == status_word(state.as_ref()))
        && filters.any("health", |wanted| wanted == health_word(state.as_ref()))
        && filters.any("exited", |wanted| has_exited_with(state.as_ref(), wanted))
        && filters.any("network", |wanted| *wanted == stored.host.network_mode)
        && filters.any("ancestor", |wanted| is_image(container, wanted))
        && filters.any("volume", volume_matches)
        && filters.labels("label", &stored.config.labels)
}

fn has_exited_with(state: Option<&ContainerState>, code: &str) -> bool {
    state.is_some_and(|state| state.status == Status::Exited && code.parse() == Ok(state.exit_code))
}

/// Whether a name holds the text; `^` and `$` bind it to the name's ends, a slash is Docker's.
fn name_matches(name: &str, wanted: &str) -> bool {
    let (wanted, at_start) = wanted.strip_prefix('^').map_or((wanted, false), |rest| (rest, true));
    let (wanted, at_end) = wanted.strip_suffix('$').map_or((wanted, false), |rest| (rest, true));
    let (wanted, at_start) =
        wanted.strip_prefix('/').map_or((wanted, at_start), |rest| (rest, true));
    match (at_start, at_end) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

/// Whether a container is of an image named by reference, ID or a prefix of the ID.
fn is_image(container: &Container, wanted: &str) -> bool {
    let record = &container.record;
    let id = record.image_id.to_string();
    let reference = |text: &str| text.parse::<Reference>().map(Reference::with_default_tag).ok();
    let same = reference(&record.image_name).is_some_and(|own| reference(wanted) == Some(own));
    let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    same || (hex.len() >= 4 && record.image_id.hex().starts_with(hex)) || id == wanted
}

/// Docker's word for a state.
#[must_use]
pub(crate) fn status_word(state: Option<&ContainerState>) -> &'static str {
    match state.map(|state| state.status) {
        None | Some(Status::Created) => "created",
        Some(Status::Running) if state.is_some_and(|state| state.paused) => "paused",
        Some(Status::Running) => "running",
        Some(Status::Restarting) => "restarting",
        Some(Status::Exited) => "exited",
    }
}

/// Docker's word for what is known of a container's health.
fn health_word(state: Option<&ContainerState>) -> &'static str {
    state.and_then(|state| state.health.as_ref()).map_or("none", |health| health.status.as_str())
}

/// Docker's sentence for a state.
fn status_text(state: Option<&ContainerState>, now: Timestamp) -> String {
    let since = |time: Option<&String>| {
        let time = time.and_then(|time| time.parse::<Timestamp>().ok()).unwrap_or(now);
        time::human(now.duration_since(time))
    };
    match state {
        Some(state) if state.status == Status::Running => {
            let up = format!("Up {}", since(state.started_at.as_ref()));
            match &state.health {
                _ if state.paused => format!("{up} (Paused)"),
                Some(health) if health.status == HealthStatus::Starting => {
                    format!("{up} (health: starting)")
                }
                Some(health) => format!("{up} ({})", health.status.as_str()),
                None => up,
            }
        }
        Some(state) if state.status == Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at.as_ref()))
        }
        Some(state) if state.status == Status::Exited => {
            format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at.as_ref()))
        }
        _ => "Created".to_owned(),
    }
}

fn summary(
    store: &Store,
    (container, state): &Listed,
    usage: Option<&Usage>,
    images: &mut HashMap<String, Option<Digest>>,
) -> Result<ContainerSummary, ApiError> {
    let (record, stored) = (&container.record, &container.stored);
    let created = record.created.parse::<Timestamp>().map_or(0, Timestamp::as_second);
    let sizes = usage.map(|usage| sizes(container, usage));
    Ok(ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: image_name(store, container, images),
        image_id: record.image_id.to_string(),
        command: shown_command(&merge::command_line(&stored.config)),
        created,
        ports: Vec::new(),
        size_rw: sizes.map(|(rw, _)| rw),
        size_root_fs: sizes.map(|(_, all)| all),
        labels: stored.config.labels.clone(),
        state: status_word(state.as_ref()).to_owned(),
        status: status_text(state.as_ref(), Timestamp::now()),
        host_config: SummaryHostConfig {
            network_mode: stored.host.network_mode.clone(),
            annotations: stored.host.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings {
            networks: [(stored.host.network_mode.clone(), hull_api::EndpointSettings::default())]
                .into(),
        },
        mounts: mount_points(&stored.mounts, |name| store.volume_path(name).display().to_string()),
    })
}

/// The name it was created from, while that still means the same image; otherwise the image ID.
fn image_name(
    store: &Store,
    container: &Container,
    images: &mut HashMap<String, Option<Digest>>,
) -> String {
    let record = &container.record;
    let current = images.entry(record.image_name.clone()).or_insert_with(|| {
        crate::images::resolve_image(store, &record.image_name, None)
            .ok()
            .map(|image| image.image_id)
    });
    if *current == Some(record.image_id.clone()) {
        record.image_name.clone()
    } else {
        record.image_id.to_string()
    }
}

/// Bytes that the container wrote, and those with its image's layers.
pub(crate) fn sizes(container: &Container, usage: &Usage) -> (i64, i64) {
    let layers = container.record.layers.iter().filter_map(|layer| usage.layers.get(layer));
    let below: u64 = layers.sum();
    let own = usage.writable.get(&container.record.id).copied().unwrap_or_default();
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    (signed(own), signed(own + below))
}

/// Docker's way to write a command line: words with spaces in quotes.
fn shown_command(words: &[String]) -> String {
    let shown = words.iter().enumerate().map(|(place, word)| {
        if place > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: Status) -> ContainerState {
        ContainerState {
            status,
            exit_code: 3,
            started_at: Some("2024-01-01T00:00:00Z".to_owned()),
            finished_at: Some("2024-01-01T00:01:00Z".to_owned()),
            ..ContainerState::running(0, None)
        }
    }

    #[test]
    fn statuses() {
        let now = "2024-01-01T01:00:00Z".parse().unwrap();
        let text = |state: Option<ContainerState>| status_text(state.as_ref(), now);
        assert_eq!(text(None), "Created");
        assert_eq!(text(Some(state(Status::Created))), "Created");
        assert_eq!(text(Some(state(Status::Running))), "Up About an hour");
        assert_eq!(text(Some(state(Status::Exited))), "Exited (3) 59 minutes ago");
        assert_eq!(text(Some(state(Status::Restarting))), "Restarting (3) 59 minutes ago");
        let paused = ContainerState { paused: true, ..state(Status::Running) };
        assert_eq!(text(Some(paused)), "Up About an hour (Paused)");
        let health = Some(hull_shim::state::Health::default());
        let starting = ContainerState { health, ..state(Status::Running) };
        assert_eq!(text(Some(starting)), "Up About an hour (health: starting)");
        assert!(has_exited_with(Some(&state(Status::Exited)), "3"));
        assert!(!has_exited_with(Some(&state(Status::Running)), "3"));
    }

    #[test]
    fn names() {
        for (wanted, yes) in [
            ("eb", true),
            ("web", true),
            ("^web$", true),
            ("/web", true),
            ("^/web$", true),
            ("^eb", false),
            ("we$", false),
            ("x", false),
        ] {
            assert_eq!(name_matches("web", wanted), yes, "{wanted}");
        }
    }

    #[test]
    fn commands() {
        let words = ["sh", "-c", "a b"].map(str::to_owned);
        assert_eq!(shown_command(&words), "sh -c 'a b'");
    }

    #[test]
    fn unknown_filters_are_refused() {
        for bad in [r#"{"x":["y"]}"#, r#"{"status":["asleep"]}"#, r#"{"exited":["x"]}"#] {
            assert!(check(&Filters::parse(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
