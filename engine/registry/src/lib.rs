//! The distribution protocol, both ends of it, and what both need to know about registries.
//!
//! Not here: where blobs and tags lie (the server asks through traits of its own, the client
//! hands on what it fetches), which image is meant, and who may start what. The client runs
//! inside the sealed `hull-transfer`; nothing else in Hull opens a connection to a registry.
//!
//! Spec: distribution-spec 1.1.

pub mod auth;
#[cfg(feature = "client")]
pub mod client;
pub mod config;
#[cfg(feature = "server")]
pub mod server;
pub mod url;
