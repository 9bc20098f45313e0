//! One pull, push or build: the process that talks to registries, and how to have one.
//!
//! The program `hull-transfer` holds the sockets, the TLS state and the credentials of one pull,
//! push or build. Before it sends the first byte into a network it gives up everything else
//! (`hull_sys::jail`): it opens nothing, starts nothing and listens to nothing. What it fetches goes
//! into descriptors it was passed.
//!
//! Not here: which image is meant, what its documents say, where blobs lie. Who asks parses the
//! documents and opens what is to be filled.

mod client;
mod machine;
mod outputs;
pub mod process;
mod protocol;
mod session;
mod uploads;
mod web;

pub use client::{BlobOutputs, Transfer, TransferError};
pub use hull_git::address_of_submodule;
pub use hull_registry::auth::{Credentials, Secret};
pub use hull_registry::client::{FailureKind, LoginOutcome, SearchResult};
pub use hull_registry::config::Registries;
pub use protocol::{Document, Downloaded, Failure};
pub use session::Session;
