//! Who asks a registry, and what is known of registries here.

use std::io;
use std::path::{Path, PathBuf};

use hull_api::registry::{AUTH_HEADER, AuthConfig};
use hull_registry::auth::{Credentials, Secret};
use hull_registry::config::Registries;
use hull_transfer::Session;
use hyper::header::HeaderMap;

use crate::error::ApiError;
use crate::http::Query;

/// What the operator says about registries, unless `HULL_REGISTRIES` names another file.
const REGISTRIES: &str = "/etc/hull/registries.toml";

/// Where Docker's daemon keeps what it is told.
const DOCKER: &str = "/etc/docker/daemon.json";

/// The credentials a request brings.
///
/// # Errors
/// A header that holds none.
pub(crate) fn credentials(headers: &HeaderMap) -> Result<Option<Credentials>, ApiError> {
    let Some(value) = headers.get(AUTH_HEADER) else { return Ok(None) };
    let text = value.to_str().map_err(|_| ApiError::invalid("invalid X-Registry-Auth header"))?;
    let auth =
        AuthConfig::from_header(text).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(of_auth(&auth))
}

/// The same as the session of a transfer takes them.
pub(crate) fn of_auth(auth: &AuthConfig) -> Option<Credentials> {
    let secret = |secret: &hull_api::registry::Secret| Secret::new(secret.reveal());
    if !auth.registrytoken.is_empty() {
        return Some(Credentials::RegistryToken(secret(&auth.registrytoken)));
    }
    if !auth.identitytoken.is_empty() {
        return Some(Credentials::IdentityToken(secret(&auth.identitytoken)));
    }
    if auth.username.is_empty() && auth.password.is_empty() {
        return None;
    }
    let (username, password) = (auth.username.clone(), secret(&auth.password));
    Some(Credentials::Basic { username, password })
}

/// What one process that speaks to `registry` is told. With `insecure` in the query the registry
/// is one whose certificate is not checked, as the client asks.
///
/// # Errors
/// A configuration of registries that cannot be used.
pub(crate) fn session(
    registry: &str,
    credentials: Option<Credentials>,
    query: &Query,
) -> Result<Session, ApiError> {
    let mut registries = registries()?;
    if query.flag("insecure") {
        registries.add_insecure(registry).map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    let session = Session::new(registries);
    Ok(match credentials {
        Some(credentials) => session.credentials(registry, credentials),
        None => session,
    })
}

/// What a process is told that speaks to nobody in particular.
///
/// # Errors
/// As of [`session`].
pub(crate) fn anonymous() -> Result<Session, ApiError> {
    Ok(Session::new(registries()?))
}

/// What is known of registries, read anew each time: a change needs no restart. Docker's own file
/// counts too, unless a file was named.
pub(crate) fn registries() -> Result<Registries, ApiError> {
    if let Some(path) = std::env::var_os("HULL_REGISTRIES").map(PathBuf::from) {
        let text = read(&path)?.ok_or_else(|| {
            ApiError::invalid(format!("HULL_REGISTRIES names {}: no such file", path.display()))
        })?;
        return Registries::parse(&text).map_err(|error| in_file(&path, &error));
    }
    let (ours, dockers) = (Path::new(REGISTRIES), Path::new(DOCKER));
    let mut registries = match read(ours)? {
        Some(text) => Registries::parse(&text).map_err(|error| in_file(ours, &error))?,
        None => Registries::default(),
    };
    if let Some(text) = read(dockers)? {
        registries.add_docker(&text).map_err(|error| in_file(dockers, &error))?;
    }
    Ok(registries)
}

/// A file, if it is there.
fn read(path: &Path) -> Result<Option<String>, ApiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(ApiError::internal(&error).context(&format!("cannot read {}", path.display())))
        }
    }
}

fn in_file(path: &Path, error: &dyn std::error::Error) -> ApiError {
    ApiError::chain(hull_api::ErrorKind::Invalid, error).context(&path.display().to_string())
}
