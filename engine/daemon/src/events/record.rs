//! Events in Docker's words.

use crate::containers::Container;
use crate::images::Images;
use crate::service::Engine;
use hull_events::{Event, EventLog, Kind};
use hull_store::Store;
use std::collections::BTreeMap;

impl Engine {
    /// Records what happened. That the log of events cannot be written undoes nothing.
    pub(crate) fn happened(&self, event: &Event) {
        append(self.events(), event);
    }
}

impl Images<'_> {
    /// Records what happened to an image, as [`image`] describes it.
    pub(crate) fn happened(
        &self,
        id: &str,
        labels: &BTreeMap<String, String>,
        action: &str,
        name: &str,
    ) {
        happened_in(self.store, &image(id, labels, action, name));
    }
}

/// Records what happened where there is only the store.
pub(crate) fn happened_in(store: &Store, event: &Event) {
    append(&EventLog::new(store.data_root()), event);
}

fn append(log: &EventLog, event: &Event) {
    if let Err(error) = log.append(event) {
        tracing::warn!(action = event.action, id = event.actor.id, %error, "an event is lost");
    }
}

/// What every event of a container says of it: its labels, its image and its name.
pub(crate) fn container_attributes(container: &Container) -> BTreeMap<String, String> {
    let mut attributes = container.stored.config.labels.clone();
    attributes.insert("image".to_owned(), container.record.image_name.clone());
    attributes.insert("name".to_owned(), container.record.name.clone());
    attributes
}

/// Something that happens to a container now.
pub(crate) fn container(container: &Container, action: impl Into<String>) -> Event {
    Event::now(Kind::Container, action, &container.record.id, container_attributes(container))
}

/// Something that happens to an image now, which has these labels. `name` is what the action was
/// about: a reference, or the ID again.
pub(crate) fn image(
    id: &str,
    labels: &BTreeMap<String, String>,
    action: &str,
    name: &str,
) -> Event {
    Event::now(Kind::Image, action, id, labels.clone()).with("name", name)
}

/// Something that happens to a volume now.
pub(crate) fn volume(name: &str, action: &str) -> Event {
    Event::now(Kind::Volume, action, name, BTreeMap::new()).with("driver", "local")
}

/// Unused objects were removed, which freed this many bytes.
pub(crate) fn pruned(kind: Kind, reclaimed: u64) -> Event {
    Event::now(kind, "prune", "", BTreeMap::new()).with("reclaimed", reclaimed.to_string())
}
