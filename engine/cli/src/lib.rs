//! hull-cli.
