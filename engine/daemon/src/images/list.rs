//! Listing images.

use std::collections::BTreeMap;

use hull_api::image::ImageSummary;
use hull_oci::Reference;
use hull_store::{ContainerRecord, Store};

use super::catalog::{Catalog, Image};
use super::{Images, pattern, resolve, seconds};
use crate::error::ApiError;
use crate::http::Filters;

const FILTERS: &[&str] = &["dangling", "reference", "label", "label!", "before", "since", "until"];

/// Which images to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Docker's filters: dangling, reference, label, before, since, until.
    pub filters: Filters,
    /// Compute how much is shared with other images.
    pub shared_size: bool,
}

impl Images<'_> {
    /// The images that are here, newest first.
    ///
    /// # Errors
    /// A filter that makes no sense; `before` and `since` with an image that is not here.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<ImageSummary>, ApiError> {
        let filters = &options.filters;
        filters.only(FILTERS)?;
        let dangling = filters.boolean("dangling")?;
        let catalog = Catalog::read(self.store)?;
        let before = self.created_of(&catalog, filters.get("before"))?;
        let since = self.created_of(&catalog, filters.get("since"))?;
        let until = until(filters)?;
        let containers = self.store.containers()?;
        let mut summaries = Vec::new();
        for image in &catalog.images {
            let mut image = image.clone();
            let created = image.created();
            let kept = dangling.is_none_or(|dangling| dangling == image.names.is_empty())
                && before.is_none_or(|before| created < before)
                && since.is_none_or(|since| created > since)
                && until.is_none_or(|until| created <= until)
                && filters.labels("label", &image.selected.config.runtime().labels)
                && by_reference(filters, &mut image)?;
            if !kept {
                continue;
            }
            let mut summary = summary(self.store, &image, &containers);
            if options.shared_size {
                summary.shared_size = shared(self.store, &catalog, &image);
            }
            summaries.push(summary);
        }
        Ok(summaries)
    }

    /// The latest creation time among the images named, for `before` and `since`.
    fn created_of(&self, catalog: &Catalog, names: &[String]) -> Result<Option<i64>, ApiError> {
        let mut latest = None;
        for name in names {
            let image = resolve::image(catalog, self.store, name)?;
            latest = latest.max(Some(image.created()));
        }
        Ok(latest)
    }
}

/// Every image, for accounting.
///
/// # Errors
/// Those of reading the store.
pub(crate) fn summaries(store: &Store) -> Result<Vec<ImageSummary>, ApiError> {
    let catalog = Catalog::read(store)?;
    let containers = store.containers()?;
    let one = |image| {
        let mut summary = summary(store, image, &containers);
        summary.shared_size = shared(store, &catalog, image);
        summary
    };
    Ok(catalog.images.iter().map(one).collect())
}

fn summary(store: &Store, image: &Image, containers: &[ContainerRecord]) -> ImageSummary {
    let users = containers.iter().filter(|container| image.is_used_by(container)).count();
    ImageSummary {
        containers: i64::try_from(users).unwrap_or(i64::MAX),
        id: image.id().to_string(),
        parent_id: String::new(),
        repo_tags: image.tags(),
        repo_digests: image.digests.clone(),
        created: image.created(),
        size: i64::try_from(image.size(store)).unwrap_or(i64::MAX),
        shared_size: -1,
        labels: image.selected.config.runtime().labels,
    }
}

/// Bytes of the image's layers that another image has too.
fn shared(store: &Store, catalog: &Catalog, image: &Image) -> i64 {
    let mut users: BTreeMap<_, u32> = BTreeMap::new();
    for other in catalog.images.iter().filter(|other| other.id() != image.id()) {
        for diff_id in &other.selected.config.rootfs.diff_ids {
            *users.entry(diff_id).or_default() += 1;
        }
    }
    let diff_ids = image.selected.config.rootfs.diff_ids.iter();
    let sizes = diff_ids
        .filter(|diff_id| users.contains_key(diff_id))
        .filter_map(|diff_id| store.layers().info(diff_id).ok());
    i64::try_from(sizes.map(|info| info.tar_size).sum::<u64>()).unwrap_or(i64::MAX)
}

/// Leaves an image the names that the filter `reference` asks for; false if none is left.
fn by_reference(filters: &Filters, image: &mut Image) -> Result<bool, ApiError> {
    let patterns = filters.get("reference");
    if patterns.is_empty() {
        return Ok(true);
    }
    let mut names = Vec::new();
    for name in &image.names {
        for pattern in patterns {
            if fits(pattern, name)? {
                names.push(name.clone());
                break;
            }
        }
    }
    let mut by_digest = Vec::new();
    for name in &image.digest_names {
        for pattern in patterns {
            if fits(pattern, name)? {
                by_digest.push(name.clone());
                break;
            }
        }
    }
    image.names = names;
    image.digest_names = by_digest;
    let kept = image.all_names();
    let names: Vec<_> = kept.iter().map(|name| name.familiar_name() + "@").collect();
    image.digests.retain(|digest| names.iter().any(|name| digest.starts_with(name)));
    Ok(!kept.is_empty())
}

/// As `FamiliarMatch`: the short form with or without tag.
fn fits(pattern: &str, name: &Reference) -> Result<bool, ApiError> {
    let invalid = |_| ApiError::invalid(format!("invalid filter 'reference={pattern}'"));
    Ok(pattern::matches(pattern, &name.familiar()).map_err(invalid)?
        || pattern::matches(pattern, &name.familiar_name()).map_err(invalid)?)
}

/// The filter `until`: an RFC 3339 time, a date or local time (taken as UTC), seconds
/// since 1970, or a duration ago.
pub(super) fn until(filters: &Filters) -> Result<Option<i64>, ApiError> {
    let [text] = filters.get("until") else {
        return match filters.get("until") {
            [] => Ok(None),
            _ => Err(ApiError::invalid("more than one until filter specified")),
        };
    };
    let invalid = || ApiError::invalid(format!("invalid filter 'until={text}'"));
    if let Ok(seconds) = text.split('.').next().unwrap_or_default().parse::<i64>() {
        return Ok(Some(seconds));
    }
    if text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(Some(seconds(Some(text))));
    }
    if let Some(ago) = super::import::duration(text) {
        return Ok(Some(jiff::Timestamp::now().as_second() - ago / 1_000_000_000));
    }
    let civil = text.parse::<jiff::civil::DateTime>().map_err(|_| invalid())?;
    let time = jiff::tz::TimeZone::UTC.to_timestamp(civil).map_err(|_| invalid())?;
    Ok(Some(time.as_second()))
}
