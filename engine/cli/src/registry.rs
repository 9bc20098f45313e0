//! What the commands that deal with registries share: names, credentials, advice, an end by signal.

use std::time::Duration;

use anyhow::{Result, anyhow};
use hull_api::SystemVersion;
use hull_api::registry::{AUTH_HEADER, AuthConfig};
use hull_oci::Reference;
use hyper::body::Incoming;
use hyper::{Method, Response};

use crate::client::{ApiError, Client, RequestBody};
use crate::credentials::{RegistryKey, Store, Wanted};
use crate::out;
use crate::progress::{Subject, advice};
use crate::signals::{Signals, killed};

/// How long an engine is asked who it is, by a command that was told to end.
const WHO: Duration = Duration::from_millis(500);

/// Reads the name of an image.
///
/// # Errors
/// In Docker's words.
pub(crate) fn name(text: &str) -> Result<Reference> {
    text.parse().map_err(|error| anyhow!("{error}"))
}

/// What an API that takes name and tag apart calls the tag: the digest, else the tag.
pub(crate) fn tag(name: &Reference) -> Option<String> {
    name.digest().map(ToString::to_string).or_else(|| name.tag().map(str::to_owned))
}

/// The user's credentials.
///
/// # Errors
/// Nothing tells where they are.
pub(crate) fn store() -> Result<Store> {
    Store::of_user(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// One registry as a command deals with it.
#[derive(Debug)]
pub(crate) struct Remote {
    registry: RegistryKey,
    auth: AuthConfig,
}

impl Remote {
    /// The registry of an image, with what the user has for it. Credentials that cannot be had are
    /// told and done without: most images are for everybody.
    pub(crate) async fn of(name: &Reference) -> Self {
        let Some(registry) = RegistryKey::parse(name.registry()) else {
            return Self { registry: RegistryKey::hub(), auth: AuthConfig::default() };
        };
        Self::find(Wanted { registry, repository: name.repository().to_owned() }).await
    }

    /// The same for a registry as a whole.
    pub(crate) async fn named(registry: RegistryKey) -> Self {
        Self::find(Wanted::registry(registry)).await
    }

    async fn find(wanted: Wanted) -> Self {
        let registry = wanted.registry.clone();
        // Who has no home has no credentials.
        let Ok(store) = store() else { return Self { registry, auth: AuthConfig::default() } };
        // A helper may ask its user; a signal ends that too.
        let found = tokio::task::spawn_blocking(move || store.find(&wanted)).await;
        let auth = match found.map_err(anyhow::Error::from).and_then(|found| found) {
            Ok(auth) => auth.unwrap_or_default(),
            Err(error) => {
                out::error(&format!("WARNING: no credentials for {registry}: {error:#}"));
                AuthConfig::default()
            }
        };
        Self { registry, auth }
    }

    /// Sends a request with the credentials.
    ///
    /// # Errors
    /// Those of the request, with advice.
    pub(crate) async fn send(
        &self,
        client: &Client,
        (method, path): (Method, &str),
        content_type: Option<&str>,
        body: RequestBody,
    ) -> Result<Response<Incoming>> {
        let auth = self.auth.to_header();
        let mut headers = vec![(AUTH_HEADER, auth.as_str())];
        headers.extend(content_type.map(|kind| ("content-type", kind)));
        let sent = client.send_with(method, path, &headers, body).await;
        sent.map_err(|error| self.advise(error))
    }

    /// Adds advice to a failure that has none.
    pub(crate) fn advise(&self, error: anyhow::Error) -> anyhow::Error {
        let subject =
            Subject { registry: &self.registry.to_string(), logged_in: !self.auth.is_anonymous() };
        match error.downcast::<ApiError>() {
            Ok(refusal) if refusal.hint.is_none() => {
                let hint = advice(&refusal.message, subject);
                ApiError { hint, ..refusal }.into()
            }
            Ok(refusal) => refusal.into(),
            Err(error) => error,
        }
    }
}

/// Moves layers, unless a signal ends that.
///
/// # Errors
/// Those of `work`, or the signal.
pub(crate) async fn interruptible<T>(
    client: &Client,
    signals: &Signals,
    what: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match signals.until(work).await {
        Ok(result) => result,
        Err(signal) => {
            if keeps_what_came(client).await {
                out::error(&format!("interrupted: the next {what} continues where this one ended"));
            }
            Err(killed(signal))
        }
    }
}

/// Whether the engine is one that goes on with what it has of a layer.
async fn keeps_what_came(client: &Client) -> bool {
    if client.service().is_some() {
        return true;
    }
    let version = tokio::time::timeout(WHO, client.get::<SystemVersion>("/version")).await;
    matches!(version, Ok(Ok(version)) if version.platform.name == "Hull")
}
