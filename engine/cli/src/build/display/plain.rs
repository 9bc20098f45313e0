//! A line for everything that happens.
//!
//! Steps that run at the same time are told one after the other: what another one says waits until
//! the one at hand is done, or has been told for a while.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use hull_api::build::SolveStatus;
use jiff::Timestamp;

use super::steps::{Steps, amount, between, time};

/// How long one step is told before another one has its turn.
const TURN: Duration = Duration::from_secs(3);

/// Tells.
#[derive(Debug, Default)]
pub(super) struct Printer {
    steps: Steps,
    /// What of each step is still to be told.
    told: Vec<Told>,
    /// The step at hand, and since when.
    at_hand: Option<(usize, Instant)>,
    /// Whether anything was told.
    begun: bool,
}

#[derive(Debug, Default)]
struct Told {
    waiting: VecDeque<String>,
    /// The start of a line of output whose end has not come, and the stream.
    partial: Vec<u8>,
    has_header: bool,
    has_end: bool,
    statuses: HashSet<String>,
    /// Lines of output are told with the time since the start.
    last_log: Option<Timestamp>,
}

impl Printer {
    /// Takes events in; returns what is to be printed.
    pub(super) fn update(&mut self, status: &SolveStatus) -> String {
        self.steps.update(status);
        self.told.resize_with(self.steps.steps.len(), Told::default);
        for log in &status.logs {
            if let Some(index) = self.steps.index(&log.vertex) {
                self.log(index, &log.data, time(Some(&log.timestamp)));
            }
        }
        for index in 0..self.told.len() {
            self.statuses(index);
            self.end(index);
        }
        self.tell(Instant::now())
    }

    /// The rest.
    pub(super) fn finish(&mut self) -> String {
        let mut text = String::new();
        for index in 0..self.told.len() {
            self.flush_partial(index);
            if !self.told[index].waiting.is_empty() {
                self.switch(index, &mut text);
                self.drain(index, &mut text);
            }
        }
        text
    }

    fn log(&mut self, index: usize, data: &[u8], at: Option<Timestamp>) {
        self.told[index].last_log = at;
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.told[index].partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.flush_partial(index);
            }
        }
    }

    fn flush_partial(&mut self, index: usize) {
        let told = &mut self.told[index];
        if told.partial.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut told.partial);
        let text = String::from_utf8_lossy(&bytes);
        // Of what overwrites itself the last state counts.
        let text = text.trim_end_matches(['\n', '\r']);
        let text = crate::screen::clean(text.rsplit('\r').next().unwrap_or_default());
        let started = self.steps.steps[index].started;
        let since = match (started, told.last_log) {
            (Some(started), Some(at)) => between(started, at),
            _ => 0.0,
        };
        told.waiting.push_back(format!("{since:.3} {text}"));
    }

    fn statuses(&mut self, index: usize) {
        let (step, told) = (&self.steps.steps[index], &mut self.told[index]);
        for status in step.statuses.iter().filter(|status| status.completed.is_some()) {
            if !told.statuses.insert(status.id.clone()) {
                continue;
            }
            let took = match (status.started, status.completed) {
                (Some(from), Some(to)) => format!(" {:.1}s", between(from, to)),
                _ => String::new(),
            };
            told.waiting.push_back(format!("{}{}{took} done", status.text, amount(status)));
        }
    }

    fn end(&mut self, index: usize) {
        let step = &self.steps.steps[index];
        if step.completed.is_none() || self.told[index].has_end {
            return;
        }
        let end = if !step.error.is_empty() {
            format!("ERROR: {}", step.error)
        } else if step.cached {
            "CACHED".to_owned()
        } else {
            format!("DONE {:.1}s", step.seconds(Timestamp::now()))
        };
        self.flush_partial(index);
        self.told[index].has_end = true;
        self.told[index].waiting.push_back(end);
    }

    /// What may be told now.
    fn tell(&mut self, now: Instant) -> String {
        let mut text = String::new();
        loop {
            let (index, since) = match self.at_hand {
                Some(at_hand) => at_hand,
                None => match self.next(None) {
                    Some(index) => {
                        self.switch(index, &mut text);
                        (index, now)
                    }
                    None => return text,
                },
            };
            self.at_hand = Some((index, since));
            self.drain(index, &mut text);
            if self.told[index].has_end {
                self.at_hand = None;
                continue;
            }
            let other = self.next(Some(index)).filter(|_| now.duration_since(since) > TURN);
            let Some(other) = other else { return text };
            text.push_str(&format!("#{} ...\n", index + 1));
            self.switch(other, &mut text);
            self.at_hand = Some((other, now));
        }
    }

    /// The first step but `except` that has something to tell, or that has only begun.
    fn next(&self, except: Option<usize>) -> Option<usize> {
        let mut others = self.told.iter().enumerate().filter(|(index, _)| Some(*index) != except);
        others
            .find(|(_, told)| !told.waiting.is_empty() || (!told.has_header && !told.has_end))
            .map(|(index, _)| index)
    }

    /// Begins to tell of a step.
    fn switch(&mut self, index: usize, text: &mut String) {
        if self.begun {
            text.push('\n');
        }
        self.begun = true;
        self.told[index].has_header = true;
        text.push_str(&format!("#{} {}\n", index + 1, self.steps.steps[index].name));
    }

    fn drain(&mut self, index: usize, text: &mut String) {
        for line in self.told[index].waiting.drain(..) {
            text.push_str(&format!("#{} {line}\n", index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use hull_api::build::{Vertex, VertexLog, VertexStatus};

    use super::*;

    fn at(seconds: &str) -> Option<String> {
        Some(format!("2026-01-01T00:00:{seconds}Z"))
    }

    fn vertex(digest: &str, started: &str, completed: Option<&str>) -> Vertex {
        Vertex {
            digest: digest.to_owned(),
            name: format!("[{digest}] step"),
            started: at(started),
            completed: completed.and_then(at),
            ..Vertex::default()
        }
    }

    fn log(digest: &str, seconds: &str, text: &str) -> VertexLog {
        VertexLog {
            vertex: digest.to_owned(),
            stream: 1,
            data: text.as_bytes().to_vec(),
            timestamp: at(seconds).unwrap_or_default(),
        }
    }

    #[test]
    fn steps_are_told_one_after_the_other() {
        let mut printer = Printer::default();
        let text = printer.update(&SolveStatus {
            vertexes: vec![vertex("a", "00", None), vertex("b", "00", None)],
            logs: vec![log("a", "01.5", "one\ntw"), log("b", "01", "other\n")],
            ..SolveStatus::default()
        });
        assert_eq!(text, "#1 [a] step\n#1 1.500 one\n");
        let text = printer.update(&SolveStatus {
            vertexes: vec![vertex("a", "00", Some("03"))],
            logs: vec![log("a", "02", "o\n")],
            statuses: vec![VertexStatus {
                id: "transferring".to_owned(),
                vertex: "a".to_owned(),
                current: 2_000_000,
                started: at("00"),
                completed: at("01"),
                ..VertexStatus::default()
            }],
            ..SolveStatus::default()
        });
        assert_eq!(
            text,
            "#1 2.000 two\n#1 transferring 2MB 1.0s done\n#1 DONE 3.0s\n\n#2 [b] step\n#2 1.000 other\n"
        );
        let cached = Vertex { cached: true, ..vertex("c", "03", Some("03")) };
        let failed = Vertex { error: "exit code: 1".to_owned(), ..vertex("b", "00", Some("04")) };
        let text = printer
            .update(&SolveStatus { vertexes: vec![cached, failed], ..SolveStatus::default() });
        assert_eq!(text, "#2 ERROR: exit code: 1\n\n#3 [c] step\n#3 CACHED\n");
        assert_eq!(printer.finish(), "");
    }

    #[test]
    fn what_a_step_writes_cannot_steer_the_terminal() {
        let mut printer = Printer::default();
        let text = printer.update(&SolveStatus {
            vertexes: vec![vertex("a", "00", None)],
            logs: vec![log("a", "01", "10%\r20%\r100%\n\x1b[2Jx\n")],
            ..SolveStatus::default()
        });
        assert_eq!(text, "#1 [a] step\n#1 1.000 100%\n#1 1.000 [2Jx\n");
    }

    #[test]
    fn nothing_is_lost_at_the_end() {
        let mut printer = Printer::default();
        printer.update(&SolveStatus {
            vertexes: vec![vertex("a", "00", None), vertex("b", "00", None)],
            logs: vec![log("b", "01", "no end")],
            ..SolveStatus::default()
        });
        assert_eq!(printer.finish(), "\n#2 [b] step\n#2 1.000 no end\n");
    }
}
