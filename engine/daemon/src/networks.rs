//! Networks: those that every host has. There are no others yet, and making one is refused.

use crate::error::ApiError;
use crate::http::{Filters, Query, Response, json};
use hull_api::{ErrorKind, Ipam, Network, NetworksPruned};
use hull_oci::Digest;

/// Name and driver.
const NETWORKS: &[(&str, &str)] = &[("host", "host"), ("none", "null")];

const FILTERS: &[&str] =
    &["dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until"];

/// `GET /networks`.
pub(crate) fn list(query: &Query) -> Result<Response, ApiError> {
    let filters = query.filters()?;
    filters.only(FILTERS)?;
    json(&all().filter(|network| matches(&filters, network)).collect::<Vec<_>>())
}

/// `GET /networks/{id}`.
pub(crate) fn inspect(text: &str) -> Result<Response, ApiError> {
    json(&find(text)?)
}

/// `DELETE /networks/{id}`.
pub(crate) fn delete(text: &str) -> Result<Response, ApiError> {
    let message = format!("{} is a pre-defined network and cannot be removed", find(text)?.name);
    Err(ApiError::new(ErrorKind::Denied, message))
}

/// `POST /networks/prune`: what every host has is not removed.
pub(crate) fn prune(query: &Query) -> Result<Response, ApiError> {
    query.filters()?.only(FILTERS)?;
    json(&NetworksPruned::default())
}

/// `POST /networks/create` and what changes one.
pub(crate) fn unavailable() -> Result<Response, ApiError> {
    let message = "networks but host and none are not available in this release";
    Err(ApiError::new(ErrorKind::Unavailable, message))
}

fn all() -> impl Iterator<Item = Network> {
    NETWORKS.iter().map(|(name, driver)| Network {
        name: (*name).to_owned(),
        id: Digest::sha256(format!("network {name}").as_bytes()).hex().to_owned(),
        created: "0001-01-01T00:00:00Z".to_owned(),
        scope: "local".to_owned(),
        driver: (*driver).to_owned(),
        enable_ipv4: true,
        ipam: Ipam { driver: "default".to_owned(), ..Ipam::default() },
        ..Network::default()
    })
}

fn find(text: &str) -> Result<Network, ApiError> {
    let found = all()
        .find(|network| network.name == text || (text.len() >= 2 && network.id.starts_with(text)));
    found.ok_or_else(|| ApiError::not_found(format!("network {text} not found")))
}

fn matches(filters: &Filters, network: &Network) -> bool {
    filters.any("name", |name| network.name.contains(name.as_str()))
        && filters.any("id", |id| network.id.starts_with(id.as_str()))
        && filters.any("driver", |driver| network.driver == *driver)
        && filters.any("scope", |scope| network.scope == *scope)
        && filters.any("type", |kind| kind == "builtin")
        && filters.labels("label", &network.labels)
}
