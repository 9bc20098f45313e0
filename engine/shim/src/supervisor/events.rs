//! Telling the log of events what happened to the container.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hull_events::{Event, EventLog, Kind};
use hull_shim::protocol::{Exit, VolumeMount};

/// What the events of one container say of it, and where they go.
#[derive(Debug)]
pub(crate) struct Events {
    log: EventLog,
    id: String,
    /// `None`: the engine that started the container wants none.
    attributes: Mutex<Option<BTreeMap<String, String>>>,
    volumes: Vec<VolumeMount>,
}

impl Events {
    pub(crate) fn new(
        data_root: Arc<OwnedFd>,
        id: &str,
        attributes: Option<BTreeMap<String, String>>,
        volumes: Vec<VolumeMount>,
    ) -> Self {
        let attributes = Mutex::new(attributes);
        Self { log: EventLog::beneath(data_root), id: id.to_owned(), attributes, volumes }
    }

    /// From now on its events say this of it.
    pub(crate) fn renew(&self, attributes: Option<BTreeMap<String, String>>) {
        *self.attributes() = attributes;
    }

    /// Tells that a run began.
    pub(crate) fn tell_start(&self) {
        self.append(|attributes| {
            let mount = |volume: &VolumeMount| {
                self.of_volume(volume, "mount")
                    .with("destination", &volume.destination)
                    .with("read/write", volume.writable.to_string())
                    .with("propagation", "")
            };
            let mut events: Vec<_> = self.volumes.iter().map(mount).collect();
            events.push(self.of_container(attributes, "start"));
            events
        });
    }

    /// Tells how a run ended, which took that long (`None` if it was
    /// told before), and whether the container is removed with it.
    pub(crate) fn tell_exit(&self, exit: &Exit, lasted: Option<Duration>, removed: bool) {
        self.append(|attributes| {
            let mut events = Vec::with_capacity(3);
            if let Some(lasted) = lasted {
                if exit.oom_killed {
                    events.push(self.of_container(attributes, "oom"));
                }
                // In Docker's order.
                events.extend(self.volumes.iter().map(|volume| self.of_volume(volume, "unmount")));
                let die = self.of_container(attributes, "die");
                let die = die.with("exitCode", exit.code.to_string());
                events.push(die.with("execDuration", lasted.as_secs().to_string()));
            }
            if removed {
                events.push(self.of_container(attributes, "destroy"));
            }
            events
        });
    }

    /// Tells that `action` happened; `more` is said beside what every event of it says.
    pub(crate) fn tell(&self, action: &str, more: &[(&str, String)]) {
        self.append(|attributes| {
            let event = self.of_container(attributes, action);
            vec![more.iter().fold(event, |event, (name, value)| event.with(name, value))]
        });
    }

    /// Several things that happened at once, in order.
    fn append(&self, events: impl FnOnce(&BTreeMap<String, String>) -> Vec<Event>) {
        if let Some(attributes) = self.attributes().as_ref() {
            // A supervisor has nobody to complain to, and a full disk stops no container.
            let _untold = self.log.append_all(&events(attributes));
        }
    }

    fn of_container(&self, attributes: &BTreeMap<String, String>, action: &str) -> Event {
        Event::now(Kind::Container, action, &self.id, attributes.clone())
    }

    fn of_volume(&self, volume: &VolumeMount, action: &str) -> Event {
        Event::now(Kind::Volume, action, &volume.name, BTreeMap::new())
            .with("driver", "local")
            .with("container", &self.id)
    }

    fn attributes(&self) -> MutexGuard<'_, Option<BTreeMap<String, String>>> {
        self.attributes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
