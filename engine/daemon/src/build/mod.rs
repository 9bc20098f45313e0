//! Builds: a plan of `hull-builder`, carried out with the store, sandboxes and sealed workers.
//!
//! ```text
//! request ── context ── Dockerfile ── plan ──┬─ stage ─┬─ step: key ── known? ──► layer
//!                                            ├─ stage  │             └─ run or copy ──► layer
//!                                            └─ ...    └─ ... ──► chain of layers
//!         ── image config, manifest ── one sync ── image record, names
//! ```
//!
//! Each stage has a thread, and waits for the stages it needs where it needs them. A step's *key*
//! is a digest over all that its result depends on: the key of the step before it, what is to be
//! done, and the content (never the time) of the files it uses. Whoever makes a result holds the
//! key's lock, so that no two builds of any process do the same work at once.
//!
//! What a `RUN` wrote is used by the next step as it lies there, while a sealed worker makes a
//! layer of it. Nothing waits for the disk until the end: a build that is killed loses what its
//! running steps did, and nothing else.
//!
//! Dockerfiles and contexts are hostile. The Dockerfile is parsed here, by a parser that does
//! nothing else; of a context only names and attributes are looked at and content is hashed, all
//! through one descriptor; archives are unpacked and layers made by sealed workers.

mod agent;
mod arguments;
mod attest;
mod bases;
mod chain;
mod classic;
mod context;
mod copy;
mod export;
mod external;
mod files;
mod http;
mod job;
mod key;
mod mounts;
mod named;
mod output;
mod progress;
mod prune;
mod remote;
mod run;
mod stage;
mod unpack;

pub(crate) use http::{build, classic_build};
pub(crate) use prune::{build_cache, prune};
