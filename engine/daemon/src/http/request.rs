//! A request taken apart.

use super::query::decode;
use super::{Query, RequestBody};
use crate::error::ApiError;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hull_api::{API_VERSION, MIN_API_VERSION};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Uri, Version};
use serde::de::DeserializeOwned;

/// The most bytes a JSON body may have: a seccomp profile travels in one.
const MAX_JSON_BYTES: usize = 8 << 20;

/// One request.
#[derive(Debug)]
pub struct Request {
    /// Its method; HEAD is told as GET.
    pub method: Method,
    /// Whether it was HEAD.
    pub head: bool,
    /// Its path without version prefix, split at slashes and decoded.
    pub segments: Vec<String>,
    /// Its query.
    pub query: Query,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: RequestBody,
    /// The connection, once the answer `101` was sent.
    pub upgrade: OnUpgrade,
}

impl Request {
    /// Takes a request apart.
    ///
    /// # Errors
    /// A version the engine does not speak, a damaged address, a request of a web page.
    pub fn new(mut request: hyper::Request<Incoming>) -> Result<Self, ApiError> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body);
        // A browser tells where a request comes from; no client of an engine does.
        if parts.headers.contains_key(hyper::header::ORIGIN) {
            return Err(ApiError::new(
                hull_api::ErrorKind::Denied,
                "requests of web pages are refused",
            ));
        }
        let head = parts.method == Method::HEAD;
        let method = if head { Method::GET } else { parts.method };
        let segments = segments(&parts.uri)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        if parts.version == Version::HTTP_11 && !parts.headers.contains_key(HOST) {
            return Err(ApiError::invalid("missing required Host header"));
        }
        if !body.is_end_stream() && carries_json(&method, &segments) {
            check_json(&parts.headers)?;
        }
        Ok(Self { method, head, segments, query, headers: parts.headers, body, upgrade })
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// A body that is too long, broken off, or not of this shape.
    pub async fn json<T: DeserializeOwned>(body: RequestBody) -> Result<T, ApiError> {
        let bytes = read(body).await?;
        if bytes.is_empty() {
            return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
        }
        parse(&bytes)
    }

    /// Reads the body as JSON; an empty one gives the default.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn json_or_default<T: DeserializeOwned + Default>(
        body: RequestBody,
    ) -> Result<T, ApiError> {
        let bytes = read(body).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        parse(&bytes)
    }

    /// The announced length of the body in bytes, if any.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

/// Whether the body of such a request is JSON, and nothing else may be in it.
fn carries_json(method: &Method, segments: &[String]) -> bool {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    method == Method::POST
        && matches!(
            segments.as_slice(),
            ["containers" | "volumes" | "networks", "create"]
                | ["containers", _, "exec" | "update"]
                | ["networks", _, "connect" | "disconnect"]
                | ["exec", _, "start"]
                | ["commit" | "auth"]
        )
}

/// Refuses a body that says it is something else than JSON, in Docker's words: a web form that
/// another site sends cannot say that it is JSON.
fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let malformed =
        |why| ApiError::invalid(format!("malformed Content-Type header ({text}): mime: {why}"));
    let mut parts = text.split(';');
    let media = parts.next().unwrap_or_default().trim();
    if media.is_empty() {
        return Err(malformed("no media type"));
    }
    if parts.any(|part| !part.contains('=')) {
        return Err(malformed("invalid media parameter"));
    }
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::invalid(format!(
            "unsupported Content-Type header ({text}): must be 'application/json'"
        )));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))
}

async fn read(body: RequestBody) -> Result<bytes::Bytes, ApiError> {
    let collected = Limited::new(body, MAX_JSON_BYTES).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::invalid(format!("the request body is over {MAX_JSON_BYTES} bytes"))
        } else {
            ApiError::invalid(format!("the request body broke off: {error}"))
        }
    })
}

fn segments(uri: &Uri) -> Result<Vec<String>, ApiError> {
    let mut path = uri.path().trim_start_matches('/');
    if let Some((version, rest)) = split_version(path) {
        check_version(version)?;
        path = rest;
    }
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| decode(segment, false))
        .collect()
}

/// Splits `v1.51/rest`.
fn split_version(path: &str) -> Option<(&str, &str)> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let version = first.strip_prefix('v')?;
    let numbers = version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (numbers && version.starts_with(|first: char| first.is_ascii_digit()))
        .then_some((version, rest))
}

fn check_version(version: &str) -> Result<(), ApiError> {
    let asked = number(version);
    if asked > number(API_VERSION) {
        return Err(ApiError::invalid(format!(
            "client version {version} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    if asked < number(MIN_API_VERSION) {
        return Err(ApiError::invalid(format!(
            "client version {version} is too old. Minimum supported API version is \
             {MIN_API_VERSION}, please upgrade your client to a newer version"
        )));
    }
    Ok(())
}

/// Its numbers, which compare like the versions.
fn number(version: &str) -> Vec<u64> {
    version.split('.').map(|number| number.parse().unwrap_or(u64::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &'static str, expected: Result<&[&str], &str>) {
        let found = segments(&Uri::from_static(path)).map_err(|error| error.message);
        match expected {
            Ok(expected) => assert_eq!(found.unwrap(), expected),
            Err(part) => assert!(found.unwrap_err().contains(part)),
        }
    }

    #[test]
    fn paths() {
        check("/_ping", Ok(&["_ping"]));
        check("/v1.51/containers/json", Ok(&["containers", "json"]));
        check("/v1.24/images/a%2Fb/json", Ok(&["images", "a/b", "json"]));
        check("/volumes/v1", Ok(&["volumes", "v1"]));
        check("/v/info", Ok(&["v", "info"]));
        check("/v1/info", Err("too old"));
        check("/v1.51.1/info", Err("too new"));
        check("/v1.52/info", Err("too new"));
        check("/v2.0/info", Err("too new"));
        check("/v1.23/info", Err("too old"));
        check("/v1.99999999999999999999999/info", Err("too new"));
    }

    #[test]
    fn only_json_is_json() {
        let check = |text: &str, part: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().unwrap());
            let found = check_json(&headers).map_err(|error| error.message);
            match part {
                "" => found.unwrap(),
                part => assert!(found.unwrap_err().contains(part), "{text}"),
            }
        };
        check("application/json", "");
        check("Application/JSON; charset=utf-8", "");
        check("text/plain", "unsupported Content-Type header (text/plain): must be");
        check("application/json; charset", "mime: invalid media parameter");
        check("", "malformed Content-Type header (): mime: no media type");
    }
}
