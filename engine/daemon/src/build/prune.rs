//! `POST /build/prune`, and the build cache in `GET /system/df`.

use std::collections::HashSet;
use std::time::Duration;

use hull_api::{BuildCacheRecord, BuildPruned};
use hull_store::cache::PruneCache;
use hull_store::{Store, Usage};

use crate::error::ApiError;
use crate::http::{Query, Response, json};
use crate::service::Service;

/// `POST /build/prune`.
pub(crate) async fn prune(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let filters = query.filters()?;
    let mut options = PruneCache { all: query.flag("all"), ..PruneCache::default() };
    for name in ["keep-storage", "reserved-space", "max-used-space"] {
        options.keep = query.number::<u64>(name)?.filter(|&bytes| bytes > 0).or(options.keep);
    }
    for name in ["until", "unused-for"] {
        for text in filters.get(name) {
            options.unused_for = age(text)?;
        }
    }
    let pruned = service
        .run_long(move |engine| {
            let store = engine.store()?;
            store.prepare_cache()?;
            Ok(store.prune_cache(&options)?)
        })
        .await?;
    json(&BuildPruned { caches_deleted: pruned.removed, space_reclaimed: pruned.bytes })
}

/// A duration as Go writes it, or the time since a date.
fn age(text: &str) -> Result<Duration, ApiError> {
    let now = jiff::Timestamp::now();
    let time = crate::containers::parse_time(text)?;
    let seconds = now.as_second().saturating_sub(time.as_second());
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// What the cache holds.
///
/// # Errors
/// Those of reading it.
pub(crate) fn build_cache(store: &Store, usage: &Usage) -> Result<Vec<BuildCacheRecord>, ApiError> {
    let mut seen = HashSet::new();
    let mut records = Vec::new();
    for (step, used) in store.steps()? {
        let layer = step.layer.as_ref();
        let first = layer.is_some_and(|layer| seen.insert(layer.clone()));
        let size = layer.and_then(|layer| usage.layers.get(layer)).copied().unwrap_or_default();
        let shared = layer.is_some_and(|layer| usage.shared_with_images.contains(layer));
        let used = jiff::Timestamp::try_from(used).map(|time| time.to_string());
        records.push(BuildCacheRecord {
            id: step.key.hex()[..25].to_owned(),
            parents: step.parents.iter().map(|key| key.hex()[..25].to_owned()).collect(),
            kind: "regular".to_owned(),
            description: step.description,
            in_use: false,
            shared: shared || !first,
            size: i64::try_from(size).unwrap_or(i64::MAX),
            created_at: step.created,
            last_used_at: used.ok(),
            usage_count: 1,
        });
    }
    Ok(records)
}
