//! Tokens, and who is asked for one. Spec: distribution, "Token Authentication" and "OAuth2".
//!
//! A registry names its token server, and that one is sent the password. So what it names is held
//! to rules (CVE-2020-15157, CVE-2026-48978, CVE-2026-33540): over TLS, unless the registry itself
//! goes without; not on this machine, this link or in a private network, unless the registry is
//! there; and with credentials only if it belongs to the registry's owner by its name, or the
//! operator says so. Redirects of token servers are not followed.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use super::Client;
use super::body::Body;
use super::dial::{Facts, Target, Want};
use super::endpoint::Endpoint;
use super::error::{ClientError, FailureKind, shown};
use super::exchange::{authorization, failed_status};
use super::pool::Outgoing;
use crate::auth::{Challenge, Credentials, Secret, basic};
use crate::url::{Scheme, Url, encode};

/// The longest answer of a token server.
const MAX_ANSWER: usize = 1 << 20;

/// As the specification has it, for a server that does not say.
const DEFAULT_LIFE: u64 = 60;

/// A token that ends within this time is not used any more.
const MARGIN: Duration = Duration::from_secs(10);

const CLIENT_ID: &str = "hull";

/// What a registry asks for.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// User and password with each request.
    Basic,
    /// Tokens of this server.
    Bearer { realm: String, service: Option<String> },
}

/// A token and when it ends.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    pub(crate) ends: Instant,
    /// To be kept instead of the password.
    pub(crate) refresh: Option<Secret>,
}

#[derive(Deserialize)]
struct RawToken {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Client {
    /// What to send with a request that needs `scopes`; nothing as long as nothing was asked for.
    pub(crate) async fn authorization(
        &self,
        endpoint: &Endpoint,
        scopes: &str,
    ) -> Result<Option<HeaderValue>, ClientError> {
        if let Some(Credentials::RegistryToken(token)) = &endpoint.credentials {
            return authorization(&format!("Bearer {}", token.reveal())).map(Some);
        }
        let known = endpoint.known.borrow().clone();
        match known {
            None => Ok(None),
            Some(Known::Basic) => match &endpoint.credentials {
                Some(Credentials::Basic { username, password }) => {
                    let both = format!("{username}:{}", password.reveal());
                    authorization(basic(&both).reveal()).map(Some)
                }
                _ => Ok(None),
            },
            Some(Known::Bearer { realm, service }) => {
                let token = self.token(endpoint, &realm, service.as_deref(), scopes).await?;
                authorization(&format!("Bearer {}", token.secret.reveal())).map(Some)
            }
        }
    }

    /// Takes in what a registry answered 401 with. An error if nothing more can be done: what was
    /// sent was the answer to the same question.
    pub(crate) fn challenged(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        scopes: &str,
        was_sent: bool,
    ) -> Result<(), ClientError> {
        let values = headers.get_all(hyper::header::WWW_AUTHENTICATE).iter();
        let challenge = Challenge::best(values.filter_map(|value| value.to_str().ok()));
        let refused = || refused(endpoint, "the registry");
        let known = match challenge {
            Some(Challenge::Basic) if endpoint.credentials.is_none() => return Err(refused()),
            Some(Challenge::Basic) => Known::Basic,
            Some(Challenge::Bearer { realm, service, .. }) => Known::Bearer { realm, service },
            None => return Err(refused()),
        };
        if was_sent {
            // A token may have ended early; another one is fetched once. A password stays wrong.
            let old = endpoint.tokens.borrow_mut().remove(scopes);
            if matches!(known, Known::Basic) || old.is_none() {
                return Err(refused());
            }
        }
        *endpoint.known.borrow_mut() = Some(known);
        Ok(())
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        realm: &str,
        service: Option<&str>,
        scopes: &str,
    ) -> Result<Token, ClientError> {
        let known = || {
            let tokens = endpoint.tokens.borrow();
            tokens.get(scopes).filter(|token| token.ends > Instant::now() + MARGIN).cloned()
        };
        if let Some(token) = known() {
            return Ok(token);
        }
        let _fetching = endpoint.fetching.lock().await;
        if let Some(token) = known() {
            return Ok(token);
        }
        let token = self.fetch_token(endpoint, realm, service, scopes, false).await?;
        endpoint.tokens.borrow_mut().insert(scopes.to_owned(), token.clone());
        Ok(token)
    }

    /// Asks a token server. With `keep`, for something to be kept instead of the password too.
    pub(crate) async fn fetch_token(
        &self,
        endpoint: &Endpoint,
        realm: &str,
        service: Option<&str>,
        scopes: &str,
        keep: bool,
    ) -> Result<Token, ClientError> {
        let registry = &endpoint.registry;
        let realm = self.accepted_realm(endpoint, realm)?;
        let facts = self.facts(endpoint);
        let target = Target {
            authority: realm.authority().clone(),
            want: Want::of(realm.scheme()),
            sent_from: Some(facts.reach),
        };
        let outgoing = token_request(endpoint, &realm, service, scopes, keep, self.agent())?;
        let host = realm.authority();
        let on = |error: ClientError| error.on(format!("cannot get a token for {registry}"));
        let answer = self.send_patiently(&target, outgoing).await.map_err(on)?;
        let status = answer.status;
        if status.is_redirection() {
            let message = format!("the token server {host} redirects, which is not followed");
            return Err(on(ClientError::new(FailureKind::Denied, message)));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(refused(endpoint, &format!("the token server {host}")));
        }
        if status != StatusCode::OK {
            return Err(on(failed_status(&format!("the token server {host}"), answer).await));
        }
        let Some(body) = answer.read(MAX_ANSWER).await.map_err(on)? else {
            return Err(on(ClientError::invalid(format!("{host} answers with more than 1 MiB"))));
        };
        read_token(&body)
            .map_err(|reason| on(ClientError::invalid(format!("the answer of {host}: {reason}"))))
    }

    /// Whether the address of a token server may be used, and sent what we have.
    fn accepted_realm(&self, endpoint: &Endpoint, realm: &str) -> Result<Url, ClientError> {
        let registry = &endpoint.registry;
        let url: Url = realm.parse().map_err(|error| {
            let message = format!("{registry} names a token server that is refused: {error}");
            ClientError::new(FailureKind::Denied, shown(&message))
        })?;
        let host = &url.authority().host;
        if url.scheme() == Scheme::Http && self.facts(endpoint).scheme == Scheme::Https {
            let message = format!(
                "{registry} names the token server {}, which is to be spoken to without TLS",
                url.authority()
            );
            return Err(ClientError::new(FailureKind::Denied, message));
        }
        let own = &endpoint.target.authority.host;
        let trusted = host.shares_owner(own) || endpoint.realms.contains(host);
        if endpoint.credentials.is_some() && !trusted {
            let message = format!(
                "{registry} wants its credentials sent to {}, which is another's by its name",
                url.authority()
            );
            return Err(ClientError::new(FailureKind::Denied, message).hint(format!(
                "if that is right, name {host} as one of `realms` under [registry.\"{registry}\"] \
                 in registries.toml"
            )));
        }
        Ok(url)
    }

    /// What the connection to an endpoint is.
    fn facts(&self, endpoint: &Endpoint) -> Facts {
        // Nobody is asked for a token who was not spoken to.
        self.pool
            .facts(&endpoint.target)
            .unwrap_or(Facts { scheme: Scheme::Https, reach: super::reach::Reach::Global })
    }
}

/// The scopes of a request as one text, each once, in order.
pub(crate) fn scopes(repositories: &[(&str, &str)]) -> String {
    let mut scopes: Vec<String> = repositories
        .iter()
        .map(|(repository, actions)| format!("repository:{repository}:{actions}"))
        .collect();
    scopes.sort();
    scopes.dedup();
    scopes.join(" ")
}

fn token_request(
    endpoint: &Endpoint,
    realm: &Url,
    service: Option<&str>,
    scopes: &str,
    keep: bool,
    agent: &HeaderValue,
) -> Result<Outgoing, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(hyper::header::USER_AGENT, agent.clone());
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(Credentials::IdentityToken(token)) = &endpoint.credentials {
        let mut form = String::new();
        let mut add = |name: &str, value: &str| {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            encode(&mut form, value);
        };
        add("grant_type", "refresh_token");
        add("refresh_token", token.reveal());
        add("client_id", CLIENT_ID);
        if let Some(service) = service {
            add("service", service);
        }
        if !scopes.is_empty() {
            add("scope", scopes);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let (target, body) = (realm.target().to_owned(), Body::Small(Bytes::from(form)));
        return Ok(Outgoing { method: Method::POST, target, headers, body });
    }
    let mut url = realm.clone();
    if let Some(service) = service {
        url = url.with_query("service", service);
    }
    for scope in scopes.split(' ').filter(|scope| !scope.is_empty()) {
        url = url.with_query("scope", scope);
    }
    url = url.with_query("client_id", CLIENT_ID);
    if let Some(Credentials::Basic { username, password }) = &endpoint.credentials {
        url = url.with_query("account", username);
        let both = format!("{username}:{}", password.reveal());
        let name: HeaderName = hyper::header::AUTHORIZATION;
        headers.insert(name, authorization(basic(&both).reveal())?);
    }
    if keep {
        url = url.with_query("offline_token", "true");
    }
    let target = url.target().to_owned();
    Ok(Outgoing { method: Method::GET, target, headers, body: Body::empty() })
}

fn read_token(body: &[u8]) -> Result<Token, String> {
    let raw: RawToken = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let given = |token: Option<String>| token.filter(|token| !token.is_empty());
    let secret = given(raw.token).or(given(raw.access_token)).ok_or("it holds no token")?;
    if !secret.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err("its token holds characters that no token has".to_owned());
    }
    let life = raw.expires_in.unwrap_or(DEFAULT_LIFE).clamp(DEFAULT_LIFE, 86400);
    let refresh = given(raw.refresh_token).map(Secret::new);
    let ends = Instant::now() + Duration::from_secs(life);
    Ok(Token { secret: Secret::new(secret), ends, refresh })
}

fn refused(endpoint: &Endpoint, who: &str) -> ClientError {
    let registry = &endpoint.registry;
    let place = if endpoint.mirror {
        format!("{} (a mirror of {registry})", endpoint.target.authority)
    } else {
        registry.clone()
    };
    if endpoint.credentials.is_some() {
        let message = format!("{who} refuses the credentials for {place}");
        return ClientError::new(FailureKind::Unauthorized, message)
            .hint(format!("log in again with `{}`", endpoint.login()));
    }
    let message = format!("{place} does not say whether it has it to one who is not logged in");
    ClientError::new(FailureKind::Unauthorized, message)
        .hint(format!("log in with `{}`", endpoint.login()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let token = read_token(br#"{"access_token":"a.b","expires_in":300,"x":1}"#).unwrap();
        assert_eq!(token.secret.reveal(), "a.b");
        assert!(token.ends > Instant::now() + Duration::from_secs(200));
        for bad in
            [&b"{}"[..], b"[]", b"{\"token\":\"\"}", b"{\"token\":\"a\\r\\nX: y\"}", b"nonsense"]
        {
            assert!(read_token(bad).is_err());
        }
    }

    #[test]
    fn scope_text() {
        let both = scopes(&[("b", "pull,push"), ("a", "pull"), ("a", "pull")]);
        assert_eq!(both, "repository:a:pull repository:b:pull,push");
    }
}
