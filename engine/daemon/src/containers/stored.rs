//! What a container's record keeps beyond what the store knows of it.

use super::mounts::{Source, StoredMount};
use crate::error::ApiError;
use crate::events;
use hull_api::{ContainerConfig, HostConfig};
use hull_events::{Event, Kind};
use hull_shim::protocol::VolumeMount;
use hull_shim::recover::{Recovered, recover};
use hull_shim::state::ContainerState;
use hull_store::{ContainerRecord, Store};
use serde::{Deserialize, Serialize};

/// The engine's part of a record: everything is checked and merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The portable part, merged with the image's.
    pub(crate) config: ContainerConfig,
    /// The host's part, with the defaults written out.
    pub(crate) host: HostConfig,
    /// Mounts, parents first.
    pub(crate) mounts: Vec<StoredMount>,
    /// Ids that the image's layers use, at least 65536.
    pub(crate) ids: u32,
    /// Names of volumes that go with the container.
    pub(crate) anonymous: Vec<String>,
}

/// A container as it is on disk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Container {
    /// The store's part.
    pub(crate) record: ContainerRecord,
    /// The engine's part.
    pub(crate) stored: Stored,
}

impl Container {
    /// Reads the engine's part of a record.
    ///
    /// # Errors
    /// `Internal` if this engine did not write it.
    pub(crate) fn new(mut record: ContainerRecord) -> Result<Self, ApiError> {
        // Taken, so that it is not held twice: a list has hundreds.
        let stored = Stored::deserialize(std::mem::take(&mut record.config)).map_err(|error| {
            ApiError::internal(&error)
                .context(&format!("the record of container {} is damaged", record.id))
        })?;
        Ok(Self { record, stored })
    }

    /// Finds a container by id, name or unique prefix.
    ///
    /// # Errors
    /// `NotFound` in Docker's words.
    pub(crate) fn find(store: &Store, text: &str) -> Result<Self, ApiError> {
        // Docker accepts the slash that its own listings put before a name.
        Self::new(store.container(text.strip_prefix('/').unwrap_or(text))?)
    }

    /// The volumes that are mounted in it.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = VolumeMount> {
        self.stored.mounts.iter().filter_map(|mount| match &mount.source {
            Source::Volume { name, .. } => Some(VolumeMount {
                name: name.clone(),
                destination: mount.destination.clone(),
                writable: !mount.readonly,
            }),
            Source::Bind { .. } | Source::Tmpfs { .. } => None,
        })
    }

    /// Finds a container and its state, once nothing is left of a dead shim of it.
    ///
    /// # Errors
    /// `NotFound` in Docker's words, also if it removed itself meanwhile.
    pub(crate) fn find_with_state(
        store: &Store,
        text: &str,
    ) -> Result<(Self, Option<ContainerState>), ApiError> {
        let container = Self::find(store, text)?;
        let gone = || ApiError::not_found(format!("No such container: {text}"));
        let state = state_of(store, &container.record.id)?.ok_or_else(gone)?;
        Ok((container, state))
    }
}

/// The state of a container (full id) once nothing is left of a dead shim of it: the outer
/// `None` if it is gone, the inner one if it never ran.
///
/// # Errors
/// Those of recovery.
pub(crate) fn state_of(
    store: &Store,
    id: &str,
) -> Result<Option<Option<ContainerState>>, ApiError> {
    match recover(store.data_root(), store.exec_root(), id) {
        Ok(Recovered::Unchanged(state)) => Ok(Some(state)),
        Ok(Recovered::Lost(state)) => {
            tell_lost(store, id, &["die"]);
            Ok(Some(Some(state)))
        }
        Ok(Recovered::Removed) => {
            tell_lost(store, id, &["die", "destroy"]);
            Ok(None)
        }
        Err(hull_shim::recover::RecoverError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Tells what its shim could not: of a container that removed itself only the id is left.
fn tell_lost(store: &Store, id: &str, actions: &[&str]) {
    let container = Container::find(store, id).ok();
    let attributes = container.as_ref().map(events::container_attributes).unwrap_or_default();
    for volume in container.iter().flat_map(Container::volumes) {
        let event = events::volume(&volume.name, "unmount").with("container", id);
        events::happened_in(store, &event);
    }
    for action in actions {
        let event = Event::now(Kind::Container, *action, id, attributes.clone());
        events::happened_in(store, &event.with("exitCode", "137"));
    }
}

/// Whether it runs, or will again by its policy: as Docker counts.
#[must_use]
pub(crate) fn is_running(state: Option<&ContainerState>) -> bool {
    state.is_some_and(ContainerState::is_held)
}
