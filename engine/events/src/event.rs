//! One event, in the Engine API's words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::MAX_EVENT_BYTES;

/// Something that happened. Its JSON is the Engine API's `EventMessage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What kind of object it happened to.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// What happened: `start`, `exec_start: sh -c true`.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`: `swarm` is not ours.
    pub scope: String,
    /// When, in seconds since 1970.
    pub time: i64,
    /// When, in nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// The object an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its id; for an image also its name, for a volume its name.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, its labels, and what the action adds, such as `exitCode`.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A build.
    Builder,
    /// A container.
    Container,
    /// The service itself.
    Daemon,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A plugin.
    Plugin,
    /// A volume.
    Volume,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Container => "container",
            Self::Daemon => "daemon",
            Self::Image => "image",
            Self::Network => "network",
            Self::Plugin => "plugin",
            Self::Volume => "volume",
        }
    }
}

impl Event {
    /// An event that happens now.
    pub fn now(
        kind: Kind,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        let now = Timestamp::now();
        Self {
            kind,
            action: action.into(),
            actor: Actor { id: id.into(), attributes },
            scope: "local".to_owned(),
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        }
    }

    /// The same event with one attribute more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.actor.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Appends its line to `out`. One that is too long loses its longest attributes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut shorter = None::<Self>;
        loop {
            out.truncate(start);
            out.push(b'\n');
            let event = shorter.as_ref().unwrap_or(self);
            serde_json::to_writer(&mut *out, event).expect("strings and numbers are JSON");
            out.push(b'\n');
            if out.len() - start <= MAX_EVENT_BYTES {
                return;
            }
            let event = shorter.get_or_insert_with(|| self.clone());
            let attributes = &mut event.actor.attributes;
            let longest = attributes.iter().max_by_key(|(name, value)| name.len() + value.len());
            match longest.map(|(name, _)| name.clone()) {
                Some(name) => drop(attributes.remove(&name)),
                None => {
                    // Only an action can still be that long: a command line.
                    event.action = event.action.chars().take(1024).collect();
                    event.actor.id = event.actor.id.chars().take(1024).collect();
                }
            }
        }
    }
}
