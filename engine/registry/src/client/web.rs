//! Addresses that a person names: files and repositories of a build. No credentials are sent.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, StatusCode};

use super::Client;
use super::body::Body;
use super::dial::{Target, Want};
use super::error::{ClientError, FailureKind};
use super::exchange::{Reply, failed_status};
use super::pool::Outgoing;
use super::reach::Reach;
use crate::url::{Scheme, Url};

/// As many redirects as are followed.
const MAX_REDIRECTS: usize = 10;

/// An answer that is one of success.
#[derive(Debug)]
pub struct WebAnswer(Reply);

impl Client {
    /// Gets what is at an address, or posts to it where there is a body. Redirects of a GET are
    /// followed, but from nowhere to a place that is nearer to this machine than the one who
    /// redirects.
    ///
    /// # Errors
    /// [`ClientError`]; every status but those of success is one.
    pub async fn web(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<WebAnswer, ClientError> {
        if self.offline {
            let message = format!("{url} is not asked: Hull is told to be offline");
            return Err(ClientError::new(FailureKind::Unavailable, message)
                .hint("set `offline = false` in registries.toml to use the network"));
        }
        let mut url: Url =
            url.parse().map_err(|error| ClientError::invalid(format!("{url}: {error}")))?;
        let mut sent: HeaderMap = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::try_from(*value)
                .map_err(|error| ClientError::invalid(format!("{name}: {error}")))?;
            sent.insert(HeaderName::from_static(name), value);
        }
        sent.insert(USER_AGENT, self.agent().clone());
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let body = Bytes::from(body.unwrap_or_default());
        let mut from: Option<Reach> = None;
        for _ in 0..=MAX_REDIRECTS {
            let want = match url.scheme() {
                Scheme::Http => Want::Plain,
                Scheme::Https => Want::Https,
            };
            let target = Target { authority: url.authority().clone(), want, sent_from: from };
            let outgoing = Outgoing {
                method: method.clone(),
                target: url.target().to_owned(),
                headers: sent.clone(),
                body: Body::Small(body.clone()),
            };
            let answer = self.send_patiently(&target, outgoing).await?;
            let reply = Reply { answer, url };
            let status = reply.answer.status;
            if status.is_success() {
                return Ok(WebAnswer(reply));
            }
            let follow = status.is_redirection()
                && status != StatusCode::NOT_MODIFIED
                && method == Method::GET;
            let Some(location) = reply.answer.header(LOCATION).filter(|_| follow) else {
                let who = reply.url.authority().to_string();
                return Err(failed_status(&who, reply.answer).await);
            };
            from = Some(reply.answer.facts.reach);
            url = self.accepted(&reply, location)?;
        }
        Err(ClientError::invalid(format!("{} redirects too often", url.authority())))
    }
}

impl WebAnswer {
    /// Where it came from in the end, without fragment.
    pub fn url(&self) -> String {
        let url = &self.0.url;
        format!("{}://{}{}", url.scheme().as_str(), url.authority(), url.target())
    }

    /// The text of a header, if there is one and it is text.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.0.answer.header(HeaderName::from_static(name))
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// [`ClientError`]: the connection broke, or nothing comes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let who = self.0.url.authority().to_string();
        self.0.answer.body.next().await.map_err(|error| error.on(who))
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`WebAnswer::next`]; `Invalid` if it has more than `limit` bytes.
    pub async fn read(self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let who = self.0.url.authority().to_string();
        let read = self.0.answer.read(limit).await.map_err(|error| error.on(&who))?;
        read.ok_or_else(|| ClientError::invalid(format!("{who} sends more than {limit} bytes")))
    }
}
