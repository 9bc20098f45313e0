//! Rows at the bottom of a terminal that are drawn again and again.

use std::io::Write as _;

use rustix::fd::BorrowedFd;
use rustix::termios::{isatty, tcgetwinsize};

use super::Line;

/// Which of this program's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
        }
    }

    /// Whether somebody may watch it: a terminal that can move its cursor.
    pub(crate) fn is_watched(self) -> bool {
        isatty(self.descriptor()) && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Columns and rows of its terminal, where they are known.
    fn size(self) -> Option<(usize, usize)> {
        let size = tcgetwinsize(self.descriptor()).ok()?;
        let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
        (columns > 0 && rows > 0).then_some((columns, rows))
    }

    /// Writes a line.
    pub(crate) fn line(self, text: &str) {
        match self {
            Self::Stdout => crate::out::line(text),
            Self::Stderr => crate::out::error(text),
        }
    }

    /// Writes text as it is.
    fn write(self, text: &str) {
        match self {
            Self::Stdout => crate::out::text(text),
            Self::Stderr => {
                // As everywhere: a stderr that is gone is nothing to tell about.
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            }
        }
    }
}

/// Where nobody says how large a window is.
const SIZE: (usize, usize) = (80, 24);

/// Rows that are kept up to date. Made once somebody watches; dropped, the rows stay as they were
/// drawn last, with the cursor below them.
///
/// Each drawing is one write, and the cursor is never hidden: a program that is killed leaves the
/// terminal as it should be.
#[derive(Debug)]
pub(crate) struct Live {
    stream: Stream,
    styled: bool,
    /// Widths of the rows on the screen.
    drawn: Vec<usize>,
    /// What was written for them, and in which window.
    frame: (String, (usize, usize)),
}

impl Live {
    /// On a terminal; `None` where there is none.
    pub(crate) fn on(stream: Stream) -> Option<Self> {
        let styled = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let frame = (String::new(), SIZE);
        stream.is_watched().then_some(Self { stream, styled, drawn: Vec::new(), frame })
    }

    /// Columns and rows that may be drawn: one of each stays free. In the last column terminals
    /// differ in where the cursor is; in the last row it is.
    pub(crate) fn room(&self) -> (usize, usize) {
        let (columns, rows) = self.stream.size().unwrap_or(SIZE);
        (columns.saturating_sub(1).max(1), rows.saturating_sub(1).max(1))
    }

    /// Draws rows in place of those before. Writes nothing if nothing has changed.
    pub(crate) fn draw(&mut self, lines: &[Line]) {
        let (columns, rows) = self.room();
        let lines = &lines[..lines.len().min(rows)];
        let mut body = String::new();
        for line in lines {
            body.push_str(&line.render(columns, self.styled));
            body.push('\n');
        }
        let frame = (body, (columns, rows));
        if frame == self.frame {
            return;
        }
        // What is buffered by lines is out with the last of them.
        self.stream.write(&format!("{}\x1b[J{}", self.back(), frame.0));
        self.drawn = lines.iter().map(|line| line.width().min(columns)).collect();
        self.frame = frame;
    }

    /// Writes a line that stays, above the rows.
    pub(crate) fn above(&mut self, line: &Line) {
        let text = line.render(usize::MAX, self.styled);
        // One write: between the two nothing is lost to the eye.
        self.stream.write(&format!("{}\x1b[J{text}\n{}", self.back(), self.frame.0));
    }

    /// Lets the rows stay as they are; what is drawn next is below them.
    pub(crate) fn leave(&mut self) {
        self.drawn.clear();
        self.frame.0.clear();
    }

    /// Moves to the beginning of the first row.
    fn back(&self) -> String {
        let (columns, rows) = self.room();
        // A window that became narrower has broken the rows that were wider.
        let up: usize = self.drawn.iter().map(|width| width.div_ceil(columns + 1).max(1)).sum();
        match up.min(rows) {
            0 => "\r".to_owned(),
            up => format!("\r\x1b[{up}A"),
        }
    }
}
