//! The client: what `hull-transfer` asks of registries.
//!
//! Asynchronous and on one thread (futures here are not `Send`): it runs inside a
//! `tokio::task::LocalSet` of a current-thread runtime. It opens sockets and nothing else; what it
//! needs from files it is given ([`Trust`], [`DnsSettings`]).
//!
//! Everything is verified here but what only the reader of a blob can: see [`Client::blob`].

mod blob;
mod body;
mod dial;
mod dns;
mod endpoint;
mod error;
mod exchange;
mod lists;
mod login;
mod manifest;
mod pool;
mod push;
mod reach;
mod tls;
mod tokens;
mod web;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use hyper::header::HeaderValue;

pub use blob::Pieces;
pub use dns::DnsSettings;
pub use error::{ClientError, FailureKind};
pub use lists::SearchResult;
pub use login::LoginOutcome;
pub use push::Source;
pub use tls::{HostCertificates, Trust};
pub use web::WebAnswer;

use crate::auth::Credentials;
use crate::config::{Proxies, Registries};
use dial::Dialer;
use dns::Resolver;
use endpoint::Endpoint;
use pool::Pool;
use tls::Tls;

/// What a client is made of.
#[derive(Debug)]
pub struct Settings {
    /// Mirrors, certificates and exceptions.
    pub registries: Registries,
    /// Proxies.
    pub proxies: Proxies,
    /// Certificates.
    pub trust: Trust,
    /// Name servers and hosts.
    pub dns: DnsSettings,
    /// By registry as it stands in a reference; of a mirror by its `host:port`.
    pub credentials: BTreeMap<String, Credentials>,
    /// Refuse everything that needs a network.
    pub offline: bool,
    /// The `User-Agent` of every request.
    pub user_agent: String,
}

/// A client of any number of registries.
#[derive(Debug)]
pub struct Client {
    pool: Pool,
    registries: Registries,
    credentials: BTreeMap<String, Credentials>,
    offline: bool,
    attempts: u32,
    agent: HeaderValue,
    known: RefCell<HashMap<String, Rc<Places>>>,
}

/// Where a registry's repositories are.
#[derive(Debug)]
struct Places {
    /// The mirrors, then the registry itself.
    endpoints: Vec<Endpoint>,
}

impl Client {
    /// A client that has spoken to nobody yet.
    ///
    /// # Errors
    /// The user agent is no header.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let agent = HeaderValue::try_from(settings.user_agent.as_str()).map_err(|_| {
            ClientError::new(FailureKind::Internal, "the user agent cannot be a header")
        })?;
        let registries = settings.registries;
        let dialer = Dialer {
            registries: registries.clone(),
            proxies: settings.proxies,
            resolver: Resolver::new(settings.dns),
            tls: Tls::new(settings.trust),
        };
        Ok(Self {
            pool: Pool::new(dialer, registries.stall()),
            offline: settings.offline || registries.offline(),
            attempts: registries.attempts(),
            registries,
            credentials: settings.credentials,
            agent,
            known: RefCell::default(),
        })
    }

    fn agent(&self) -> &HeaderValue {
        &self.agent
    }

    /// Where the repositories of `registry` are, if it may be spoken to.
    fn places(&self, registry: &str) -> Result<Rc<Places>, ClientError> {
        if self.offline {
            let message = format!("{registry} is not asked: Hull is told to be offline");
            return Err(ClientError::new(FailureKind::Unavailable, message)
                .hint("set `offline = false` in registries.toml to use the network"));
        }
        if self.registries.blocked(registry) {
            let message = format!("{registry} is blocked by registries.toml");
            return Err(ClientError::new(FailureKind::Denied, message));
        }
        if let Some(known) = self.known.borrow().get(registry) {
            return Ok(Rc::clone(known));
        }
        let credentials = |name: &str| self.credentials.get(name).cloned();
        let mut endpoints = Endpoint::mirrors(registry, &self.registries, credentials);
        endpoints.push(Endpoint::origin(registry, &self.registries, credentials(registry))?);
        let places = Rc::new(Places { endpoints });
        self.known.borrow_mut().insert(registry.to_owned(), Rc::clone(&places));
        Ok(places)
    }

    /// Asks the mirrors in order, then the registry itself, until one has an answer.
    async fn any<T>(
        &self,
        registry: &str,
        ask: impl AsyncFn(&Endpoint) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let places = self.places(registry)?;
        let mut mirrors = String::new();
        for endpoint in &places.endpoints {
            if endpoint.mirror && endpoint.down.get() {
                continue;
            }
            match ask(endpoint).await {
                Ok(answer) => return Ok(answer),
                Err(error) if endpoint.mirror => {
                    endpoint.down.set(error.kind == FailureKind::Unavailable);
                    mirrors.push_str(&format!("; its mirror: {}", error.message));
                }
                Err(error) => {
                    let message = format!("{}{mirrors}", error.message);
                    return Err(ClientError { message, ..error });
                }
            }
        }
        Err(ClientError::new(FailureKind::Internal, format!("{registry} is nowhere")))
    }
}

impl Places {
    /// The registry itself: where things are changed.
    fn origin(&self) -> Result<&Endpoint, ClientError> {
        self.endpoints
            .last()
            .ok_or_else(|| ClientError::new(FailureKind::Internal, "a registry is nowhere"))
    }
}
