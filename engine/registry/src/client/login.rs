//! Trying credentials.

use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::Client;
use super::body::Body;
use super::error::{ClientError, FailureKind};
use super::exchange::{Ask, Place};
use super::tokens::Known;
use crate::auth::Secret;

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginOutcome {
    /// To be kept instead of the password, if the registry gives one.
    pub identity_token: Option<Secret>,
    /// One line for the user.
    pub status: String,
}

impl Client {
    /// Tries the credentials for `registry`.
    ///
    /// # Errors
    /// [`ClientError`]; `Unauthorized` if they are refused.
    pub async fn login(&self, registry: &str) -> Result<LoginOutcome, ClientError> {
        let on = |error: ClientError| error.on(format!("cannot log in to {registry}"));
        let places = self.places(registry).map_err(on)?;
        let origin = places.origin().map_err(on)?;
        if origin.credentials.is_none() {
            let message = "there are no credentials to try";
            return Err(on(ClientError::new(FailureKind::Invalid, message)));
        }
        let ask = Ask {
            method: Method::GET,
            place: Place::Path(""),
            repository: "",
            scopes: "",
            headers: Vec::new(),
        };
        let reply = self.exchange(origin, &ask, Body::empty()).await.map_err(on)?;
        if reply.answer.status != StatusCode::OK {
            return Err(on(reply.fail().await));
        }
        let known = origin.known.borrow().clone();
        let identity_token = match known {
            Some(Known::Bearer { realm, service }) => {
                self.fetch_token(origin, &realm, service.as_deref(), "", true)
                    .await
                    .map_err(on)?
                    .refresh
            }
            Some(Known::Basic) | None => None,
        };
        Ok(LoginOutcome { identity_token, status: "Login Succeeded".to_owned() })
    }
}
