//! A registry: `hull registry serve`.
//!
//! One package of handlers over [`storage::Storage`], which says where bytes and names lie. What
//! a repository shows is decided in `catalog`; nothing here reads a layer: bytes are hashed and
//! passed on. State lies in the storage alone, so a server may be killed at any moment, and
//! several may serve one storage.
//!
//! Hostile here is everybody who connects: heads, bodies, rates and connections are bounded, and
//! who sends or takes nothing is given up.
//!
//! Spec: distribution-spec 1.1.

pub mod config;
pub mod storage;
pub mod upstream;

mod access;
mod blobs;
mod blocking;
mod body;
mod catalog;
mod handler;
mod limit;
mod listing;
mod manifests;
mod metrics;
mod mirror;
mod page;
mod patient;
mod range;
mod refusal;
mod route;
mod serve;
mod summary;
mod tls;
mod upkeep;
mod uploads;

pub use access::{Action, Glob, Htpasswd, HtpasswdError, Rule, Who};
pub use config::{Config, ConfigError, RawConfig};
pub use serve::{Server, StartError};
pub use tls::TlsError;

#[cfg(any(test, feature = "testing"))]
pub mod suite;
