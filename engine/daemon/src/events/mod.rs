//! What happened: recorded in the log of events, and served from it.

mod filter;
mod record;
mod serve;

pub(crate) use record::{container, container_attributes, happened_in, image, pruned, volume};
pub(crate) use serve::events;
