//! What the operator says about registries: `registries.toml` and Docker's `daemon.json`.

mod registries;

pub use registries::Registries;
