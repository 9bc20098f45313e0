//! `commit`: a container's changes as a new image.

use std::sync::Arc;

use hull_api::{ContainerConfig, ErrorKind};
use hull_oci::RuntimeConfig;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::changes::{stubs, upper_and_lower};
use super::control::{freeze, thaw};
use super::merge::variable;
use super::stored::{Container, is_running};
use crate::error::ApiError;
use crate::events;
use crate::http::{Query, Request, Response, json_with};
use crate::images::{CommitOptions, Images, Parent};
use crate::service::{Engine, Service};

/// Answer of `POST /commit`.
#[derive(Serialize)]
struct Committed {
    #[serde(rename = "Id")]
    id: String,
}

/// `POST /commit`.
pub(crate) async fn commit(service: &Service, request: Request) -> Result<Response, ApiError> {
    let query = request.query;
    let config: Option<ContainerConfig> = Request::json_or_default(request.body).await?;
    let id = service.run_long(move |engine| run(engine, &query, config)).await?;
    json_with(StatusCode::CREATED, &Committed { id })
}

fn run(
    engine: &Arc<Engine>,
    query: &Query,
    config: Option<ContainerConfig>,
) -> Result<String, ApiError> {
    let store = engine.store()?;
    let text = query.get("container").unwrap_or_default();
    let (container, state) = Container::find_with_state(store, text)?;
    let own = runtime(&container.stored.config)?;
    let options = CommitOptions {
        repository: query.get("repo").map(str::to_owned),
        tag: query.get("tag").map(str::to_owned),
        author: query.get("author").unwrap_or_default().to_owned(),
        comment: query.get("comment").unwrap_or_default().to_owned(),
        created_by: own.cmd.join(" "),
        changes: query.all("changes").map(str::to_owned).collect(),
        runtime: match config {
            Some(config) => filled(runtime(&config)?, own),
            None => own,
        },
    };
    let record = &container.record;
    let parent = Parent {
        record: record.image.clone(),
        image_id: record.image_id.clone(),
        layers: record.layers.clone(),
    };
    let worker = engine.helper("hull-worker")?;
    let images = Images { store, worker: &worker };
    let tree = upper_and_lower(store, &container)?;
    let pause = query.get("pause").is_none() || query.flag("pause");
    let moving = state.filter(|state| is_running(Some(state)) && !state.paused).is_some();
    let paused = if pause && moving { Paused::new(engine, &container)? } else { None };
    let committed = images.commit(&parent, &tree, stubs(), &options);
    let told = committed.and_then(|id| {
        let (id, name) = (id.to_string(), options.name()?);
        let name = name.map(|name| name.familiar()).unwrap_or_default();
        let event = events::container(&container, "commit").with("comment", options.comment);
        engine.happened(&event.with("imageID", id.clone()).with("imageRef", name));
        Ok(id)
    });
    drop(paused);
    Ok(told?)
}

/// A container that stands still, until this is dropped.
struct Paused<'a> {
    engine: &'a Engine,
    container: &'a Container,
}

impl<'a> Paused<'a> {
    /// `None` if it has ended meanwhile.
    fn new(engine: &'a Engine, container: &'a Container) -> Result<Option<Self>, ApiError> {
        match freeze(engine, container) {
            Ok(()) => Ok(Some(Self { engine, container })),
            Err(error) if error.kind == ErrorKind::Precondition => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Err(error) = thaw(self.engine, self.container) {
            tracing::error!(container_id = self.container.record.id, %error, "cannot go on");
        }
    }
}

/// The part of a container's configuration that an image has too.
fn runtime(config: &ContainerConfig) -> Result<RuntimeConfig, ApiError> {
    let value = serde_json::to_value(config).map_err(|error| ApiError::internal(&error))?;
    RuntimeConfig::deserialize(value).map_err(|error| {
        ApiError::invalid(format!("the configuration cannot be an image's: {error}"))
    })
}

/// What a client's configuration leaves open, from the container's.
fn filled(mut config: RuntimeConfig, own: RuntimeConfig) -> RuntimeConfig {
    if config.entrypoint.is_empty() {
        if config.cmd.is_empty() {
            config.cmd = own.cmd;
        }
        config.entrypoint = own.entrypoint;
    }
    for entry in own.env {
        if !config.env.iter().any(|known| variable(known) == variable(&entry)) {
            config.env.push(entry);
        }
    }
    for (name, value) in own.labels {
        config.labels.entry(name).or_insert(value);
    }
    config.exposed_ports.extend(own.exposed_ports);
    config.volumes.extend(own.volumes);
    let fill = |value: &mut String, default: String| {
        if value.is_empty() {
            *value = default;
        }
    };
    fill(&mut config.user, own.user);
    fill(&mut config.working_dir, own.working_dir);
    fill(&mut config.stop_signal, own.stop_signal);
    config.stop_timeout = config.stop_timeout.or(own.stop_timeout);
    config.healthcheck = config.healthcheck.or(own.healthcheck);
    if config.shell.is_empty() {
        config.shell = own.shell;
    }
    config
}
