//! The engine as one service that speaks the Engine API.
//!
//! The composition root: it alone joins the store, the sandbox's description and the shims. It
//! serves HTTP over any connection, a socket's or an in-process one, and keeps nothing that
//! another process needs: what a request changes is on disk or in a shim when it is answered.
//! What lives here only is bound to a client that waits: attachments and waits that came before
//! a start, and execs that were not started yet.
//!
//! Not here: reading layers (workers do), building sandboxes and supervising (shims do),
//! printing (the client does).

pub mod blocking;
mod build;
pub mod containers;
pub mod error;
mod events;
pub mod http;
pub mod images;
pub mod local;
mod networks;
mod readiness;
pub mod registry;
mod router;
pub mod server;
pub mod service;
mod slots;
mod system;
mod volumes;
mod watch;
mod worker_stream;

pub use hull_store::LayerMode;
pub use service::{Clients, Config, Engine, Service, connect};
