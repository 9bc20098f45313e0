//! Blobs going out.

use std::sync::Arc;

use hull_oci::Digest;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    IF_NONE_MATCH, IF_RANGE,
};
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;

use super::access::Action;
use super::body::{self, Body};
use super::catalog;
use super::handler::{Call, DIGEST};
use super::mirror::{self, Coming};
use super::range::{self, Part};
use super::refusal::Refusal;
use super::route::RepositoryName;
use super::storage::Blob;

/// Where a blob's bytes come from.
enum Source {
    /// They are here.
    Here(Arc<dyn Blob>),
    /// Another registry has them.
    Coming(Box<Coming>),
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::Here(blob) => blob.size(),
            Self::Coming(coming) => coming.size(),
        }
    }
}

/// `GET` and `HEAD` of a blob.
pub(super) async fn get(
    call: &Call,
    name: &RepositoryName,
    text: &str,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull])?;
    let digest = catalog::digest(text)?;
    let head = call.method == Method::HEAD;
    // Who may push and only asks whether it is here relies on its being here for a while.
    let pushes = head && call.allows(name, Action::Push);
    let (catalog, wanted, of) = (call.catalog(), digest.clone(), name.clone());
    let source = call
        .blocking(move || {
            let catalog = catalog;
            if !catalog.shows_blob(&of, &wanted)? {
                return Ok(Err(unknown(&of, &wanted)));
            }
            if pushes {
                catalog.keep_for_push(&of, &wanted)?;
            }
            let blob = catalog.storage.open(&wanted)?;
            Ok(blob.map(Source::Here).ok_or_else(|| gone(&of, &wanted)))
        })
        .await?;
    let source = match source {
        Ok(source) => source,
        Err(refusal) => match mirror::blob(&call.shared, name, &digest).await? {
            Some(coming) => Source::Coming(Box::new(coming)),
            None => return Err(refusal),
        },
    };
    let size = source.size();
    let mut response = Response::new(body::empty());
    describe(response.headers_mut(), &digest, call.is_private());
    if matches(&call.headers, IF_NONE_MATCH, &digest) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let same = !call.headers.contains_key(IF_RANGE) || matches(&call.headers, IF_RANGE, &digest);
    let part = if same { range::part(&call.headers, size) } else { Part::Whole };
    let (first, end) = match part {
        Part::Whole => (0, size),
        Part::Bytes(first, end) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{}/{size}", end - 1);
            response.headers_mut().insert(CONTENT_RANGE, header(&range));
            (first, end)
        }
        Part::Nothing => {
            let message = format!("the blob has {size} bytes");
            let refusal = Refusal::out_of_order(message);
            return Err(refusal.header(CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(end - first));
    if !head {
        *response.body_mut() = match source {
            Source::Here(blob) => body::of_blob(blob, first, end, call.shared.blocking.clone()),
            Source::Coming(coming) => coming.body(&call.shared, first, end).await?,
        };
    }
    Ok(response)
}

/// `DELETE` of a blob: forgets that it was uploaded. What a manifest refers to stays.
pub(super) async fn delete(
    call: &Call,
    name: &RepositoryName,
    text: &str,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Delete])?;
    let digest = catalog::digest(text)?;
    let (catalog, of) = (call.catalog(), name.clone());
    call.blocking(move || {
        if !catalog.shows_blob(&of, &digest)? {
            return Err(unknown(&of, &digest));
        }
        if catalog.view(&of)?.blobs.contains_key(&digest) {
            let message = format!("a manifest in {} refers to {digest}", of.as_str());
            return Err(Refusal::denied(format!("{message}: delete that first")));
        }
        catalog.storage.remove_blob(of.as_str(), &digest)?;
        catalog.changed(&of);
        Ok(())
    })
    .await?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Headers of what never changes.
pub(super) fn describe(headers: &mut HeaderMap, digest: &Digest, private: bool) {
    headers.insert(DIGEST, header(digest.as_str()));
    headers.insert(ETAG, header(&format!("\"{digest}\"")));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let cached = if private {
        "private, max-age=31536000, immutable"
    } else {
        "max-age=31536000, immutable"
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cached));
}

/// Whether a condition names the digest.
pub(super) fn matches(
    headers: &HeaderMap,
    condition: hyper::header::HeaderName,
    digest: &Digest,
) -> bool {
    let tags = headers.get(condition).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tags.split(',').any(|tag| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == digest.as_str()
    })
}

pub(super) fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digests, names and numbers are plain text")
}

fn unknown(name: &RepositoryName, digest: &Digest) -> Refusal {
    let message = format!("{} has no blob {digest}", name.as_str());
    Refusal::blob_unknown(message).detail(json!({ "digest": digest }))
}

/// A manifest refers to it and its bytes are not here: the engine let the compressed copy go.
fn gone(name: &RepositoryName, digest: &Digest) -> Refusal {
    let message = format!(
        "the compressed copy of {digest} in {} is not in the store any more: pull or push the image again",
        name.as_str()
    );
    Refusal::blob_unknown(message).detail(json!({ "digest": digest }))
}
