//! Manifests, both ways.

use bytes::Bytes;
use hull_oci::{Algorithm, Descriptor, Digest, Hasher, MAX_MANIFEST_BYTES};
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
    LOCATION,
};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::access::Action;
use super::blobs::{describe, header, matches};
use super::body::{self, Body, Input};
use super::catalog::{self, Incoming, Listed};
use super::handler::{Call, DIGEST};
use super::mirror;
use super::refusal::Refusal;
use super::route::RepositoryName;
use super::summary::Summary;

/// The manifest that a pushed one is about.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A tag that was set together with a push by digest.
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// How many tags one push may set.
const MAX_TAGS: usize = 100;

/// `GET` and `HEAD` of a manifest.
pub(super) async fn get(
    call: &Call,
    name: &RepositoryName,
    reference: &str,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull])?;
    check_reference(reference)?;
    let (catalog, of, by) = (call.catalog(), name.clone(), reference.to_owned());
    let found = match mirror::manifest(&call.shared, name, reference).await? {
        Some(found) => found,
        None => call.blocking(move || catalog.manifest(&of, &by)).await?,
    };
    let mut response = Response::new(body::empty());
    let headers = response.headers_mut();
    describe(headers, &found.digest, call.is_private());
    if !reference.contains(':') {
        // A tag moves.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    if matches(&call.headers, IF_NONE_MATCH, &found.digest) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let kind = HeaderValue::from_str(&found.media_type)
        .map_err(|_| Refusal::internal("the media type of the manifest cannot be sent"))?;
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(found.bytes.len()));
    if call.method != Method::HEAD {
        *response.body_mut() = body::full(Bytes::from(found.bytes));
    }
    Ok(response)
}

/// `PUT` of a manifest, by tag or by digest with `?tag=`.
pub(super) async fn put(
    call: &Call,
    name: &RepositoryName,
    reference: &str,
    input: Input,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Push])?;
    call.refuse_mirrored(name)?;
    check_reference(reference)?;
    let expected = reference.contains(':').then(|| catalog::digest(reference)).transpose()?;
    let tags = tags(call, reference, expected.is_some())?;
    let bytes = input.all(MAX_MANIFEST_BYTES).await?;
    call.shared.metrics.received.add(bytes.len() as u64);
    let incoming = read(call, bytes, expected.as_ref())?;
    call.check_quota(name, incoming.descriptor.size).await?;
    let digest = incoming.descriptor.digest.clone();
    let subject = incoming.summary.subject.clone();
    let (catalog, of, set) = (call.catalog(), name.clone(), tags.clone());
    call.blocking(move || catalog.put(&of, &set, &incoming, Listed::Needed)).await?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(&format!("/v2/{}/manifests/{digest}", name.as_str())));
    headers.insert(DIGEST, header(digest.as_str()));
    headers.insert(ETAG, header(&format!("\"{digest}\"")));
    if let Some(subject) = subject {
        headers.insert(SUBJECT, header(subject.digest.as_str()));
    }
    if expected.is_some() {
        for tag in tags {
            headers.append(TAG, header(&tag));
        }
    }
    tracing::info!(repository = name.as_str(), reference, %digest, "pushed");
    Ok(response)
}

/// `DELETE` of a tag or a manifest.
pub(super) async fn delete(
    call: &Call,
    name: &RepositoryName,
    reference: &str,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Delete])?;
    check_reference(reference)?;
    let (catalog, of, by) = (call.catalog(), name.clone(), reference.to_owned());
    let deleted = call.blocking(move || catalog.delete(&of, &by)).await?;
    if !deleted {
        let message = format!("{} has no manifest {reference:?}", name.as_str());
        return Err(Refusal::manifest_unknown(message));
    }
    tracing::info!(repository = name.as_str(), reference, "deleted");
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Refuses what is neither a tag nor a digest.
fn check_reference(reference: &str) -> Result<(), Refusal> {
    if reference.contains(':') {
        return catalog::digest(reference).map(drop);
    }
    let name = hull_oci::Reference::from_parts("registry.invalid", "x");
    match name.is_ok_and(|name| name.with_tag(reference).is_ok()) {
        true => Ok(()),
        false => Err(Refusal::tag_invalid(format!("{reference:?} is no tag"))
            .detail(json!({ "tag": reference }))),
    }
}

fn tags(call: &Call, reference: &str, by_digest: bool) -> Result<Vec<String>, Refusal> {
    if !by_digest {
        return Ok(vec![reference.to_owned()]);
    }
    let named = call.query.iter().filter(|(name, _)| name == "tag");
    let tags: Vec<_> = named.map(|(_, tag)| tag.clone()).collect();
    if tags.len() > MAX_TAGS {
        return Err(Refusal::tag_invalid(format!("a push may set {MAX_TAGS} tags at once")));
    }
    tags.iter().try_for_each(|tag| match tag.contains(':') {
        true => Err(Refusal::tag_invalid(format!("{tag:?} is no tag"))),
        false => check_reference(tag),
    })?;
    Ok(tags)
}

/// Checks a manifest as far as it speaks for itself.
fn read(call: &Call, bytes: Vec<u8>, expected: Option<&Digest>) -> Result<Incoming, Refusal> {
    let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&bytes);
    let digest = hasher.finish();
    if let Some(expected) = expected.filter(|expected| **expected != digest) {
        let message = format!("the manifest has digest {digest}, not {expected}");
        return Err(Refusal::digest_invalid(message).detail(json!({ "digest": expected })));
    }
    let summary = Summary::parse(&bytes).map_err(|error| invalid(&bytes, &error))?;
    let sent = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let sent = sent.map(|value| value.split(';').next().unwrap_or_default().trim());
    let sent = sent.filter(|kind| !kind.is_empty() && *kind != "application/octet-stream");
    // Bytes that say one thing and travel as another are two things to two readers.
    match (sent, &summary.media_type) {
        (Some(sent), Some(said)) if sent != said => {
            let message = format!("the manifest says it is {said:?}, it was sent as {sent:?}");
            return Err(Refusal::manifest_invalid(message));
        }
        (Some(sent), None) => {
            let index = summary.children.is_some();
            let fits = match index {
                true => hull_oci::media_type::is_index(sent),
                false => hull_oci::media_type::is_manifest(sent),
            };
            if !fits {
                let message = format!("what was sent as {sent:?} is something else");
                return Err(Refusal::manifest_invalid(message));
            }
        }
        _ => {}
    }
    let kind = sent.map_or_else(|| summary.kind().to_owned(), str::to_owned);
    let descriptor = Descriptor::new(kind, digest, bytes.len() as u64);
    Ok(Incoming { bytes, summary, descriptor })
}

fn invalid(bytes: &[u8], error: &hull_oci::ParseDocumentError) -> Refusal {
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(rename = "schemaVersion")]
        schema_version: u32,
    }
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message = format!("{message}: {source}");
    }
    if serde_json::from_slice::<Version>(bytes).is_ok_and(|read| read.schema_version == 1) {
        message = "schema 1 manifests are not taken: push the image with a client that writes \
                   schema 2 or OCI manifests"
            .to_owned();
    }
    Refusal::manifest_invalid(message)
}
