//! How far a pull or push is, in Docker's messages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hull_api::image::{ProgressDetail, ProgressMessage};

/// How often at most the count of one layer is told.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where messages go: those that must arrive, and counts, which the next one makes up for.
pub(crate) struct Progress<'a> {
    send: &'a (dyn Fn(ProgressMessage, Weight) + Sync),
    told: Mutex<HashMap<String, Instant>>,
}

/// Whether a message may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It must arrive.
    Event,
    /// The next one says more.
    Count,
}

impl<'a> Progress<'a> {
    /// Messages for `send`, which is called from many threads.
    pub(crate) fn new(send: &'a (dyn Fn(ProgressMessage, Weight) + Sync)) -> Self {
        Self { send, told: Mutex::default() }
    }

    /// Something about everything.
    pub(crate) fn say(&self, status: impl Into<String>) {
        (self.send)(ProgressMessage::status(status), Weight::Event);
    }

    /// Something about one thing.
    pub(crate) fn about(&self, id: &str, status: impl Into<String>) {
        let id = Some(id.to_owned());
        (self.send)(ProgressMessage { id, ..ProgressMessage::status(status) }, Weight::Event);
    }

    /// What is being done with a layer.
    pub(crate) fn step(&self, id: &str, status: &str) {
        self.detail(id, status, ProgressDetail::default(), Weight::Event);
    }

    /// How many bytes of a layer are done. Told ten times a second at most.
    pub(crate) fn count(&self, id: &str, status: &str, current: u64, total: u64) {
        let now = Instant::now();
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.get(id).is_some_and(|last| now.duration_since(*last) < INTERVAL) {
                return;
            }
            told.insert(id.to_owned(), now);
        }
        let detail = ProgressDetail { current: Some(current), total: Some(total) };
        self.detail(id, status, detail, Weight::Count);
    }

    /// A result for programs.
    pub(crate) fn result(&self, value: serde_json::Value) {
        let message = ProgressMessage {
            progress_detail: Some(ProgressDetail::default()),
            aux: Some(value),
            ..ProgressMessage::default()
        };
        (self.send)(message, Weight::Event);
    }

    fn detail(&self, id: &str, status: &str, detail: ProgressDetail, weight: Weight) {
        let message = ProgressMessage {
            id: Some(id.to_owned()),
            progress_detail: Some(detail),
            ..ProgressMessage::status(status)
        };
        (self.send)(message, weight);
    }
}
