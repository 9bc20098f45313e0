//! The endpoints that ask registries.

use http_body_util::{BodyExt, Limited};
use hull_api::ErrorKind;
use hull_api::registry::{AuthConfig, AuthResponse, DistributionInspect, SearchResult};
use hull_oci::{
    Descriptor, Document, ImageConfig, MAX_MANIFEST_BYTES, Manifest, Platform, Reference,
    media_type,
};
use hull_transfer::FailureKind;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::serve::ask;
use super::session::{credentials, of_auth, session};
use super::{Remote, RemoteError};
use crate::error::ApiError;
use crate::http::{self, Body, Query, Request, Response};
use crate::images::PullError;
use crate::images::pull::judge;
use crate::service::Service;

/// The registry of names that name none.
const HUB: &str = "docker.io";

/// As many as Docker shows where nobody says how many.
const SEARCH_LIMIT: usize = 25;

/// `POST /auth`: whether credentials are right.
///
/// # Errors
/// They are not, or the registry cannot be asked.
pub(crate) async fn auth(service: &Service, request: Request) -> Result<Response, ApiError> {
    let auth: AuthConfig = Request::json(request.body).await?;
    let registry = registry_of(&auth.serveraddress);
    let session = session(&registry, of_auth(&auth), &request.query)?;
    let outcome = ask(service, session, move |remote| {
        remote.transfer.login(&registry).map_err(|error| {
            // Docker's client then asks its user for others.
            let wrong = error.kind() == FailureKind::Unauthorized;
            let error = ApiError::from(RemoteError::from(error));
            if wrong { ApiError { kind: ErrorKind::Unauthorized, ..error } } else { error }
        })
    });
    let outcome = outcome.await?;
    let token = outcome.identity_token.as_ref().map_or("", |token| token.reveal());
    http::json(&AuthResponse {
        status: outcome.status,
        identity_token: hull_api::registry::Secret::new(token),
    })
}

/// The registry that an address of credentials means: `https://index.docker.io/v1/` is Docker's.
fn registry_of(address: &str) -> String {
    let host = address
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// `GET /images/search`.
///
/// # Errors
/// The registry has no search, or cannot be asked.
pub(in crate::images) async fn search(
    service: &Service,
    request: &Request,
) -> Result<Response, ApiError> {
    let query = &request.query;
    let term = query.get("term").unwrap_or_default().to_owned();
    let limit: Option<i64> = query.number("limit")?;
    let limit = match limit {
        None | Some(0) => SEARCH_LIMIT,
        Some(limit @ 1..=100) => usize::try_from(limit).unwrap_or(SEARCH_LIMIT),
        Some(limit) => {
            return Err(ApiError::invalid(format!(
                "limit {limit} is outside the range of [1, 100]"
            )));
        }
    };
    let filters = query.filters()?;
    filters.only(&["is-automated", "is-official", "stars"])?;
    let official = filters.boolean("is-official")?;
    let automated = filters.boolean("is-automated")?;
    let mut stars = 0;
    for text in filters.get("stars") {
        let least: u64 = text
            .parse()
            .map_err(|_| ApiError::invalid(format!("invalid filter 'stars={text}'")))?;
        stars = stars.max(least);
    }
    let (registry, term) = split_term(&term);
    let session = session(&registry, credentials(&request.headers)?, query)?;
    let found = ask(service, session, move |remote| {
        Ok(remote.transfer.search(&registry, &term, limit).map_err(RemoteError::from)?)
    });
    let found = found.await?.into_iter().filter(|found| {
        found.stars >= stars
            && official.is_none_or(|wanted| found.official == wanted)
            && automated.is_none_or(|wanted| found.automated == wanted)
    });
    let results: Vec<SearchResult> = found
        .map(|found| SearchResult {
            star_count: found.stars,
            is_official: found.official,
            name: found.name,
            is_automated: found.automated,
            description: found.description,
        })
        .collect();
    http::json(&results)
}

/// A term may begin with the registry to search, as names do.
fn split_term(term: &str) -> (String, String) {
    match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (registry_of(first), rest.to_owned())
        }
        _ => (HUB.to_owned(), term.to_owned()),
    }
}

/// Answers a request below `/distribution`.
///
/// # Errors
/// What the registry says, or `NotFound` if there is no such address.
pub(crate) async fn distribution(
    service: &Service,
    request: Request,
) -> Result<Response, ApiError> {
    let segments = request.segments.clone();
    let path: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
    let get = request.method == Method::GET;
    match path.as_slice() {
        [name @ .., "json"] if get => inspect(service, &request, &name.join("/")).await,
        [name @ .., "manifest"] if get => manifest(service, &request, &name.join("/")).await,
        [name @ .., "manifest"] if request.method == Method::PUT => {
            let name = name.join("/");
            put(service, request, &name).await
        }
        _ => Err(ApiError::not_found("page not found")),
    }
}

fn named(text: &str) -> Result<Reference, ApiError> {
    let name = text.parse::<Reference>();
    name.map(Reference::with_default_tag).map_err(|error| ApiError::invalid(error.to_string()))
}

fn session_for(
    name: &Reference,
    request: &Request,
    query: &Query,
) -> Result<hull_transfer::Session, ApiError> {
    session(name.registry(), credentials(&request.headers)?, query)
}

/// `GET /distribution/{name}/json`.
async fn inspect(service: &Service, request: &Request, name: &str) -> Result<Response, ApiError> {
    let name = named(name)?;
    let session = session_for(&name, request, &request.query)?;
    let seen = ask(service, session, move |remote| {
        let (descriptor, bytes, document) = fetch(remote, &name)?;
        let platforms = match document {
            Document::Index(index) => {
                index.manifests.into_iter().filter_map(|child| child.platform).collect()
            }
            Document::Manifest(manifest) => platform_of(remote, &name, &manifest)?,
        };
        drop(bytes);
        Ok(DistributionInspect { descriptor, platforms })
    });
    http::json(&seen.await?)
}

/// What a single image says it is for; nothing if it is none.
fn platform_of(
    remote: Remote<'_>,
    name: &Reference,
    manifest: &Manifest,
) -> Result<Vec<Platform>, ApiError> {
    if !media_type::is_image_config(&manifest.config.media_type) {
        return Ok(Vec::new());
    }
    let bytes = remote.transfer.document(name, &manifest.config).map_err(RemoteError::from)?;
    let digest = manifest.config.digest.clone();
    let config =
        ImageConfig::parse(&bytes).map_err(|source| PullError::Config { digest, source })?;
    Ok(vec![config.platform()])
}

fn fetch(
    remote: Remote<'_>,
    name: &Reference,
) -> Result<(Descriptor, Vec<u8>, Document), ApiError> {
    let document = remote.transfer.manifest(name).map_err(RemoteError::from)?;
    let Descriptor { digest, size, media_type, .. } = document.descriptor;
    let (media_type, parsed) = judge(&digest, ["", &media_type], &document.bytes)?;
    Ok((Descriptor::new(media_type, digest, size), document.bytes, parsed))
}

/// `GET /distribution/{name}/manifest`: byte for byte.
async fn manifest(service: &Service, request: &Request, name: &str) -> Result<Response, ApiError> {
    let name = named(name)?;
    let session = session_for(&name, request, &request.query)?;
    let fetched = ask(service, session, move |remote| fetch(remote, &name));
    let (descriptor, bytes, _) = fetched.await?;
    let mut response = Response::new(Body::Whole(Some(bytes.into())));
    let text = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| ApiError::invalid("the media type is none"))
    };
    response.headers_mut().insert(CONTENT_TYPE, text(&descriptor.media_type)?);
    response.headers_mut().insert(
        HeaderName::from_static("docker-content-digest"),
        text(descriptor.digest.as_str())?,
    );
    Ok(response)
}

/// `PUT /distribution/{name}/manifest?from=REPOSITORY`: sends a manifest or index. What it names
/// is taken from `from`, of the same registry, where it is not in the repository yet.
async fn put(service: &Service, request: Request, name: &str) -> Result<Response, ApiError> {
    let name = named(name)?;
    let session = session_for(&name, &request, &request.query)?;
    let from = match request.query.get("from") {
        Some(from) => Some(
            Reference::from_parts(name.registry(), from)
                .map_err(|error| ApiError::invalid(error.to_string()))?,
        ),
        None => None,
    };
    let kind = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let body = Limited::new(request.body, MAX_MANIFEST_BYTES).collect().await;
    let bytes = body
        .map_err(|error| ApiError::invalid(format!("cannot read the manifest: {error}")))?
        .to_bytes();
    let done = ask(service, session, move |remote| {
        let digest = hull_oci::Digest::sha256(&bytes);
        if let Some(promised) = name.digest().filter(|promised| **promised != digest) {
            return Err(ApiError::invalid(format!(
                "the manifest has digest {digest}, it is to be put as {promised}"
            )));
        }
        let (media_type, document) = judge(&digest, [&kind, ""], &bytes)?;
        if let (Some(from), Document::Manifest(manifest)) = (&from, &document) {
            mount(remote, &name, from, manifest)?;
        }
        let put = remote.transfer.put_manifest(&name, &media_type, &bytes);
        Ok(put.map_err(RemoteError::from)?)
    });
    let digest = done.await?;
    let mut response = http::status(StatusCode::CREATED);
    response.headers_mut().insert(
        HeaderName::from_static("docker-content-digest"),
        HeaderValue::from_str(digest.as_str()).map_err(|error| ApiError::internal(&error))?,
    );
    Ok(response)
}

/// Takes what a manifest names from another repository of its registry.
fn mount(
    remote: Remote<'_>,
    name: &Reference,
    from: &Reference,
    manifest: &Manifest,
) -> Result<(), ApiError> {
    for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let digest = &part.digest;
        let transfer = remote.transfer;
        if transfer.exists(name, digest).map_err(RemoteError::from)?
            || transfer.mount(name, from, digest).map_err(RemoteError::from)?
        {
            continue;
        }
        return Err(ApiError::new(
            ErrorKind::Precondition,
            format!(
                "the registry does not make blob {digest} of {} one of {}",
                from.familiar_name(),
                name.familiar_name()
            ),
        )
        .hint("push the image to that repository first"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_registries() {
        for (address, expected) in [
            ("", HUB),
            ("https://index.docker.io/v1/", HUB),
            ("registry.example:5000", "registry.example:5000"),
            ("https://registry.example/v2/", "registry.example"),
            ("http://localhost:5000", "localhost:5000"),
        ] {
            assert_eq!(registry_of(address), expected);
        }
    }

    #[test]
    fn terms() {
        let split = |term| split_term(term);
        assert_eq!(split("alpine"), (HUB.to_owned(), "alpine".to_owned()));
        assert_eq!(split("library/alpine"), (HUB.to_owned(), "library/alpine".to_owned()));
        let expected = ("localhost:5000".to_owned(), "a/b".to_owned());
        assert_eq!(split("localhost:5000/a/b"), expected);
    }
}
