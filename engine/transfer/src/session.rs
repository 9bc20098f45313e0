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
    /// What the environment says of proxies and certificates: `HTTP_PROXY`, `HTTPS_PROXY`,
    /// `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub environment: BTreeMap<String, String>,
    /// Folders with certificates by registry, `<folder>/<host:port>/{*.crt,*.cert,*.key}`.
    pub certificate_folders: Vec<PathBuf>,
}

impl Session {
    /// A session without credentials, with the certificate folders of Hull and Docker and the
    /// environment of the calling process.
    pub fn new(registries: Registries) -> Self {
        Self {
            registries,
            credentials: BTreeMap::new(),
            offline: false,
            environment: environment(),
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

/// The variables that mean something here, as they are now.
fn environment() -> BTreeMap<String, String> {
    const NAMES: [&str; 11] = [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
        "REQUEST_METHOD",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    let read = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
    NAMES.into_iter().filter_map(read).collect()
}
