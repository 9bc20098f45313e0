//! Request and response types of the Engine API, shared by the service and its clients.
//!
//! Names and shapes are those of Docker's Engine API v1.51, so that `docker`, compose and
//! docker-py read them. Only what the engine has is here: a field of a request that no type
//! names is kept where ignoring it would be unsafe (see [`HostConfig::rest`]) and otherwise
//! dropped. Nothing here does I/O or decides anything.

pub mod build;
mod container;
mod error;
mod exec;
mod host_config;
pub mod image;
mod network;
pub mod null;
mod path_stat;
pub mod registry;
mod stats;
pub mod stream;
mod system;
mod volume;

pub use container::*;
pub use error::*;
pub use exec::*;
pub use host_config::*;
pub use hull_oci::Healthcheck;
pub use network::*;
pub use path_stat::*;
pub use stats::*;
pub use system::*;
pub use volume::*;

/// The newest version of the Engine API this engine speaks.
pub const API_VERSION: &str = "1.51";

/// The oldest version of the Engine API a client may ask for.
pub const MIN_API_VERSION: &str = "1.24";

#[cfg(test)]
mod tests;
