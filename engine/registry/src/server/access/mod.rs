//! Who asks, and what they may do.
//!
//! Users come from an htpasswd file with bcrypt hashes. They may send their password with every
//! request, or fetch a token at `/token` and send that: a token names what it may be used for,
//! and what a user may not do, no token of theirs may.

mod base64;
mod glob;
mod htpasswd;
mod rule;
mod token;

pub use glob::Glob;
pub use htpasswd::{Htpasswd, HtpasswdError};
pub use rule::{Action, Rule, Who};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::refusal::Refusal;
use super::route::RepositoryName;
pub(super) use token::{Grant, Scope, TokenKey};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// Nobody said.
    Anonymous,
    /// A user, by password.
    User(String),
    /// One who holds a token, for a user or for anybody.
    Token { user: Option<String>, grants: Vec<Grant> },
}

/// What a request says of who sends it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented {
    Nothing,
    Password { user: String, password: String },
    Token(String),
}

/// Who may do what.
#[derive(Debug)]
pub(super) struct Access {
    /// The users; without any, everybody is anonymous.
    pub(super) users: Option<Htpasswd>,
    pub(super) rules: Vec<Rule>,
    pub(super) tokens: TokenKey,
    /// Name of this server to those who ask for tokens.
    pub(super) service: String,
    /// Offer tokens, not the password with every request.
    pub(super) offers_tokens: bool,
}

impl Caller {
    /// The user's name, if there is one.
    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(name) => Some(name),
            Self::Token { user, .. } => user.as_deref(),
        }
    }
}

impl Presented {
    /// Reads the `Authorization` header.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(Self::Nothing) };
        let malformed = || Refusal::unauthorized("the Authorization header cannot be read");
        let text = value.to_str().map_err(|_| malformed())?;
        let (scheme, rest) = text.split_once(' ').ok_or_else(malformed)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Self::Token(rest.trim().to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(malformed());
        }
        let bytes = base64::decode(rest.trim()).ok_or_else(malformed)?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (user, password) = text.split_once(':').ok_or_else(malformed)?;
        Ok(Self::Password { user: user.to_owned(), password: password.to_owned() })
    }
}

impl Access {
    /// Whether the rules let somebody do something.
    pub(super) fn rules_allow(&self, user: Option<&str>, repository: &str, action: Action) -> bool {
        self.rules.iter().any(|rule| rule.allows(user, repository, action))
    }

    /// Whether a caller may do something.
    pub(super) fn allows(&self, caller: &Caller, name: &RepositoryName, action: Action) -> bool {
        let granted = match caller {
            Caller::Token { grants, .. } => grants.iter().any(|grant| grant.covers(name, action)),
            _ => true,
        };
        granted && self.rules_allow(caller.user(), name.as_str(), action)
    }

    /// Refuses what a caller may not do: with a challenge if another identity might help.
    pub(super) fn check(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        actions: &[Action],
        realm: &str,
    ) -> Result<(), Refusal> {
        let Some(refused) = actions.iter().find(|action| !self.allows(caller, name, **action))
        else {
            return Ok(());
        };
        let word = refused.as_str();
        let by_rule = !self.rules_allow(caller.user(), name.as_str(), *refused);
        if self.users.is_none() || (caller.user().is_some() && by_rule) {
            let who = caller.user().unwrap_or("anonymous");
            let message = format!("{who} may not {word} in {}", name.as_str());
            return Err(Refusal::denied(message));
        }
        let words: Vec<_> = actions.iter().map(|action| action.as_str()).collect();
        let scope = format!("repository:{}:{}", name.as_str(), words.join(","));
        let message = format!("authentication is required to {word} in {}", name.as_str());
        Err(self.challenge(message, realm, Some(&scope)))
    }

    /// A refusal that says how to authenticate. `realm` is the address of the token endpoint.
    pub(super) fn challenge(&self, message: String, realm: &str, scope: Option<&str>) -> Refusal {
        let service = &self.service;
        let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
        let value = match self.offers_tokens {
            true => format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}"),
            false => format!("Basic realm=\"{service}\""),
        };
        Refusal::unauthorized(message).header(WWW_AUTHENTICATE, &value)
    }

    /// The part of what is asked for that a user may have.
    pub(super) fn grants(&self, user: Option<&str>, scopes: &[Scope]) -> Vec<Grant> {
        let mut grants = Vec::new();
        for scope in scopes {
            let allowed = |action: &Action| self.rules_allow(user, &scope.name, *action);
            let actions: Vec<_> = scope.actions.iter().copied().filter(allowed).collect();
            if !actions.is_empty() {
                grants.push(Grant { name: scope.name.clone(), actions });
            }
        }
        grants
    }
}

/// How long a token may be used, in seconds.
pub(super) fn token_life() -> u64 {
    token::LIFE
}

#[cfg(test)]
mod tests;
