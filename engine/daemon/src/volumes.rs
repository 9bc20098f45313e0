//! Volumes: their endpoints.

use crate::containers::{check_name, parse_time, random_id, until};
use crate::error::ApiError;
use crate::events;
use crate::http::{Filters, Query, Request, Response, json, json_with, status};
use crate::service::{Engine, Service};
use hull_api::{
    ErrorKind, Volume, VolumeCreateOptions, VolumeListResponse, VolumeUsageData,
    VolumesPruneResponse,
};
use hull_events::Kind;
use hull_store::{CreateVolumeError, Durability, RemoveVolumeError, Store, VolumeRecord};
use hyper::StatusCode;
use std::collections::HashMap;

fn shown(store: &Store, record: VolumeRecord) -> Volume {
    Volume {
        created_at: Some(record.created),
        driver: "local".to_owned(),
        mountpoint: store.volume_path(&record.name).display().to_string(),
        name: record.name,
        labels: record.labels,
        options: record.options,
        scope: "local".to_owned(),
        usage_data: None,
    }
}

/// Ids of the containers that use each volume.
fn users(store: &Store) -> Result<HashMap<String, Vec<String>>, ApiError> {
    let mut users: HashMap<String, Vec<String>> = HashMap::new();
    for container in store.containers()? {
        for volume in container.volumes {
            users.entry(volume).or_default().push(container.id.clone());
        }
    }
    Ok(users)
}

/// `GET /volumes`.
pub(crate) async fn list(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let filters = query.filters()?;
    filters.only(&["dangling", "driver", "label", "label!", "name"])?;
    let dangling = filters.boolean("dangling")?;
    let volumes = service
        .run(move |engine| {
            let store = engine.store()?;
            let users = users(store)?;
            let wanted = |volume: &VolumeRecord| {
                dangling.is_none_or(|dangling| dangling != users.contains_key(&volume.name))
                    && filters.any("driver", |driver| driver == "local")
                    && filters.any("name", |name| volume.name.contains(name.as_str()))
                    && filters.labels("label", &volume.labels)
            };
            let volumes = store.volumes()?.into_iter().filter(wanted);
            Ok(volumes.map(|volume| shown(store, volume)).collect::<Vec<_>>())
        })
        .await?;
    json(&VolumeListResponse { volumes, warnings: Vec::new() })
}

/// Every volume with its space and its users, for disk usage.
pub(crate) fn all_with_usage(
    engine: &Engine,
    usage: &hull_store::Usage,
) -> Result<Vec<Volume>, ApiError> {
    let store = engine.store()?;
    let users = users(store)?;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let with_usage = |record: VolumeRecord| {
        let size = usage.volume.get(&record.name).copied().unwrap_or_default();
        let ref_count = users.get(&record.name).map_or(0, Vec::len) as u64;
        let data = VolumeUsageData { size: signed(size), ref_count: signed(ref_count) };
        Volume { usage_data: Some(data), ..shown(store, record) }
    };
    Ok(store.volumes()?.into_iter().map(with_usage).collect())
}

/// `POST /volumes/create`: also the answer if it is there already.
pub(crate) async fn create(service: &Service, request: Request) -> Result<Response, ApiError> {
    let body: VolumeCreateOptions = Request::json_or_default(request.body).await?;
    if !matches!(body.driver.as_str(), "" | "local") || !body.driver_opts.is_empty() {
        return Err(ApiError::invalid(
            "volume drivers and their options are not available in this release",
        ));
    }
    if !body.name.is_empty() {
        check_name("volume", &body.name)?;
    }
    let volume = service
        .run(move |engine| {
            let store = engine.store()?;
            let anonymous = body.name.is_empty();
            let record = VolumeRecord {
                name: if anonymous { random_id()? } else { body.name },
                created: hull_shim::state::now(),
                anonymous,
                labels: body.labels,
                options: body.driver_opts,
            };
            match store.create_volume(&record, Durability::Durable) {
                Ok(()) => {
                    engine.happened(&events::volume(&record.name, "create"));
                    Ok(shown(store, record))
                }
                Err(CreateVolumeError::Exists(name)) => Ok(shown(store, store.volume(&name)?)),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
    json_with(StatusCode::CREATED, &volume)
}

/// `GET /volumes/{name}`.
pub(crate) async fn inspect(service: &Service, name: &str) -> Result<Response, ApiError> {
    let name = name.to_owned();
    let volume = service
        .run(move |engine| {
            let store = engine.store()?;
            Ok(shown(store, store.volume(&name)?))
        })
        .await?;
    json(&volume)
}

/// `DELETE /volumes/{name}`.
pub(crate) async fn delete(
    service: &Service,
    name: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let (name, force) = (name.to_owned(), query.flag("force"));
    service
        .run_long(move |engine| {
            let store = engine.store()?;
            if store.remove_unused_volume(&name)? {
                engine.happened(&events::volume(&name, "destroy"));
                Ok(())
            } else if force {
                Ok(())
            } else {
                Err(ApiError::new(ErrorKind::NotFound, format!("get {name}: no such volume")))
            }
        })
        .await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// `POST /volumes/prune`: anonymous volumes that nobody uses; with the filter `all` named ones
/// too.
pub(crate) async fn prune(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let filters = query.filters()?;
    filters.only(&["all", "label", "label!", "until"])?;
    let all = filters.boolean("all")?.unwrap_or_default();
    let pruned = service.run_long(move |engine| prune_now(engine, &filters, all)).await?;
    json(&pruned)
}

fn prune_now(
    engine: &Engine,
    filters: &Filters,
    all: bool,
) -> Result<VolumesPruneResponse, ApiError> {
    let store = engine.store()?;
    let until = until(filters)?;
    let sizes = store.usage()?.volume;
    let mut pruned = VolumesPruneResponse::default();
    for volume in store.volumes()? {
        let created = parse_time(&volume.created)?;
        let wanted = (all || volume.anonymous)
            && filters.labels("label", &volume.labels)
            && until.is_none_or(|until| created < until);
        if !wanted {
            continue;
        }
        match store.remove_unused_volume(&volume.name) {
            Ok(true) => {
                pruned.space_reclaimed += sizes.get(&volume.name).copied().unwrap_or_default();
                engine.happened(&events::volume(&volume.name, "destroy"));
                pruned.volumes_deleted.push(volume.name);
            }
            Ok(false) | Err(RemoveVolumeError::InUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    engine.happened(&events::pruned(Kind::Volume, pruned.space_reclaimed));
    Ok(pruned)
}
