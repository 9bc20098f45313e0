//! Where the repositories of a registry are: at itself and at its mirrors.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use tokio::sync::Mutex;

use super::dial::{Target, Want};
use super::error::{ClientError, FailureKind};
use super::tokens::{Known, Token};
use crate::auth::Credentials;
use crate::config::Registries;
use crate::url::{Authority, Host};

/// Docker Hub by its name in references, where it is, and where its search is.
pub(crate) const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
pub(crate) const DOCKER_HUB_INDEX: &str = "index.docker.io";

/// One place that has the repositories of a registry.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The registry's name in references.
    pub(crate) registry: String,
    pub(crate) target: Target,
    /// What comes before `/v2/`.
    pub(crate) prefix: String,
    /// Whether it is a mirror: asked with `?ns=`, only read from.
    pub(crate) mirror: bool,
    pub(crate) credentials: Option<Credentials>,
    /// Hosts that may be sent the credentials beside its own.
    pub(crate) realms: Vec<Host>,
    /// Set once it could not be reached.
    pub(crate) down: Cell<bool>,
    /// What it asks for, once it did.
    pub(crate) known: RefCell<Option<Known>>,
    /// By what they allow.
    pub(crate) tokens: RefCell<HashMap<String, Token>>,
    /// Held while a token is fetched, so that one is enough.
    pub(crate) fetching: Mutex<()>,
}

impl Endpoint {
    /// The registry itself.
    pub(crate) fn origin(
        registry: &str,
        registries: &Registries,
        credentials: Option<Credentials>,
    ) -> Result<Self, ClientError> {
        let host = if registry == DOCKER_HUB { DOCKER_HUB_HOST } else { registry };
        let authority: Authority = host.parse().map_err(|error| {
            ClientError::new(FailureKind::Invalid, format!("{registry} is no registry: {error}"))
        })?;
        let target = Target { authority, want: Want::Either, sent_from: None };
        Ok(Self::new(registry, registries, target, credentials))
    }

    /// The mirrors of a registry, in order.
    pub(crate) fn mirrors(
        registry: &str,
        registries: &Registries,
        credentials: impl Fn(&str) -> Option<Credentials>,
    ) -> Vec<Self> {
        let mirror = |url: &crate::url::Url| {
            let authority = url.authority().clone();
            let credentials = credentials(&authority.to_string());
            let target = Target { authority, want: Want::of(url.scheme()), sent_from: None };
            Self {
                prefix: url.path().trim_end_matches('/').to_owned(),
                mirror: true,
                ..Self::new(registry, registries, target, credentials)
            }
        };
        registries.mirrors(registry).map(mirror).collect()
    }

    fn new(
        registry: &str,
        registries: &Registries,
        target: Target,
        credentials: Option<Credentials>,
    ) -> Self {
        Self {
            registry: registry.to_owned(),
            target,
            prefix: String::new(),
            mirror: false,
            credentials,
            realms: registries.realms(registry).to_vec(),
            down: Cell::new(false),
            known: RefCell::default(),
            tokens: RefCell::default(),
            fetching: Mutex::new(()),
        }
    }

    /// How the user logs in to it.
    pub(crate) fn login(&self) -> String {
        let registry = &self.registry;
        if registry == DOCKER_HUB {
            "hull login".to_owned()
        } else {
            format!("hull login {registry}")
        }
    }

    /// Path and query of something under `/v2/`.
    pub(crate) fn path(&self, rest: &str) -> String {
        let mut path = format!("{}/v2/{rest}", self.prefix);
        // distribution-spec, "Registry Proxying".
        if self.mirror {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str("ns=");
            crate::url::encode(&mut path, &self.registry);
        }
        path
    }

    /// Whether `path` is of `repository` here, beyond doubt: what may be sent its credentials.
    pub(crate) fn owns(&self, repository: &str, path: &str) -> bool {
        // What a registry puts into the query of an upload's address is its own matter.
        let path = path.split('?').next().unwrap_or(path);
        let doubtful = path.contains("..") || path.contains("//") || path.contains('%');
        !doubtful
            && path
                .strip_prefix(&self.prefix)
                .and_then(|rest| rest.strip_prefix("/v2/"))
                .and_then(|rest| rest.strip_prefix(repository))
                .is_some_and(|rest| rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let registries = Registries::parse(
            "[registry.\"docker.io\"]\nmirrors = [\"https://mirror.example/hub/\"]",
        )
        .unwrap();
        let hub = Endpoint::origin("docker.io", &registries, None).unwrap();
        assert_eq!(hub.target.authority.to_string(), "registry-1.docker.io");
        assert_eq!(hub.path("a/b/tags/list?n=1"), "/v2/a/b/tags/list?n=1");
        let mirrors = Endpoint::mirrors("docker.io", &registries, |_| None);
        assert_eq!(mirrors[0].path("a/tags/list?n=1"), "/hub/v2/a/tags/list?n=1&ns=docker.io");
        for path in
            ["/hub/v2/a/blobs/uploads/1?x=y", "/hub/v2/a/blobs/uploads/1?_state=eA%3D%3D//.."]
        {
            assert!(mirrors[0].owns("a", path), "{path}");
        }
        for path in [
            "/v2/a/blobs/x",
            "/hub/v2/ab/blobs/x",
            "/hub/v2/a",
            "/hub/v2/a/../b/x",
            "/hub/v2/a/%2e%2e/b/x",
            "/hub/v2/a//x",
        ] {
            assert!(!mirrors[0].owns("a", path), "{path}");
        }
    }
}
