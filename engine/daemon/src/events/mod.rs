//! What happened: recorded in the log of events, and served from it.

mod record;

pub(crate) use record::{container, container_attributes, happened_in, image, pruned, volume};
