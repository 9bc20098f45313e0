//! Creating a container: all that can be refused is refused here, before anything is made.

use super::live::Fresh;
use super::mounts::{Source, StoredMount};
use super::stored::{Container, Stored};
use super::{fill, health, host, merge, mounts, name, signal};
use crate::error::ApiError;
use crate::events;
use crate::http::{Request, Response, json_with};
use crate::images::{self, ResolvedImage};
use crate::service::{Clients, Engine, Service};
use hull_api::{ContainerCreateBody, ContainerCreateResponse};
use hull_oci::Platform;
use hull_store::{ContainerRecord, CreateVolumeError, Durability, InfoError, Store, VolumeRecord};
use hyper::StatusCode;
use std::fmt::Write;
use std::sync::Arc;

const MIN_IDS: u32 = 65536;

/// `POST /containers/create`.
pub(crate) async fn create(service: &Service, request: Request) -> Result<Response, ApiError> {
    let name = request.query.get("name").map(|name| name.trim_start_matches('/').to_owned());
    let platform = request.query.get("platform").map(parse_platform).transpose()?;
    let body: ContainerCreateBody = Request::json(request.body).await?;
    let plan = service.run(move |engine| plan(engine, name, platform.as_ref(), body)).await?;
    let created = if plan.volumes.is_empty() {
        service.run(move |engine| make(engine, plan)).await?
    } else {
        // Filling a volume from the image may take a while.
        service.run_long(move |engine| make(engine, plan)).await?
    };
    json_with(StatusCode::CREATED, &created)
}

fn parse_platform(text: &str) -> Result<Platform, ApiError> {
    text.parse().map_err(|error| {
        ApiError::chain(hull_api::ErrorKind::Invalid, &error)
            .context(&format!("invalid platform {text:?}"))
    })
}

/// Everything that was decided about a container before it is made.
struct Plan {
    container: Container,
    named: bool,
    /// Volumes its mounts ask for: place among the mounts, and the volume.
    volumes: Vec<(usize, VolumeRecord)>,
    durability: Durability,
    warnings: Vec<String>,
}

fn plan(
    engine: &Engine,
    name: Option<String>,
    platform: Option<&Platform>,
    body: ContainerCreateBody,
) -> Result<Plan, ApiError> {
    if let Some(name) = &name {
        name::check("container", name)?;
    }
    if body.config.image.is_empty() {
        return Err(ApiError::invalid("invalid reference format: no image given"));
    }
    if let Some(signal) = body.config.stop_signal.as_deref().filter(|text| !text.is_empty()) {
        signal::parse(signal)?;
    }
    let host = host::check(body.host_config, host::cpus)?;
    let store = engine.store()?;
    let image_name = body.config.image.clone();
    let image = images::resolve_image(store, &image_name, platform)?;
    let config = merge::merge(body.config, image.config.runtime())?;
    if let Some(health) = &config.healthcheck {
        health::check(health)?;
    }
    let mut mounts = mounts::plan(&config, &host, |name| {
        Container::find(store, name).map(|other| other.stored.mounts)
    })?;
    let durability = if host.auto_remove { Durability::Volatile } else { Durability::Durable };
    let [random, ids] = random()?;
    let id = hex(&random);
    let named = name.is_some();
    let name = name.unwrap_or_else(|| name::made_up([ids[0], ids[1]]));
    let created = hull_shim::state::now();
    let volumes = volumes(&mut mounts, &ids, &created);
    let warnings = warnings(&host);
    let of_mounts = |anonymous_only: bool| {
        let names = volumes.iter().filter(|(_, volume)| volume.anonymous || !anonymous_only);
        names.map(|(_, volume)| volume.name.clone()).collect::<Vec<_>>()
    };
    let stored = Stored {
        config,
        host,
        mounts,
        ids: ids_needed(engine, &image)?,
        anonymous: of_mounts(true),
    };
    let record = ContainerRecord {
        id,
        name,
        created,
        image: image.record.clone(),
        image_id: image.image_id.clone(),
        image_name,
        layers: image.layers.clone(),
        volumes: of_mounts(false),
        config: serde_json::to_value(&stored).map_err(|error| ApiError::internal(&error))?,
    };
    Ok(Plan { container: Container { record, stored }, named, volumes, durability, warnings })
}

fn warnings(host: &hull_api::HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if host.container_id_file.contains('\0') {
        warnings.push("The path of the id file holds a zero byte.".to_owned());
    }
    warnings
}

/// Ids that the layers use, at least what every container gets. Layers that were never used are
/// unpacked for it.
fn ids_needed(engine: &Engine, image: &ResolvedImage) -> Result<u32, ApiError> {
    let store = engine.store()?;
    match highest_id(store, image) {
        Err(InfoError::NotFound(_)) => {
            images::unpack(store, &engine.helper("hull-worker")?, image)?;
            Ok(highest_id(store, image)?)
        }
        ids => Ok(ids?),
    }
}

fn highest_id(store: &Store, image: &ResolvedImage) -> Result<u32, InfoError> {
    image.layers.iter().try_fold(MIN_IDS, |most, layer| {
        let info = store.layers().info(layer)?;
        Ok(most.max(info.max_id.saturating_add(1)))
    })
}

/// Names the anonymous volumes and tells which volumes the mounts need.
fn volumes(
    mounts: &mut [StoredMount],
    random: &[u8; 32],
    created: &str,
) -> Vec<(usize, VolumeRecord)> {
    let mut volumes = Vec::new();
    for (place, mount) in mounts.iter_mut().enumerate() {
        let Source::Volume { name, anonymous, labels, .. } = &mut mount.source else { continue };
        if *anonymous {
            *name = hull_oci::Digest::sha256(
                &[random.as_slice(), mount.destination.as_bytes()].concat(),
            )
            .hex()
            .to_owned();
        }
        let volume = VolumeRecord {
            name: name.clone(),
            created: created.to_owned(),
            anonymous: *anonymous,
            labels: labels.clone(),
            options: std::collections::BTreeMap::new(),
        };
        volumes.push((place, volume));
    }
    volumes
}

fn make(engine: &Arc<Engine>, plan: Plan) -> Result<ContainerCreateResponse, ApiError> {
    let Plan { mut container, named, volumes, durability, warnings } = plan;
    let store = engine.store()?;
    let mut made = Vec::new();
    let result = make_volumes(store, &volumes, durability, &mut made)
        .and_then(|()| fill::fill(engine, &container, &made))
        .and_then(|()| make_container(store, &mut container, named, durability));
    if let Err(error) = result {
        for name in &made {
            if let Err(error) = store.remove_volume(name) {
                tracing::warn!(name, %error, "cannot remove a volume of a failed create");
            }
        }
        return Err(error);
    }
    let id = container.record.id.clone();
    for name in &made {
        engine.happened(&events::volume(name, "create"));
    }
    engine.happened(&events::container(&container, "create"));
    // Others cannot start it before its id is known, and in a short-lived process nobody asks
    // for another's container by chance.
    if engine.config().clients == Clients::Own {
        engine.live().remember(&id, Fresh(Box::new(container)));
    }
    Ok(ContainerCreateResponse { id, warnings })
}

/// Makes the volumes that are not there; `made` gets the names of those.
fn make_volumes(
    store: &Store,
    volumes: &[(usize, VolumeRecord)],
    durability: Durability,
    made: &mut Vec<String>,
) -> Result<(), ApiError> {
    for (_, volume) in volumes {
        let durability = if volume.anonymous { durability } else { Durability::Durable };
        match store.create_volume(volume, durability) {
            Ok(()) => made.push(volume.name.clone()),
            Err(CreateVolumeError::Exists(_)) if !volume.anonymous => {
                if store.volume(&volume.name)?.anonymous {
                    store.share_volume(&volume.name)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A made-up name that is taken is made up again.
fn make_container(
    store: &Store,
    container: &mut Container,
    named: bool,
    durability: Durability,
) -> Result<(), ApiError> {
    for _ in 0..64 {
        match store.create_container(&container.record, durability) {
            Err(hull_store::CreateContainerError::NameTaken { .. }) if !named => {
                let [random, _] = random()?;
                container.record.name =
                    format!("{}{}", name::made_up([random[0], random[1]]), random[2] % 10);
            }
            result => return Ok(result?),
        }
    }
    Err(ApiError::new(hull_api::ErrorKind::Internal, "cannot make up a name that is free"))
}

/// Random bytes: twice 32.
fn random() -> Result<[[u8; 32]; 2], ApiError> {
    let mut bytes = [[0; 32]; 2];
    let flat = bytes.as_flattened_mut();
    let got = rustix::rand::getrandom(&mut *flat, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(count) if count == flat.len() => Ok(bytes),
        Ok(_) => Err(ApiError::new(hull_api::ErrorKind::Internal, "too few random bytes")),
        Err(error) => Err(ApiError::internal(&std::io::Error::from(error))),
    }
}

/// 64 lower-case hex digits.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// 64 random hex digits: an id.
pub(crate) fn random_id() -> Result<String, ApiError> {
    Ok(hex(&random()?[0]))
}
