//! What the operator says about registries: `registries.toml`, Docker's `daemon.json`, proxies.
//! Parsers only: who reads files and variables hands over what they hold.

mod network;
mod proxies;
mod registries;

pub use network::{Network, ParseNetworkError};
pub use proxies::{ParseProxyError, Proxies, Proxy};
pub use registries::{Certificates, ParseRegistriesError, Registries};
