//! One request and what comes of it: authorization, redirects, retries.

use std::time::Duration;

use hyper::header::{
    AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::sleep;

use super::Client;
use super::body::Body;
use super::dial::{Target, Want};
use super::endpoint::Endpoint;
use super::error::{Again, ClientError, FailureKind, shown};
use super::pool::{Answer, Outgoing};
use crate::url::{Scheme, Url};

const MAX_REDIRECTS: usize = 5;

/// The longest error that is read.
const MAX_ERROR: usize = 64 << 10;

/// Waits between attempts are random, up to these.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A server that wants to be left alone for longer than this has said no, in seconds.
const MAX_RETRY_AFTER: u64 = 60;

/// A request to an endpoint.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) place: Place<'a>,
    pub(crate) repository: &'a str,
    /// What it needs to be allowed.
    pub(crate) scopes: &'a str,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// Below `/v2/` of the endpoint.
    Path(&'a str),
    /// Where an earlier answer said.
    Url(&'a Url),
}

/// An answer and where it came from.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) url: Url,
}

#[derive(Deserialize)]
struct RawErrors {
    errors: Vec<RawError>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl Client {
    /// Sends `ask`, again if that may help. The answer may have any status but 401, redirects
    /// where those are followed, and those that pass (429, 5xx).
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        body: Body,
    ) -> Result<Reply, ClientError> {
        let mut attempt = 0;
        let mut next = Some(body);
        loop {
            let Some(body) = next.take() else {
                return Err(ClientError::broken("what was sent cannot be sent again"));
            };
            next = body.again();
            let result = self.once(endpoint, ask, body).await;
            let error = match result {
                Ok(reply) if !passes(reply.answer.status) => return Ok(reply),
                Ok(reply) => {
                    let who = endpoint.target.authority.to_string();
                    failed_status(&who, reply.answer).await
                }
                Err(error) => error,
            };
            attempt += 1;
            if next.is_none() || !self.wait(&error, attempt).await {
                return Err(error);
            }
        }
    }

    /// Sends to somewhere that is no endpoint, again if that may help.
    pub(crate) async fn send_patiently(
        &self,
        target: &Target,
        outgoing: Outgoing,
    ) -> Result<Answer, ClientError> {
        let Outgoing { method, target: path, headers, body } = outgoing;
        let mut attempt = 0;
        loop {
            let Some(again) = body.again() else {
                return Err(ClientError::broken("what was sent cannot be sent again"));
            };
            let (method, path, headers) = (method.clone(), path.clone(), headers.clone());
            let outgoing = Outgoing { method, target: path, headers, body: again };
            let error = match self.pool.send(target, outgoing).await {
                Ok(answer) if !passes(answer.status) => return Ok(answer),
                Ok(answer) => failed_status(&target.authority.to_string(), answer).await,
                Err(error) => error,
            };
            attempt += 1;
            if !self.wait(&error, attempt).await {
                return Err(error);
            }
        }
    }

    /// Waits before the attempt after the `attempt`th; false if there is to be none.
    pub(crate) async fn wait(&self, error: &ClientError, attempt: u32) -> bool {
        let wait = match error.again {
            Again::No => return false,
            _ if attempt >= self.attempts => return false,
            Again::After(seconds) if seconds > MAX_RETRY_AFTER => return false,
            Again::After(seconds) => Duration::from_secs(seconds) + random(FIRST_WAIT),
            Again::Soon => {
                random(LONGEST_WAIT.min(FIRST_WAIT * 2u32.saturating_pow(attempt.min(10))))
            }
        };
        sleep(wait).await;
        true
    }

    async fn once(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        body: Body,
    ) -> Result<Reply, ClientError> {
        let again = body.again();
        let sent = self.authorization(endpoint, ask.scopes).await?;
        let first = self.send_to(endpoint, ask, ask.place, sent.as_ref(), body).await?;
        let (mut reply, bound) = first;
        if reply.answer.status == StatusCode::UNAUTHORIZED && bound {
            self.challenged(endpoint, &reply.answer.headers, ask.scopes, sent.is_some())?;
            let Some(body) = again else {
                // The caller begins anew, with what is known now.
                return Err(ClientError::broken("the registry wants a new token"));
            };
            drain(reply).await;
            let sent = self.authorization(endpoint, ask.scopes).await?;
            (reply, _) = self.send_to(endpoint, ask, ask.place, sent.as_ref(), body).await?;
            if reply.answer.status == StatusCode::UNAUTHORIZED {
                self.challenged(endpoint, &reply.answer.headers, ask.scopes, true)?;
                let message = format!(
                    "{} does not let us at {}: it may not exist, or need other credentials",
                    endpoint.registry, ask.repository
                );
                return Err(ClientError::new(FailureKind::Unauthorized, message)
                    .hint(format!("log in with `{}`", endpoint.login())));
            }
        }
        self.follow(endpoint, ask, reply).await
    }

    /// Follows redirects of reading requests.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        mut reply: Reply,
    ) -> Result<Reply, ClientError> {
        let reads = matches!(ask.method, Method::GET | Method::HEAD);
        let mut hops = 0;
        while reply.answer.status.is_redirection()
            && reply.answer.status != StatusCode::NOT_MODIFIED
        {
            let authority = reply.url.authority().clone();
            if !reads {
                let message =
                    format!("{authority} redirects a {}, which is not followed", ask.method);
                return Err(ClientError::invalid(message));
            }
            hops += 1;
            if hops > MAX_REDIRECTS {
                let message = format!("{authority} redirects for the {hops}th time");
                return Err(ClientError::invalid(message));
            }
            let Some(location) = reply.answer.header(LOCATION) else {
                return Err(ClientError::invalid(format!("{authority} redirects to nowhere")));
            };
            let url = self.accepted(&reply, location)?;
            drain(reply).await;
            let sent = self.authorization(endpoint, ask.scopes).await?;
            let (next, bound) =
                self.send_to(endpoint, ask, Place::Url(&url), sent.as_ref(), Body::empty()).await?;
            if next.answer.status == StatusCode::UNAUTHORIZED && !bound {
                // Whoever we were sent to gets no credentials (CVE-2020-15157).
                let message = format!(
                    "{authority} redirects to {}, which wants to know who we \
                     are; it is not told",
                    url.authority()
                );
                return Err(ClientError::new(FailureKind::Denied, message));
            }
            reply = next;
        }
        Ok(reply)
    }

    /// Where an answer's `Location` leads, if it may.
    pub(crate) fn accepted(&self, reply: &Reply, location: &str) -> Result<Url, ClientError> {
        let authority = reply.url.authority();
        let url = reply.url.join(location).map_err(|error| {
            ClientError::invalid(format!("{authority} redirects to where is refused: {error}"))
        })?;
        if reply.url.scheme() == Scheme::Https && url.scheme() == Scheme::Http {
            let message = format!(
                "{authority} redirects to {}, which is to be spoken to without TLS",
                url.authority()
            );
            return Err(ClientError::new(FailureKind::Denied, message));
        }
        Ok(url)
    }

    /// Sends one request. Credentials go with it only to the endpoint itself, below the
    /// repository they are for; whether it went there is returned.
    async fn send_to(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        place: Place<'_>,
        authorization: Option<&HeaderValue>,
        body: Body,
    ) -> Result<(Reply, bool), ClientError> {
        let known = self.pool.facts(&endpoint.target);
        let (target, path, bound) = match place {
            Place::Path(path) => (endpoint.target.clone(), endpoint.path(path), true),
            Place::Url(url) => {
                let own = known.is_some_and(|facts| {
                    let base = Url::new(facts.scheme, endpoint.target.authority.clone(), "/");
                    base.same_origin(url)
                });
                if own {
                    let bound = endpoint.owns(ask.repository, url.target());
                    (endpoint.target.clone(), url.target().to_owned(), bound)
                } else {
                    let from = known.map_or(super::reach::Reach::Global, |facts| facts.reach);
                    let target = Target {
                        authority: url.authority().clone(),
                        want: Want::of(url.scheme()),
                        sent_from: Some(from),
                    };
                    (target, url.target().to_owned(), false)
                }
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &ask.headers {
            let value = HeaderValue::try_from(value.as_str())
                .map_err(|error| ClientError::invalid(format!("{name}: {error}")))?;
            headers.append(name.clone(), value);
        }
        headers.insert(USER_AGENT, self.agent().clone());
        if let Some(authorization) = authorization.filter(|_| bound) {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let outgoing = Outgoing { method: ask.method.clone(), target: path.clone(), headers, body };
        let answer = self.pool.send(&target, outgoing).await?;
        let url = Url::new(answer.facts.scheme, target.authority, path);
        Ok((Reply { answer, url }, bound))
    }
}

impl Reply {
    /// The error that this answer is.
    pub(crate) async fn fail(self) -> ClientError {
        let who = self.url.authority().to_string();
        failed_status(&who, self.answer).await
    }
}

/// Whether a status is likely to be another soon.
fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// An answer that nobody needs: its connection may be used again if the rest is short.
async fn drain(reply: Reply) {
    let _ = reply.answer.read(MAX_ERROR).await;
}

/// What an answer with a status that is an error says.
pub(crate) async fn failed_status(who: &str, answer: Answer) -> ClientError {
    let status = answer.status;
    let after = answer.header(RETRY_AFTER).and_then(|value| value.trim().parse::<u64>().ok());
    let kind = match status.as_u16() {
        404 | 410 => FailureKind::NotFound,
        401 => FailureKind::Unauthorized,
        403 => FailureKind::Denied,
        405 | 501 => FailureKind::Unsupported,
        408 | 429 | 500..=599 => FailureKind::Unavailable,
        _ => FailureKind::Invalid,
    };
    // Some say it in words only; the status alone has to do then.
    let body = answer.read(MAX_ERROR).await.ok().flatten().unwrap_or_default();
    let mut message = format!("{who} answers {}", status.as_u16());
    if let Some(reason) = status.canonical_reason() {
        message.push_str(&format!(" {reason}"));
    }
    if let Some(said) = said(&body) {
        message.push_str(&format!(": {said}"));
    }
    let mut error = ClientError::new(kind, message);
    if passes(status) {
        error.again = after.map_or(Again::Soon, Again::After);
        if let Some(seconds) = after.filter(|seconds| *seconds > MAX_RETRY_AFTER) {
            error.message.push_str(&format!(" (try again in {seconds} s)"));
        }
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        error.hint = Some("wait, log in, or use a mirror (registries.toml)".to_owned());
    }
    error
}

/// The registry's own words. Spec: distribution-spec, "Error Codes".
fn said(body: &[u8]) -> Option<String> {
    let raw: RawErrors = serde_json::from_slice(body).ok()?;
    let first = raw.errors.first()?;
    let text = match first.message.as_deref() {
        Some(message) if !message.is_empty() => format!("{} ({})", message, first.code),
        _ => first.code.clone(),
    };
    Some(shown(&text)).filter(|text| !text.is_empty())
}

/// A header that is not shown.
pub(crate) fn authorization(value: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        ClientError::new(FailureKind::Invalid, "the credentials hold characters that none have")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A random time below `limit`.
fn random(limit: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness the wait is the longest.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        return limit;
    }
    limit * u32::from(u16::from_be_bytes(bytes)) / u32::from(u16::MAX)
}
