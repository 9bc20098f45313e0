//! Lists: tags, repositories, referrers.

use bytes::Bytes;
use hull_oci::{Descriptor, Index, media_type};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::access::Action;
use super::blobs::header;
use super::body::{self, Body};
use super::catalog;
use super::handler::Call;
use super::refusal::Refusal;
use super::route::{RepositoryName, percent_encoded};

/// Filters that were heeded.
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Repositories in one answer, where the client says no number.
const REPOSITORIES: usize = 1000;

/// `GET /v2/<name>/tags/list`
pub(super) async fn tags(call: &Call, name: &RepositoryName) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull])?;
    let (number, last) = page(call, usize::MAX)?;
    let (catalog, of) = (call.catalog(), name.clone());
    let tags = call
        .blocking(move || {
            let tags = catalog.storage.tags(of.as_str())?;
            if tags.is_empty() && !catalog.exists(&of)? {
                let message = format!("no repository {}", of.as_str());
                return Err(Refusal::name_unknown(message).detail(json!({ "name": of.as_str() })));
            }
            Ok(tags)
        })
        .await?;
    let (tags, more) = cut(tags, number, last.as_deref());
    let link = more.then(|| next(&format!("/v2/{}/tags/list", name.as_str()), number, &tags));
    json_list(&json!({ "name": name.as_str(), "tags": tags }), link.flatten())
}

/// `GET /v2/_catalog`: the repositories that the caller may pull from.
pub(super) async fn catalog(call: &Call) -> Result<Response<Body>, Refusal> {
    call.check_known()?;
    let (number, last) = page(call, REPOSITORIES)?;
    let catalog = call.catalog();
    let names = call.blocking(move || Ok(catalog.storage.repositories()?)).await?;
    let visible = |name: &String| RepositoryName::parse(name).is_ok_and(|name| call.lists(&name));
    let names = names.into_iter().filter(visible).collect();
    let (names, more) = cut(names, number, last.as_deref());
    let link = more.then(|| next("/v2/_catalog", number, &names));
    json_list(&json!({ "repositories": names }), link.flatten())
}

/// `GET /v2/<name>/referrers/<digest>`
pub(super) async fn referrers(
    call: &Call,
    name: &RepositoryName,
    subject: &str,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull])?;
    let subject = catalog::digest(subject)?;
    let wanted: Vec<_> = call.query("artifactType").map(str::to_owned).into_iter().collect();
    let (catalog, of) = (call.catalog(), name.clone());
    let found = call.blocking(move || Ok(catalog.referrers(&of, &subject)?)).await?;
    let fits = |descriptor: &Descriptor| {
        wanted.is_empty()
            || descriptor.artifact_type.as_ref().is_some_and(|kind| wanted.contains(kind))
    };
    let index = Index::of(found.into_iter().filter(fits).collect());
    let mut response = Response::new(body::full(Bytes::from(index.to_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::OCI_INDEX));
    if !wanted.is_empty() {
        headers.insert(FILTERS, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

/// `n` and `last` of a query.
fn page(call: &Call, default: usize) -> Result<(usize, Option<String>), Refusal> {
    let number = match call.query("n") {
        None | Some("") => default,
        Some(text) => text
            .parse()
            .map_err(|_| Refusal::number_invalid(format!("n is {text:?}: it must be a number")))?,
    };
    Ok((number, call.query("last").map(str::to_owned)))
}

/// At most `number` names after `last`, and whether there are more.
fn cut(names: Vec<String>, number: usize, last: Option<&str>) -> (Vec<String>, bool) {
    let after = |name: &String| last.is_none_or(|last| name.as_str() > last);
    let mut names: Vec<_> = names.into_iter().filter(after).collect();
    names.sort();
    let more = names.len() > number;
    names.truncate(number);
    (names, more)
}

fn next(path: &str, number: usize, names: &[String]) -> Option<String> {
    let last = percent_encoded(names.last()?);
    Some(format!("<{path}?n={number}&last={last}>; rel=\"next\""))
}

fn json_list(value: &Value, link: Option<String>) -> Result<Response<Body>, Refusal> {
    let mut response = Response::new(body::full(Bytes::from(value.to_string())));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(link) = link {
        headers.insert(LINK, header(&link));
    }
    Ok(response)
}
