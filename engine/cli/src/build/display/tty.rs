//! Rows on a terminal: a head, the steps, and of those that run the last lines of output.

use std::collections::VecDeque;
use std::time::Instant;

use hull_api::build::SolveStatus;
use jiff::Timestamp;

use super::steps::{Step, Steps, amount, between};
use crate::screen::{Line, Style, clean};

/// How many lines of a running step's output are shown.
const OUTPUT: usize = 6;

/// Columns for the time at the end of a row.
const TIME: usize = 8;

/// What is to be drawn.
#[derive(Debug)]
pub(super) struct Screen {
    began: Instant,
    steps: Steps,
    /// The last lines that each step wrote, the last of them perhaps without its end.
    output: Vec<VecDeque<String>>,
}

impl Screen {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, steps: Steps::default(), output: Vec::new() }
    }

    pub(super) fn update(&mut self, status: &SolveStatus) {
        self.steps.update(status);
        self.output.resize_with(self.steps.steps.len(), VecDeque::new);
        for log in &status.logs {
            let Some(index) = self.steps.index(&log.vertex) else { continue };
            let lines = &mut self.output[index];
            let text = String::from_utf8_lossy(&log.data);
            for piece in text.split_inclusive('\n') {
                // Of what overwrites itself the last state counts.
                let shown = piece.trim_end_matches(['\n', '\r']);
                let shown = clean(shown.rsplit('\r').next().unwrap_or_default());
                match lines.back_mut().filter(|last| !last.ends_with('\n')) {
                    Some(last) => last.push_str(&shown),
                    None => lines.push_back(shown),
                }
                if piece.ends_with('\n')
                    && let Some(last) = lines.back_mut()
                {
                    last.push('\n');
                }
                while lines.len() > OUTPUT {
                    lines.pop_front();
                }
            }
        }
    }

    /// The rows, not more than fit. At the end all of them.
    pub(super) fn lines(&self, room: (usize, usize), now: Instant, finished: bool) -> Vec<Line> {
        let (columns, rows) = room;
        let time = Timestamp::now();
        let steps = &self.steps.steps;
        let done = steps.iter().filter(|step| step.completed.is_some()).count();
        let failed = steps.iter().any(|step| !step.error.is_empty());
        let seconds = now.duration_since(self.began).as_secs_f64();
        let end = match (finished, failed) {
            (false, _) => "",
            (true, false) => " FINISHED",
            (true, true) => " FAILED",
        };
        let head = format!("[+] Building {seconds:.1}s ({done}/{}){end}", steps.len());
        let style = if finished && !failed { Style::Green } else { Style::Plain };
        let mut lines = vec![Line::default().with(style, &head)];
        let rows = rows.saturating_sub(1);
        let shown = self.chosen(rows);
        for index in shown {
            lines.extend(self.step(index, columns, time, finished));
        }
        lines.truncate(rows.saturating_add(1));
        lines
    }

    /// Which steps are shown where not all fit: those that run, and the last of the others.
    fn chosen(&self, rows: usize) -> Vec<usize> {
        let all = 0..self.steps.steps.len();
        let height = |index: usize| {
            let running = self.steps.steps[index].completed.is_none();
            let inside = self.steps.steps[index].statuses.len().min(OUTPUT);
            1 + if running { inside + self.output[index].len() } else { 0 }
        };
        let runs = |index: &usize| {
            let step = &self.steps.steps[*index];
            step.completed.is_none() || !step.error.is_empty()
        };
        let mut left = rows;
        let mut chosen: Vec<usize> = all.clone().filter(runs).collect();
        left = left.saturating_sub(chosen.iter().map(|index| height(*index)).sum());
        for index in all.rev().filter(|index| !runs(index)) {
            let Some(rest) = left.checked_sub(height(index)) else { break };
            left = rest;
            chosen.push(index);
        }
        chosen.sort_unstable();
        chosen
    }

    fn step(&self, index: usize, columns: usize, now: Timestamp, finished: bool) -> Vec<Line> {
        let step = &self.steps.steps[index];
        let (mark, style) = match step {
            Step { error, .. } if !error.is_empty() => ("ERROR ", Style::Bold),
            Step { cached: true, .. } => ("CACHED ", Style::Blue),
            Step { completed: Some(_), .. } => ("", Style::Blue),
            _ if finished => ("CANCELED ", Style::Dim),
            _ => ("", Style::Plain),
        };
        let text = format!(" => {mark}{}", step.name);
        let mut lines = vec![row(style, &text, &format!("{:.1}s", step.seconds(now)), columns)];
        if step.completed.is_some() || finished {
            return lines;
        }
        for status in step.statuses.iter().rev().take(OUTPUT).rev() {
            let seconds = match (status.started, status.completed) {
                (Some(from), to) => between(from, to.unwrap_or(now)),
                (None, _) => 0.0,
            };
            let text = format!(" => => {}{}", status.text, amount(status));
            lines.push(row(Style::Dim, &text, &format!("{seconds:.1}s"), columns));
        }
        for line in &self.output[index] {
            let text = format!(" => => # {}", line.trim_end_matches('\n'));
            lines.push(Line::default().with(Style::Dim, &text));
        }
        lines
    }
}

/// A row with a time at its right end.
fn row(style: Style, text: &str, time: &str, columns: usize) -> Line {
    let room = columns.saturating_sub(TIME);
    let mut shown = Line::default().text(text).render(room, false);
    let width = Line::default().text(&shown).width();
    shown.push_str(&" ".repeat(room.saturating_sub(width)));
    Line::default().with(style, &format!("{shown}{time:>TIME$}"))
}

#[cfg(test)]
mod tests {
    use hull_api::build::{Vertex, VertexLog};

    use super::*;

    fn vertex(name: &str, completed: bool) -> Vertex {
        let time = "2026-01-01T00:00:00Z".to_owned();
        Vertex {
            digest: name.to_owned(),
            name: name.to_owned(),
            started: Some(time.clone()),
            completed: completed.then_some(time),
            ..Vertex::default()
        }
    }

    fn drawn(screen: &Screen, rows: usize, finished: bool) -> Vec<String> {
        let lines = screen.lines((40, rows), screen.began, finished);
        lines.iter().map(|line| line.render(40, false)).collect()
    }

    #[test]
    fn rows_say_what_runs() {
        let mut screen = Screen::new(Instant::now());
        let failed = Vertex { error: "no".to_owned(), ..vertex("third", true) };
        screen.update(&SolveStatus {
            vertexes: vec![vertex("first", true), vertex("second", false), failed],
            logs: vec![VertexLog {
                vertex: "second".to_owned(),
                data: b"a\nb\x1b[2J\npart".to_vec(),
                ..VertexLog::default()
            }],
            ..SolveStatus::default()
        });
        let lines = drawn(&screen, 20, false);
        assert_eq!(lines[0], "[+] Building 0.0s (2/3)");
        assert_eq!(lines[1], " => first                           0.0s");
        assert!(lines[2].starts_with(" => second") && lines[2].len() == 40);
        assert_eq!(lines[3..6], [" => => # a", " => => # b[2J", " => => # part"]);
        assert!(lines[6].starts_with(" => ERROR third"));
        let lines = drawn(&screen, 20, true);
        assert_eq!(lines[0], "[+] Building 0.0s (2/3) FAILED");
        assert!(lines[2].starts_with(" => CANCELED second"));
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut screen = Screen::new(Instant::now());
        let mut vertexes: Vec<Vertex> = (0..50).map(|at| vertex(&format!("s{at}"), true)).collect();
        vertexes.push(vertex("runs", false));
        screen.update(&SolveStatus { vertexes, ..SolveStatus::default() });
        let lines = drawn(&screen, 5, false);
        assert_eq!(lines.len(), 5);
        assert!(lines[4].starts_with(" => runs") && lines[3].starts_with(" => s49"));
        assert_eq!(drawn(&screen, usize::MAX, true).len(), 52);
    }
}
