//! hull-shim.
