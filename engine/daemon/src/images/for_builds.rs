//! Pulls and pushes of builds, which wait for them on their own thread.

use std::fmt;

use hull_api::ErrorKind;
use hull_api::build::base64;
use hull_api::image::ProgressMessage;
use hull_api::registry::AuthConfigs;
use hull_oci::{Descriptor, Digest, Index, Platform, Reference};
use hull_registry::auth::Credentials;
use hull_store::Lease;
use hull_worker::job::Method;
use hyper::header::HeaderMap;

use super::pull::PullOptions;
use super::push::PushOptions;
use super::remote::{self, Remote, Stop};
use super::{CacheDocument, RemoteError};
use crate::error::ApiError;
use crate::http::Query;
use crate::service::Engine;

/// The key of Docker Hub's credentials.
const HUB: &str = "https://index.docker.io/v1/";

/// Registries, for a build.
pub(crate) struct ForBuilds<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) credentials: &'a AuthConfigs,
    /// Hears how far it is; false ends it.
    pub(crate) tell: &'a (dyn Fn(&ProgressMessage) -> bool + Sync),
    /// Hears what ends it at once.
    pub(crate) begun: &'a (dyn Fn(&Stop) + Sync),
}

impl fmt::Debug for ForBuilds<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ForBuilds").finish_non_exhaustive()
    }
}

/// The credentials that a build brings.
///
/// # Errors
/// A header that holds none.
pub(crate) fn credentials_of_build(headers: &HeaderMap) -> Result<AuthConfigs, ApiError> {
    let invalid = || ApiError::invalid("invalid X-Registry-Config header");
    let Some(value) = headers.get("x-registry-config") else { return Ok(AuthConfigs::new()) };
    let mut text = value.to_str().map_err(|_| invalid())?.replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    let bytes = base64::decode(&text).ok_or_else(invalid)?;
    if bytes.is_empty() {
        return Ok(AuthConfigs::new());
    }
    serde_json::from_slice(&bytes).map_err(|_| invalid())
}

impl ForBuilds<'_> {
    /// Pulls an image.
    ///
    /// # Errors
    /// Those of a pull.
    pub(crate) fn pull(&self, reference: &Reference, platform: &Platform) -> Result<(), ApiError> {
        let options =
            PullOptions { reference: reference.clone(), platform: Some(platform.clone()) };
        self.with(reference, |remote| Ok(super::pull::pull(remote, &options)?))
            .map_err(|error| error.context(&format!("cannot pull {}", reference.familiar())))
    }

    /// Pushes an image.
    ///
    /// # Errors
    /// Those of a push.
    pub(crate) fn push(&self, reference: &Reference, compression: Method) -> Result<(), ApiError> {
        let options = PushOptions { reference: reference.clone(), platform: None, compression };
        self.with(reference, |remote| Ok(super::push::push(remote, &options)?))
            .map_err(|error| error.context(&format!("cannot push {}", reference.familiar())))
    }

    /// The manifest and config that a name leads to for a platform; `None` if it leads to an index
    /// that is `foreign`.
    ///
    /// # Errors
    /// Those of a pull.
    pub(crate) fn cache(
        &self,
        reference: &Reference,
        platform: &Platform,
        foreign: &dyn Fn(&Index) -> bool,
    ) -> Result<Option<CacheDocument>, ApiError> {
        self.with(reference, |remote| Ok(super::pull::cache(remote, reference, platform, foreign)?))
    }

    /// Brings layers that lie in a repository, each with its diffID.
    ///
    /// # Errors
    /// Those of a pull. Layers that are here then are whole.
    pub(crate) fn layers(
        &self,
        reference: &Reference,
        layers: &[(Descriptor, Digest)],
        lease: &Lease<'_>,
    ) -> Result<(), ApiError> {
        self.with(reference, |remote| {
            Ok(super::pull::bring_layers(remote, reference, layers, lease)?)
        })
    }

    /// Pushes a manifest whose blobs are here, or come from somewhere that is known.
    ///
    /// # Errors
    /// Those of a push.
    pub(crate) fn push_cache(
        &self,
        reference: &Reference,
        manifest: &Descriptor,
    ) -> Result<(), ApiError> {
        self.with(reference, |remote| Ok(super::push::push_manifest(remote, reference, manifest)?))
    }

    fn with<T>(
        &self,
        reference: &Reference,
        work: impl FnOnce(Remote<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let registry = reference.registry();
        let session = remote::session(registry, self.credentials(registry), &Query::default())?;
        let stop = Stop::default();
        (self.begun)(&stop);
        let send = |message: ProgressMessage, _| {
            if !(self.tell)(&message) {
                stop.stop();
            }
        };
        let done = remote::run(self.engine, &session, &stop, &remote::Progress::new(&send), work);
        stop.release();
        match done {
            // A failure stops what else is under way too: then it is the one that is told.
            Err(error) if error.message.ends_with(&RemoteError::Stopped.to_string()) => {
                Err(ApiError::new(ErrorKind::Unavailable, "the build was cancelled"))
            }
            done => done,
        }
    }

    fn credentials(&self, registry: &str) -> Option<Credentials> {
        let hub = registry == "docker.io";
        let names = [registry, if hub { HUB } else { "" }];
        names.iter().find_map(|name| self.credentials.get(*name)).and_then(remote::of_auth)
    }
}
