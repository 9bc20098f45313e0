//! What is known of the layers of one pull or push, and the rows that show it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::event::Event;
use crate::screen::bar::{self, Rate};
use crate::screen::{Line, Style, clean};

/// How many things an engine may report on; news of more are not shown.
const MOST: usize = 4096;

/// Columns for what a layer is called, and for what happens to it.
const NAME: usize = 14;
const STATUS: usize = 20;

/// Narrowest and widest bar.
const BAR: (usize, usize) = (8, 40);

/// One thing that is moved.
#[derive(Debug, Clone)]
struct Layer {
    id: String,
    status: String,
    state: State,
    current: u64,
    total: Option<u64>,
    rate: Rate,
    /// Bytes that went over the wire, as far as they were told.
    moved: u64,
    size: Option<u64>,
}

/// What its status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its turn comes.
    Waiting,
    /// It is worked on.
    Active,
    /// Nothing more happens to it.
    Done,
    /// It was there before.
    Present,
}

impl State {
    /// The words are Docker's, for both directions.
    fn of(status: &str) -> Self {
        match status {
            "Already exists" | "Layer already exists" => Self::Present,
            "Pull complete" | "Pushed" | "Skipped foreign layer" | "Loaded" => Self::Done,
            "Waiting" | "Preparing" | "Pulling fs layer" => Self::Waiting,
            _ if status.starts_with("Mounted from") => Self::Present,
            _ => Self::Active,
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Present)
    }
}

/// Statuses whose numbers count bytes on the wire.
fn is_transfer(status: &str) -> bool {
    matches!(status, "Downloading" | "Pushing")
}

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Board {
    layers: Vec<Layer>,
    index: HashMap<String, usize>,
    began: Option<Instant>,
    rate: Rate,
}

impl Board {
    /// Takes note of a step.
    pub(super) fn note(&mut self, event: &Event, now: Instant) {
        let (Some(id), Some(status)) = (&event.id, &event.status) else { return };
        self.began.get_or_insert(now);
        let Some(layer) = self.layer(id) else { return };
        let detail = event.progress_detail.clone().unwrap_or_default();
        if layer.status != *status {
            layer.status.clone_from(status);
            layer.state = State::of(status);
            layer.rate = Rate::default();
            (layer.current, layer.total) = (0, None);
        }
        if detail.units.as_deref().unwrap_or("bytes") == "bytes" {
            layer.current = detail.current.unwrap_or(layer.current);
            layer.total = detail.total.filter(|total| *total > 0).or(layer.total);
            if layer.state == State::Active {
                layer.rate.note(now, layer.current);
            }
            if is_transfer(status) {
                layer.moved = layer.moved.max(layer.current);
                layer.size = layer.total.or(layer.size);
            }
        }
        // A load says no more than this.
        if status == "Loading layer" && layer.total.is_some_and(|total| layer.current >= total) {
            layer.state = State::Done;
        }
        // What was announced is there once the next step begins.
        if layer.state != State::Waiting && !is_transfer(status) && layer.moved > 0 {
            layer.moved = layer.size.unwrap_or(layer.moved);
        }
        let moved = self.moved();
        self.rate.note(now, moved);
    }

    fn layer(&mut self, id: &str) -> Option<&mut Layer> {
        let next = self.layers.len();
        if !self.index.contains_key(id) {
            if next >= MOST {
                return None;
            }
            self.layers.push(Layer {
                id: id.to_owned(),
                status: String::new(),
                state: State::Waiting,
                current: 0,
                total: None,
                rate: Rate::default(),
                moved: 0,
                size: None,
            });
        }
        let at = *self.index.entry(id.to_owned()).or_insert(next);
        self.layers.get_mut(at)
    }

    fn moved(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.moved))
    }

    fn count(&self, of: impl Fn(State) -> bool) -> usize {
        self.layers.iter().filter(|layer| of(layer.state)).count()
    }

    /// Whether there is nothing to show.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Whether everything that was told of has come to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.layers.iter().all(|layer| layer.state.is_final())
    }

    /// The rows, for a window of this size. What does not fit is counted; what is worked on is
    /// shown first, then what waits.
    pub(super) fn lines(&self, (columns, rows): (usize, usize), now: Instant) -> Vec<Line> {
        let totals = self.totals(columns, now);
        let room = rows.saturating_sub(usize::from(totals.is_some()));
        let (shown, hidden) = self.shown(room);
        let mut lines: Vec<Line> = shown.iter().map(|layer| row(layer, columns, now)).collect();
        lines.extend(hidden);
        lines.extend(totals);
        lines
    }

    /// The layers that get a row, in their order, and the row that counts the others.
    fn shown(&self, room: usize) -> (Vec<&Layer>, Option<Line>) {
        if self.layers.len() <= room {
            return (self.layers.iter().collect(), None);
        }
        let mut order: Vec<usize> = (0..self.layers.len()).collect();
        order.sort_by_key(|at| match self.layers[*at].state {
            State::Active => 0,
            State::Waiting => 1,
            State::Done | State::Present => 2,
        });
        let hidden = order.split_off(room.saturating_sub(1).min(order.len()));
        order.sort_unstable();
        let count = |wanted: fn(State) -> bool| {
            hidden.iter().filter(|at| wanted(self.layers[**at].state)).count()
        };
        let (done, waiting) = (count(State::is_final), count(|state| state == State::Waiting));
        let active = hidden.len() - done - waiting;
        let parts = [(active, "under way"), (waiting, "waiting"), (done, "done")];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let text = format!("and {} more: {}", hidden.len(), parts.join(", "));
        let shown = order.into_iter().map(|at| &self.layers[at]).collect();
        (shown, (room > 0).then(|| Line::default().with(Style::Dim, &text)))
    }

    /// The row below the layers, while there are several.
    fn totals(&self, columns: usize, now: Instant) -> Option<Line> {
        if self.layers.len() < 2 || self.is_finished() {
            return None;
        }
        let done = self.count(State::is_final);
        let text = format!("{done} of {} layers", self.layers.len());
        let sizes = self.layers.iter().map(|layer| layer.size.unwrap_or(layer.moved));
        let total: u64 = sizes.fold(0, u64::saturating_add);
        let figures = Figures { current: self.moved(), total: Some(total), rate: &self.rate };
        let line = cell(Line::default(), Style::Bold, "total", NAME);
        let line = cell(line, Style::Bold, &text, STATUS);
        Some(figures.append(line, columns, now))
    }

    /// What was done, in one sentence, where anything was.
    pub(super) fn summary(&self, now: Instant) -> Option<String> {
        let moved = self.moved();
        let time = now.duration_since(self.began?);
        if moved == 0 {
            return None;
        }
        let present = self.count(|state| state == State::Present);
        let transferred = self.layers.len() - present;
        let plural = if transferred == 1 { "" } else { "s" };
        let mut text =
            format!("{transferred} layer{plural}, {} in {}", bar::bytes(moved), seconds(time));
        let rate = u128::from(moved) * 1000 / time.as_millis().max(1);
        if time >= Duration::from_millis(100) {
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            text.push_str(&format!(" ({}/s)", bar::bytes(rate)));
        }
        match present {
            0 => {}
            1 => text.push_str("; 1 was there"),
            more => text.push_str(&format!("; {more} were there")),
        }
        Some(text)
    }
}

/// With one decimal while that says something.
fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(60) {
        format!("{:.1}s", time.as_secs_f64())
    } else {
        bar::span(time)
    }
}

/// The row of one layer.
fn row(layer: &Layer, columns: usize, now: Instant) -> Line {
    let style = match layer.state {
        State::Waiting => Style::Dim,
        State::Active => Style::Blue,
        State::Done => Style::Green,
        State::Present => Style::Plain,
    };
    let line = cell(Line::default(), Style::Plain, &layer.id, NAME);
    let line = cell(line, style, &layer.status, STATUS);
    if layer.state != State::Active || (layer.current == 0 && layer.total.is_none()) {
        return line;
    }
    let figures = Figures { current: layer.current, total: layer.total, rate: &layer.rate };
    figures.append(line, columns, now)
}

/// Text in a column of its own.
fn cell(line: Line, style: Style, text: &str, width: usize) -> Line {
    let text: String = clean(text).chars().take(width - 1).collect();
    let before = line.width();
    let line = line.with(style, &text);
    let used = line.width() - before;
    line.text(&" ".repeat(width.saturating_sub(used).max(1)))
}

/// How far something is and how fast.
struct Figures<'a> {
    current: u64,
    total: Option<u64>,
    rate: &'a Rate,
}

impl Figures<'_> {
    fn append(&self, line: Line, columns: usize, now: Instant) -> Line {
        let rate = self.rate.per_second(now).map(|rate| format!("{}/s", bar::bytes(rate)));
        let rate = rate.unwrap_or_default();
        let Some(total) = self.total.filter(|total| *total > 0) else {
            return line.text(&format!("{} {rate}", bar::bytes(self.current)));
        };
        let left = total.saturating_sub(self.current);
        let time = self.rate.time_for(left, now).map(bar::span).unwrap_or_default();
        let share = bar::percent(self.current, total);
        let amount = format!("{}/{}", bar::bytes(self.current), bar::bytes(total));
        let columns = columns.saturating_sub(line.width());
        let numbers = [
            format!("{share:>3}%"),
            format!(" {amount:>15}"),
            format!(" {rate:>9}"),
            format!(" {time:>6}"),
        ];
        let room = columns.saturating_sub(numbers.iter().map(String::len).sum::<usize>() + 3);
        if room < BAR.0 {
            // No bar, and of the numbers those that fit.
            let ends = (1..=numbers.len()).rev();
            let fitting = ends.map(|end| numbers[..end].concat());
            let numbers =
                fitting.map(|text| text.trim_end().to_owned()).find(|t| t.len() <= columns);
            return line.text(&numbers.unwrap_or_default());
        }
        let numbers = numbers.concat();
        let bar = bar::bar(room.min(BAR.1), self.current, total);
        line.text(&format!("[{bar}] {}", numbers.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, status: &str, detail: &str) -> Event {
        let text = format!(r#"{{"id":"{id}","status":"{status}","progressDetail":{detail}}}"#);
        Event::parse(text.as_bytes()).unwrap()
    }

    fn text(board: &Board, size: (usize, usize), now: Instant) -> Vec<String> {
        let lines = board.lines(size, now);
        lines.iter().map(|line| line.render(size.0, false).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_pull_from_beginning_to_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut board = Board::default();
        assert!(board.is_empty() && board.is_finished() && board.summary(start).is_none());
        board.note(&event("aaaa", "Pulling fs layer", "{}"), start);
        board.note(&event("bbbb", "Already exists", "{}"), start);
        board.note(&event("aaaa", "Downloading", r#"{"current":0,"total":50000000}"#), start);
        for second in 1..=2 {
            let detail = format!(r#"{{"current":{},"total":50000000}}"#, second * 10_000_000);
            board.note(&event("aaaa", "Downloading", &detail), at(second));
        }
        assert_eq!(
            text(&board, (100, 10), at(2)),
            [
                "aaaa          Downloading         [==========>               ]  40%       20MB/50MB    10MB/s     3s",
                "bbbb          Already exists",
                "total         1 of 2 layers       [==========>               ]  40%       20MB/50MB    10MB/s     3s",
            ]
        );
        // Too narrow for a bar, then for the rate, then for anything but the status.
        let narrow = [
            (64, "aaaa          Downloading          40%       20MB/50MB    10MB/s"),
            (63, "aaaa          Downloading          40%       20MB/50MB"),
            (40, "aaaa          Downloading          40%"),
            (20, "aaaa          Downlo"),
        ];
        for (columns, expected) in narrow {
            assert_eq!(text(&board, (columns, 10), at(2))[0], expected);
        }
        board.note(&event("aaaa", "Download complete", "{}"), at(3));
        board.note(&event("aaaa", "Extracting", r#"{"current":1,"units":"s"}"#), at(3));
        assert_eq!(text(&board, (100, 10), at(3))[0], "aaaa          Extracting");
        assert!(!board.is_finished());
        board.note(&event("aaaa", "Pull complete", "{}"), at(5));
        assert!(board.is_finished());
        assert_eq!(
            text(&board, (100, 10), at(5)),
            ["aaaa          Pull complete", "bbbb          Already exists"]
        );
        assert_eq!(board.summary(at(5)).unwrap(), "1 layer, 50MB in 5.0s (10MB/s); 1 was there");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let now = Instant::now();
        let mut board = Board::default();
        for number in 0..30 {
            board.note(&event(&format!("l{number:02}"), "Waiting", "{}"), now);
        }
        for number in 0..10 {
            board.note(&event(&format!("l{number:02}"), "Pull complete", "{}"), now);
        }
        board.note(&event("l29", "Downloading", r#"{"current":1,"total":2}"#), now);
        let lines = text(&board, (80, 5), now);
        assert_eq!(lines.len(), 5);
        assert!(lines[0].starts_with("l10") && lines[1].starts_with("l11"), "{lines:?}");
        assert!(lines[2].starts_with("l29"), "{lines:?}");
        assert_eq!(lines[3], "and 27 more: 17 waiting, 10 done");
        assert!(lines[4].starts_with("total         10 of 30 layers"), "{lines:?}");
        for rows in 1..40 {
            assert!(board.lines((80, rows), now).len() <= rows.max(1), "{rows}");
        }
    }

    #[test]
    fn an_engine_cannot_fill_memory_or_move_the_cursor() {
        let now = Instant::now();
        let mut board = Board::default();
        for number in 0..MOST + 10 {
            board.note(&event(&number.to_string(), "Waiting", "{}"), now);
        }
        assert_eq!(board.layers.len(), MOST);
        let mut board = Board::default();
        let hostile = event(
            r"\u001b[2J\r\nx",
            &r"\u001b]0;x\u0007".repeat(50),
            r#"{"current":18446744073709551615,"total":1}"#,
        );
        board.note(&hostile, now);
        board.note(&hostile, now + Duration::from_secs(9));
        let lines = text(&board, (80, 5), now + Duration::from_secs(9));
        assert!(lines[0].len() <= 80 && !lines[0].contains(char::is_control), "{lines:?}");
    }
}
