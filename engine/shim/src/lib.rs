//! The supervisor of one container: what it is told, what it records, how to talk to it.
//!
//! This library is the side that the engine links; the supervisor itself is the program
//! `hull-shim`. Not here: the sandbox (`hull-sandbox` builds it), images and the store (a shim
//! gets directories and layers as descriptors and knows nothing of what they mean).
//!
//! The life of a shim: [`client::spawn`] starts it with one [`protocol::StartRequest`]; it builds
//! the sandbox, writes [`state::ContainerState`], answers, and supervises. [`client::Shim`] talks
//! to it over `shim.sock`. At the container's exit it records the exit, answers whoever waits,
//! and cleans up. What a killed shim left behind is released by [`recover::recover`].

pub mod client;
pub mod protocol;
pub mod recover;
pub mod removal;
pub mod state;
