//! `hull registry serve`: the registry over the engine's own store.

mod storage;
mod upstream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_api::ErrorKind;
use hull_registry::server::config::RawConfig;
use hull_store::{Store, StoreOptions};

pub use hull_registry::server::Server;
pub use storage::StoreStorage;

use crate::error::ApiError;
use crate::service::Engine;
use upstream::Transfers;

/// Largest configuration that is read.
const MAX_CONFIG: u64 = 1 << 20;

/// What the command line says; it goes before the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A `registry.toml`.
    pub config: Option<PathBuf>,
    /// Where to listen.
    pub addr: Option<String>,
    /// Registry part of its repositories' references.
    pub name: Option<String>,
    /// The certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// The users.
    pub htpasswd: Option<PathBuf>,
}

/// A registry that listens, and the name under which its images lie in the store.
#[derive(Debug)]
pub struct Started {
    /// It.
    pub server: Server,
    /// Its name.
    pub name: String,
}

/// Starts a registry over the store of `engine`: from now on it listens. Needs a running tokio
/// runtime.
///
/// # Errors
/// A configuration that cannot be used, a store that cannot be opened, an address that is taken.
pub async fn start(engine: &Engine, options: Options) -> Result<Started, ApiError> {
    let mut raw = match &options.config {
        Some(path) => read(path)?,
        None => RawConfig::default(),
    };
    raw.addr = options.addr.or(raw.addr);
    raw.name = options.name.or(raw.name);
    raw.tls.cert = options.tls_cert.or(raw.tls.cert);
    raw.tls.key = options.tls_key.or(raw.tls.key);
    raw.htpasswd = options.htpasswd.or(raw.htpasswd);
    let config = raw.check().map_err(|error| ApiError::chain(ErrorKind::Invalid, &error))?;
    let store = Store::open(StoreOptions {
        data_root: engine.config().data_root.clone(),
        exec_root: engine.config().exec_root.clone(),
        layer_mode: engine.config().layer_mode,
    })?;
    let name = config.name.clone();
    let storage = StoreStorage::new(Arc::new(store), &name)
        .map_err(|error| ApiError::chain(ErrorKind::Unavailable, &error))?;
    let upstream = Transfers::new(engine.helper("hull-transfer")?, &config.mirrors)?;
    let server = Server::start(config, Arc::new(storage), Arc::new(upstream))
        .await
        .map_err(|error| ApiError::chain(ErrorKind::Unavailable, &error))?;
    Ok(Started { server, name })
}

fn read(path: &Path) -> Result<RawConfig, ApiError> {
    let failed = |error: &dyn std::error::Error| {
        ApiError::chain(ErrorKind::Invalid, error).context(&format!("in {}", path.display()))
    };
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > MAX_CONFIG {
        return Err(ApiError::invalid(format!("{} is no configuration", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    RawConfig::parse(&text).map_err(|error| failed(&error))
}
