//! What one process is told before it begins.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hull_registry::auth::Credentials;
use hull_registry::config::Registries;
use serde::{Deserialize, Serialize};

/// What one `hull-transfer` process knows. It travels over the socket; nothing of it is ever in an
/// environment or a command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Mirrors, certificates and exceptions.
    pub registries: Registries,
    /// By registry as it stands in a reference (`docker.io`, `host:port`).
    pub credentials: BTreeMap<String, Credentials>,
    /// Refuse everything that needs a network.
    pub offline: bool,
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// Folders with certificates by registry, `<folder>/<host:port>/{*.crt,*.cert,*.key}`.
    pub certificate_folders: Vec<PathBuf>,
}

impl Session {
    /// A session without credentials, with the certificate folders of Hull and Docker.
    pub fn new(registries: Registries) -> Self {
        Self {
            registries,
            credentials: BTreeMap::new(),
            offline: false,
            user_agent: concat!("hull/", env!("CARGO_PKG_VERSION")).to_owned(),
            certificate_folders: vec![
                PathBuf::from("/etc/hull/certs.d"),
                PathBuf::from("/etc/docker/certs.d"),
            ],
        }
    }

    /// With credentials for `registry`.
    #[must_use]
    pub fn credentials(mut self, registry: impl Into<String>, credentials: Credentials) -> Self {
        self.credentials.insert(registry.into(), credentials);
        self
    }
}
