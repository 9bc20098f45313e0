//! What is known of each step so far.

use std::collections::HashMap;

use hull_api::build::{SolveStatus, Vertex, VertexStatus};
use jiff::Timestamp;

use crate::screen::clean;

/// A step.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) started: Option<Timestamp>,
    pub(super) completed: Option<Timestamp>,
    pub(super) cached: bool,
    pub(super) error: String,
    pub(super) statuses: Vec<Status>,
}

/// Progress inside a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) current: i64,
    pub(super) total: i64,
    pub(super) started: Option<Timestamp>,
    pub(super) completed: Option<Timestamp>,
}

/// All of them, in the order in which they began.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    known: HashMap<String, usize>,
}

impl Steps {
    /// Which step a digest names, from 0.
    pub(super) fn index(&self, digest: &str) -> Option<usize> {
        self.known.get(digest).copied()
    }

    /// Takes in vertexes and statuses. A step counts once it has begun or is known to be cached.
    pub(super) fn update(&mut self, status: &SolveStatus) {
        for vertex in &status.vertexes {
            self.vertex(vertex);
        }
        for status in &status.statuses {
            self.status(status);
        }
    }

    fn vertex(&mut self, vertex: &Vertex) {
        let begun = vertex.started.is_some() || vertex.cached || !vertex.error.is_empty();
        let index = match self.index(&vertex.digest) {
            Some(index) => index,
            None if !begun => return,
            None => {
                self.steps.push(Step::default());
                self.known.insert(vertex.digest.clone(), self.steps.len() - 1);
                self.steps.len() - 1
            }
        };
        let step = &mut self.steps[index];
        step.name = clean(&vertex.name);
        step.started = time(vertex.started.as_deref()).or(step.started);
        step.completed = time(vertex.completed.as_deref()).or(step.completed);
        step.cached |= vertex.cached;
        if !vertex.error.is_empty() {
            step.error = clean(&vertex.error);
        }
    }

    fn status(&mut self, status: &VertexStatus) {
        let Some(index) = self.index(&status.vertex) else { return };
        let statuses = &mut self.steps[index].statuses;
        let known = statuses.iter().position(|known| known.id == status.id);
        let at = known.unwrap_or_else(|| {
            statuses.push(Status { id: status.id.clone(), ..Status::default() });
            statuses.len() - 1
        });
        let entry = &mut statuses[at];
        let name = if status.name.is_empty() { &status.id } else { &status.name };
        entry.text = clean(name);
        (entry.current, entry.total) = (status.current, status.total);
        entry.started = time(status.started.as_deref()).or(entry.started);
        entry.completed = time(status.completed.as_deref()).or(entry.completed);
    }
}

impl Step {
    /// Seconds that it took, or takes until `now`.
    pub(super) fn seconds(&self, now: Timestamp) -> f64 {
        let Some(started) = self.started else { return 0.0 };
        between(started, self.completed.unwrap_or(now))
    }
}

/// Seconds from one moment to another, never less than none.
pub(super) fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// A moment as the engine writes it.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

/// `current / total` in bytes, or only what there is.
pub(super) fn amount(status: &Status) -> String {
    let bytes = |count: i64| crate::screen::bar::bytes(u64::try_from(count).unwrap_or_default());
    match (status.current, status.total) {
        (0, 0) => String::new(),
        (current, total) if total > 0 => format!(" {} / {}", bytes(current), bytes(total)),
        (current, _) => format!(" {}", bytes(current)),
    }
}
