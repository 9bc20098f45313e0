//! The process and its client against registries, good ones and hostile ones.

#![expect(clippy::unwrap_used, reason = "tests fail that way")]

mod attacks;
mod debian;
mod fetch;
mod http2;
mod proxy;
mod support;
mod tls;
mod upload;
