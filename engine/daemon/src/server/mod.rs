//! The service on a unix socket, for everybody who may open it.
//!
//! Who can reach the socket can do everything the engine can: its mode (0660) and its group are
//! the whole access control. A daemon holds no state of its own, so it may end at any moment, and
//! several may work on one data root; only the socket belongs to one.
//!
//! Life of a daemon: [`Listener::bind`] (or a socket that systemd opened), [`serve`] until it is
//! told to stop, requests finish, the socket's name goes.

mod connection;
mod group;
mod notify;
mod serve;
mod socket;

pub use notify::{ready, reloading, stopping};
pub use serve::serve;
pub use socket::{ListenError, Listener};
