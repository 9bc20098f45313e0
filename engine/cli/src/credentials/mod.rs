//! Credentials for registries: where people keep them, and which belong to which registry.
//!
//! They are read here and nowhere else, and sent to the engine with one request. What is read:
//! `DOCKER_AUTH_CONFIG`, `REGISTRY_AUTH_FILE`, Docker's `config.json` with its helpers, Podman's
//! `auth.json`; in this order, the first that knows the registry. Pure parts: [`key`] (which
//! registry a text names), [`document`] (the files' JSON, changed without touching what is not
//! ours), [`entry`] (what one of them knows), [`helper`]'s protocol. [`store`] does the I/O.
//!
//! Invariant: credentials are used for the registry they were stored for, by its exact host and
//! port, and for nothing below or beside it (CVE-2021-41092, CVE-2020-15157).

mod document;
mod entry;
mod helper;
mod key;
mod store;

pub(crate) use key::{RegistryKey, Wanted};
pub(crate) use store::{Saved, Store};
