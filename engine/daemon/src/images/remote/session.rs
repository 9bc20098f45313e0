//! Who asks a registry, and what is known of registries here.

use std::io;
use std::path::PathBuf;

use hull_api::registry::{AUTH_HEADER, AuthConfig};
use hull_registry::auth::{Credentials, Secret};
use hull_registry::config::Registries;
use hull_transfer::Session;
use hyper::header::HeaderMap;

use crate::error::ApiError;
use crate::http::Query;

/// What the operator says about registries, unless `HULL_REGISTRIES` names another file.
const REGISTRIES: &str = "/etc/hull/registries.toml";

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

/// What one process that speaks to `registry` is told.
///
/// # Errors
/// A configuration of registries that cannot be used.
pub(crate) fn session(
    registry: &str,
    credentials: Option<Credentials>,
    _query: &Query,
) -> Result<Session, ApiError> {
    let session = Session::new(registries()?);
    Ok(match credentials {
        Some(credentials) => session.credentials(registry, credentials),
        None => session,
    })
}

/// What is known of registries, read anew each time: a change needs no restart.
fn registries() -> Result<Registries, ApiError> {
    let named = std::env::var_os("HULL_REGISTRIES").map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(REGISTRIES));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => String::new(),
        Err(error) => {
            return Err(
                ApiError::internal(&error).context(&format!("cannot read {}", path.display()))
            );
        }
    };
    Registries::parse(&text)
        .map_err(|error| ApiError::invalid(format!("{}: {error}", path.display())))
}
