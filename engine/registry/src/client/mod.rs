//! The client: what hull-transfer asks of registries.
