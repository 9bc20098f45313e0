//! Addresses of names, asked in this process: libc's way loads code at run time, which neither a
//! static nor a sealed program can.
//!
//! As a stub resolver does: `/etc/hosts` first, then the name servers of `/etc/resolv.conf` in
//! their order, over UDP and, for long answers, TCP. Other sources that a host's
//! `/etc/nsswitch.conf` may name are not asked.

mod message;
mod resolver;
mod settings;

pub(crate) use resolver::{ResolveError, Resolver};
pub use settings::DnsSettings;
