//! What lives in this process only: clients that wait for a container to start or to end.
//!
//! Life of an entry: made by the first attachment or wait that comes before the start, or by the
//! start; handed what was parked at the start; told the exit; then forgotten. Other processes
//! that use the same state have entries of their own, so nothing here is ever needed to tell
//! what a container does.

use super::stored::Container;
use crate::events;
use hull_events::Event;
use hull_shim::protocol::{AttachOptions, Exit};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Everything that waits in this process.
#[derive(Debug, Default)]
pub(crate) struct Live {
    containers: Mutex<HashMap<String, Entry>>,
    execs: Mutex<HashMap<String, super::exec::Exec>>,
}

#[derive(Debug)]
struct Entry {
    phase: watch::Sender<Phase>,
    attaches: Vec<(AttachOptions, OwnedFd)>,
    fresh: Option<Fresh>,
}

/// Where a container is, as this process knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// This process has not started it.
    Waiting,
    /// This process has started it and will be told its exit.
    Running,
    /// It ended.
    Exited(Exit),
    /// It could not be started, or its end was not told: its state tells more.
    Lost,
}

/// A container that this process has just created, so that its start need not read it again.
#[derive(Debug)]
pub(crate) struct Fresh(pub(crate) Box<Container>);

/// What a start takes over.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// Streams that were attached before.
    pub(crate) attaches: Vec<(AttachOptions, OwnedFd)>,
}

impl Live {
    /// Keeps a container that was just created.
    pub(crate) fn remember(&self, id: &str, fresh: Fresh) {
        self.with(id, |entry| entry.fresh = Some(fresh));
    }

    /// Takes a container that was just created and not started since.
    pub(crate) fn take_fresh(&self, text: &str) -> Option<Container> {
        let mut containers = self.lock();
        let entry = containers.get_mut(text)?;
        entry.fresh.take().map(|Fresh(container)| *container)
    }

    /// The id of a container that was just created, if `text` is its full id.
    pub(crate) fn is_fresh(&self, text: &str) -> bool {
        self.lock().get(text).is_some_and(|entry| entry.fresh.is_some())
    }

    /// Whether a container that was just created has a terminal, and the event of attaching to
    /// it; `None` if it is not known here.
    pub(crate) fn fresh_attach(&self, text: &str) -> Option<(bool, Event)> {
        let containers = self.lock();
        let Fresh(container) = containers.get(text)?.fresh.as_ref()?;
        Some((container.stored.config.tty, events::container(container, "attach")))
    }

    /// Parks a stream until the container starts.
    pub(crate) fn park(&self, id: &str, options: AttachOptions, stream: OwnedFd) {
        self.with(id, |entry| entry.attaches.push((options, stream)));
    }

    /// Follows what becomes of a container.
    pub(crate) fn subscribe(&self, id: &str) -> watch::Receiver<Phase> {
        self.with(id, |entry| entry.phase.subscribe())
    }

    /// What was parked for the start of a container.
    pub(crate) fn take_parked(&self, id: &str) -> Parked {
        self.with(id, |entry| Parked { attaches: std::mem::take(&mut entry.attaches) })
    }

    /// Tells those who wait; an end is the last that is told.
    pub(crate) fn tell(&self, id: &str, phase: Phase) {
        let mut containers = self.lock();
        match phase {
            Phase::Waiting | Phase::Running => {
                drop(containers);
                self.with(id, |entry| entry.phase.send_replace(phase));
            }
            Phase::Exited(_) | Phase::Lost => {
                if let Some(entry) = containers.remove(id) {
                    entry.phase.send_replace(phase);
                }
            }
        }
    }

    /// Forgets a container; those who wait are told that it is lost.
    pub(crate) fn forget(&self, id: &str) {
        self.tell(id, Phase::Lost);
    }

    /// The execs that were made in this process.
    pub(crate) fn execs(&self) -> MutexGuard<'_, HashMap<String, super::exec::Exec>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, id: &str, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut containers = self.lock();
        change(containers.entry(id.to_owned()).or_insert_with(|| Entry {
            phase: watch::Sender::new(Phase::Waiting),
            attaches: Vec::new(),
            fresh: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
