//! Registries: credentials, search, what a registry says of an image.
//!
//! Credentials travel in the body of `POST /auth` and, base64url encoded, in the header
//! `X-Registry-Auth` of `POST /images/create`, `POST /images/{name}/push` and of everything below
//! `/distribution`. `X-Registry-Config` holds those of several registries, by name.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hull_oci::{Descriptor, Platform};
use serde::{Deserialize, Serialize};

use crate::null;

/// Name of the header that holds an [`AuthConfig`].
pub const AUTH_HEADER: &str = "x-registry-auth";

/// Longest value of [`AUTH_HEADER`] that is read, in bytes.
const MAX_HEADER: usize = 64 << 10;

/// What Docker's clients write, with the padding that some of them leave out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Text that is shown to nobody: neither `Debug` nor an error holds it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "\"\"" } else { "\"...\"" })
    }
}

/// Credentials for one registry. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", default)]
pub struct AuthConfig {
    /// Who.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Password, or a token that is used as one.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// `username:password` in base64, as files have it; used where the two are not there.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Secret::is_empty")]
    pub auth: Secret,
    /// The registry they are for: `https://index.docker.io/v1/`, or a host and perhaps a port.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    /// A refresh token, to be exchanged for tokens of one request.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Secret::is_empty")]
    pub identitytoken: Secret,
    /// A bearer token that is sent as it is.
    #[serde(deserialize_with = "null::or_default", skip_serializing_if = "Secret::is_empty")]
    pub registrytoken: Secret,
}

/// A header [`AUTH_HEADER`] that holds no credentials. What it holds is not repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthHeaderError(&'static str);

impl fmt::Display for AuthHeaderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "invalid X-Registry-Auth header: {}", self.0)
    }
}

impl std::error::Error for AuthHeaderError {}

impl AuthConfig {
    /// Whether there are no credentials in it; a server's name alone is none.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.auth.is_empty()
            && self.identitytoken.is_empty()
            && self.registrytoken.is_empty()
    }

    /// The value of [`AUTH_HEADER`].
    #[must_use]
    pub fn to_header(&self) -> String {
        // A struct of strings has a JSON form.
        BASE64.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads the value of [`AUTH_HEADER`]; an empty one says that there are no credentials.
    ///
    /// # Errors
    /// What is no base64, no JSON, or longer than 64 KiB.
    pub fn from_header(value: &str) -> Result<Self, AuthHeaderError> {
        if value.is_empty() {
            return Ok(Self::default());
        }
        if value.len() > MAX_HEADER {
            return Err(AuthHeaderError("it is too long"));
        }
        let json = BASE64.decode(value).map_err(|_| AuthHeaderError("it is not base64url"))?;
        serde_json::from_slice(&json).map_err(|_| AuthHeaderError("it holds no credentials"))
    }
}

/// Answer to `POST /auth`: the credentials are right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthResponse {
    /// `Login Succeeded`.
    pub status: String,
    /// A refresh token to be kept instead of the password; empty where the registry gives none.
    #[serde(deserialize_with = "null::or_default")]
    pub identity_token: Secret,
}

/// One element of the answer to `GET /images/search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// How many have marked it.
    pub star_count: u64,
    /// Whether it is one of Docker Hub's own.
    pub is_official: bool,
    /// Repository.
    pub name: String,
    /// Always false.
    pub is_automated: bool,
    /// Free text.
    #[serde(deserialize_with = "null::or_default")]
    pub description: String,
}

/// Answer to `GET /distribution/{name}/json`: what the registry says of an image.
///
/// Beside it there is, as Hull's own addition, `GET /distribution/{name}/manifest`: the manifest
/// or index as the registry has it, byte for byte, with its media type in `Content-Type` and its
/// digest in `Docker-Content-Digest`; and `PUT /distribution/{name}/manifest?from=REPOSITORY`,
/// which sends one, having mounted what it names from another repository of that registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DistributionInspect {
    /// The manifest or index that the name leads to.
    pub descriptor: Descriptor,
    /// What it is for.
    #[serde(default, deserialize_with = "null::or_default")]
    pub platforms: Vec<Platform>,
}

/// Header `X-Registry-Config` of a build, and its members by registry.
pub type AuthConfigs = BTreeMap<String, AuthConfig>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_survive_the_header() {
        let auth = AuthConfig {
            username: "hannibal".into(),
            password: Secret::new("x\u{ff}?>~"),
            serveraddress: "https://index.docker.io/v1/".into(),
            ..AuthConfig::default()
        };
        let header = auth.to_header();
        assert!(!header.contains(['+', '/']), "{header}");
        assert_eq!(AuthConfig::from_header(&header).unwrap(), auth);
        assert_eq!(AuthConfig::from_header(header.trim_end_matches('=')).unwrap(), auth);
        assert_eq!(AuthConfig::from_header("").unwrap(), AuthConfig::default());
        // `{}` and `null`, as some clients send them.
        assert!(AuthConfig::from_header("e30=").unwrap().is_anonymous());
        assert!(AuthConfig::from_header("bnVsbA==").is_err());
        for bad in ["!", "bm9wZQ", &"A".repeat(MAX_HEADER + 1)] {
            assert!(AuthConfig::from_header(bad).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth = AuthConfig {
            password: Secret::new("geheim"),
            identitytoken: Secret::new("geheim"),
            ..AuthConfig::default()
        };
        assert!(!format!("{auth:?}").contains("geheim"));
    }

    #[test]
    fn what_docker_answers_is_read() {
        let answer: AuthResponse =
            serde_json::from_str(r#"{"IdentityToken":"","Status":"Login Succeeded"}"#).unwrap();
        assert!(answer.identity_token.is_empty());
        let text = r#"{"Descriptor":{"mediaType":"application/vnd.oci.image.index.v1+json",
            "digest":"sha256:c0537ff6a5218ef531ece93d4984efc99bbf3f7497c0a7726c88e2bb7584dc96",
            "size":1},"Platforms":[{"architecture":"amd64","os":"linux"}]}"#;
        let seen: DistributionInspect = serde_json::from_str(text).unwrap();
        assert_eq!(seen.platforms[0].to_string(), "linux/amd64");
    }
}
