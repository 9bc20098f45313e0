//! Tokens: what `/token` gives and the other endpoints take.
//!
//! They are JSON Web Tokens, signed with a key that this process made and nobody else has: a
//! restart makes all of them void, and clients fetch new ones by themselves.
//!
//! Spec: distribution, "Token Authentication Specification"; RFC 7519.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::base64::{decode, encode_url};
use super::{Action, Caller};
use crate::server::route::RepositoryName;

/// How long a token may be used, in seconds.
pub(in crate::server) const LIFE: u64 = 300;

/// `{"alg":"HS256","typ":"JWT"}`: no other header is taken.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// A part of a repository's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Grant {
    pub(in crate::server) name: String,
    pub(in crate::server) actions: Vec<Action>,
}

/// What a client asks a token for: `repository:name:pull,push`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Scope {
    pub(super) name: String,
    pub(super) actions: Vec<Action>,
}

/// Signs tokens.
pub(in crate::server) struct TokenKey {
    key: hmac::Key,
    service: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    iat: u64,
    nbf: u64,
    exp: u64,
    access: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TokenKey").finish_non_exhaustive()
    }
}

impl Grant {
    pub(super) fn covers(&self, name: &RepositoryName, action: Action) -> bool {
        self.name == name.as_str() && self.actions.contains(&action)
    }
}

impl Scope {
    /// Reads scopes, separated by spaces. What is not about a repository is left out.
    pub(in crate::server) fn parse(text: &str) -> Vec<Self> {
        text.split(' ').filter_map(Self::parse_one).collect()
    }

    fn parse_one(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("repository:")?;
        let (name, words) = rest.rsplit_once(':')?;
        RepositoryName::parse(name).ok()?;
        let mut actions: Vec<_> = words
            .split(',')
            .flat_map(|word| match word {
                "*" => Action::ALL.to_vec(),
                word => Action::parse(word).into_iter().collect(),
            })
            .collect();
        actions.sort();
        actions.dedup();
        Some(Self { name: name.to_owned(), actions })
    }
}

impl TokenKey {
    /// A new key for the server of this name.
    pub(in crate::server) fn generate(service: &str) -> Self {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .expect("the kernel has a random source");
        Self { key, service: service.to_owned() }
    }

    /// A token for `user`, good for [`LIFE`] seconds.
    pub(in crate::server) fn issue(&self, user: Option<&str>, grants: &[Grant]) -> String {
        let now = now();
        let entry = |grant: &Grant| Entry {
            kind: "repository".to_owned(),
            name: grant.name.clone(),
            actions: grant.actions.iter().map(|action| action.as_str().to_owned()).collect(),
        };
        let claims = Claims {
            iss: self.service.clone(),
            aud: self.service.clone(),
            sub: user.map(str::to_owned),
            iat: now,
            nbf: now,
            exp: now + LIFE,
            access: grants.iter().map(entry).collect(),
        };
        let claims = serde_json::to_vec(&claims).expect("claims have text keys");
        let signed = format!("{HEADER}.{}", encode_url(&claims));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", encode_url(signature.as_ref()))
    }

    /// Who holds a token; `None` if it is not ours or too old.
    pub(in crate::server) fn read(&self, token: &str) -> Option<Caller> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if header != HEADER {
            return None;
        }
        hmac::verify(&self.key, signed.as_bytes(), &decode(signature)?).ok()?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let now = now();
        if claims.aud != self.service || claims.nbf > now || claims.exp <= now {
            return None;
        }
        let grant = |entry: Entry| Grant {
            name: entry.name,
            actions: entry.actions.iter().filter_map(|word| Action::parse(word)).collect(),
        };
        let grants = claims.access.into_iter().map(grant).collect();
        Some(Caller::Token { user: claims.sub, grants })
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
