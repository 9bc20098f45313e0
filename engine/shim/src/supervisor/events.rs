//! Telling the log of events what happened to the container.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hull_events::{Event, EventLog, Kind};
use hull_shim::protocol::Exit;

/// What the events of one container say of it, and where they go.
#[derive(Debug)]
pub(crate) struct Events {
    log: EventLog,
    id: String,
    /// `None`: the engine that started the container wants none.
    attributes: Mutex<Option<BTreeMap<String, String>>>,
}

impl Events {
    pub(crate) fn new(
        data_root: Arc<OwnedFd>,
        id: &str,
        attributes: Option<BTreeMap<String, String>>,
    ) -> Self {
        let attributes = Mutex::new(attributes);
        Self { log: EventLog::beneath(data_root), id: id.to_owned(), attributes }
    }

    /// From now on its events say this of it.
    pub(crate) fn renew(&self, attributes: Option<BTreeMap<String, String>>) {
        *self.attributes.lock().unwrap_or_else(PoisonError::into_inner) = attributes;
    }

    /// Tells how a run ended, which took that long (`None` if it was
    /// told before), and whether the container is removed with it.
    pub(crate) fn tell_exit(&self, exit: &Exit, lasted: Option<Duration>, removed: bool) {
        let seconds = lasted.unwrap_or_default().as_secs().to_string();
        let die = [("exitCode", exit.code.to_string()), ("execDuration", seconds)];
        let mut told: Vec<(&str, &[(&str, String)])> = Vec::with_capacity(3);
        if lasted.is_some() && exit.oom_killed {
            told.push(("oom", &[]));
        }
        if lasted.is_some() {
            told.push(("die", &die));
        }
        if removed {
            told.push(("destroy", &[]));
        }
        self.tell_all(&told);
    }

    /// Tells that `action` happened; `more` is said beside what every event of it says.
    pub(crate) fn tell(&self, action: &str, more: &[(&str, String)]) {
        self.tell_all(&[(action, more)]);
    }

    /// Tells several things that happened at once, in order.
    pub(crate) fn tell_all(&self, actions: &[(&str, &[(&str, String)])]) {
        let attributes = self.attributes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(attributes) = attributes.as_ref() else { return };
        let event = |(action, more): &(&str, &[(&str, String)])| {
            let event = Event::now(Kind::Container, *action, &self.id, attributes.clone());
            more.iter().fold(event, |event, (name, value)| event.with(name, value))
        };
        let events: Vec<_> = actions.iter().map(event).collect();
        // A supervisor has nobody to complain to, and a full disk stops no container.
        let _untold = self.log.append_all(&events);
    }
}
