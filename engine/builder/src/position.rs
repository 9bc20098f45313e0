//! Places in a Dockerfile, and errors that show them.

use std::fmt::{self, Write as _};

/// Lines of a file, the first is 1, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lines {
    /// The first line.
    pub start: usize,
    /// The last line.
    pub end: usize,
}

impl Lines {
    /// One line.
    pub fn one(line: usize) -> Self {
        Self { start: line, end: line }
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line, the first is 1.
    pub line: usize,
    /// Characters before it, from 0.
    pub column: usize,
}

/// The text of a Dockerfile, kept for excerpts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    lines: Vec<String>,
}

impl Source {
    /// Splits at line ends; bytes that are no UTF-8 are replaced, as this is only for display.
    pub fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect();
        Self { lines }
    }

    /// Line `number`, the first is 1.
    pub fn line(&self, number: usize) -> Option<&str> {
        number.checked_sub(1).and_then(|index| self.lines.get(index)).map(String::as_str)
    }

    /// The first place within `lines` where `word` is written.
    pub fn find(&self, lines: Lines, word: &str) -> Option<Place> {
        (lines.start..=lines.end.min(self.lines.len())).find_map(|line| {
            let text = self.line(line)?;
            let at = text.find(word).filter(|_| !word.is_empty())?;
            Some(Place { line, column: text[..at].chars().count() })
        })
    }

    /// The lines around `lines` with a mark before each of them, as BuildKit shows them, and a
    /// caret under the place if there is one.
    pub fn excerpt(&self, file: &str, lines: Lines, place: Option<Place>) -> String {
        let count = self.lines.len();
        let (start, end) = (lines.start.clamp(1, count.max(1)), lines.end.clamp(1, count.max(1)));
        let around = 4usize.saturating_sub(end.saturating_sub(start) + 1) / 2;
        let (first, last) =
            (start.saturating_sub(around.max(1)).max(1), (end + around.max(1)).min(count));
        let rule = "-".repeat(20);
        let mut text = format!("{file}:{start}\n{rule}\n");
        for number in first..=last {
            let Some(line) = self.line(number) else { continue };
            // What has no width or steers a terminal is not shown.
            let line: String = line
                .chars()
                .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
                .collect();
            let mark = if (start..=end).contains(&number) { ">>>" } else { "   " };
            let _ = writeln!(text, "{}", format!("{number:4} | {mark} {line}").trim_end());
            if let Some(place) = place.filter(|place| place.line == number) {
                let lead = line.chars().take(place.column);
                let lead: String = lead.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let _ = writeln!(text, "     |     {lead}^");
            }
        }
        text.push_str(&rule);
        text.push('\n');
        text
    }
}

/// What is wrong with a Dockerfile, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// One line, without place: `unknown instruction: RUNN`.
    pub message: String,
    /// Where; `None` if it is the file as a whole.
    pub lines: Option<Lines>,
    /// The place within them that is meant.
    pub place: Option<Place>,
    /// What to do: `did you mean RUN?`
    pub hint: Option<String>,
}

impl std::error::Error for SourceError {}

impl fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lines) = self.lines {
            write!(formatter, "line {}: ", lines.start)?;
        }
        write!(formatter, "{}", self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl SourceError {
    /// An error of the file as a whole.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), lines: None, place: None, hint: None }
    }

    /// An error of these lines.
    pub fn at(lines: Lines, message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), lines: Some(lines), place: None, hint: None }
    }

    /// The same at `lines`, unless it has a place already.
    #[must_use]
    pub fn or_at(mut self, lines: Lines) -> Self {
        self.lines.get_or_insert(lines);
        self
    }

    /// The same with the place of `word` within its lines.
    #[must_use]
    pub fn mark(mut self, source: &Source, word: &str) -> Self {
        self.place = self.lines.and_then(|lines| source.find(lines, word)).or(self.place);
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The lines of `file` that it is about, marked; empty if it has no place.
    pub fn excerpt(&self, file: &str, source: &Source) -> String {
        self.lines.map_or_else(String::new, |lines| source.excerpt(file, lines, self.place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_mark_the_lines_and_the_place() {
        let source = Source::new(b"FROM a\r\nRUN x\nRUNN y\nCMD z\nUSER u\n");
        assert_eq!(
            source.excerpt("Dockerfile", Lines::one(3), Some(Place { line: 3, column: 4 })),
            "Dockerfile:3\n--------------------\n   2 |     RUN x\n   3 | >>> RUNN y\n     |         ^\n   4 |     CMD z\n--------------------\n"
        );
        let all = source.excerpt("f", Lines { start: 1, end: 9 }, None);
        assert!(all.starts_with("f:1\n") && all.contains("   5 | >>> USER u\n"), "{all}");
        let hostile = Source::new(b"\x1b[2J\xff").excerpt("f", Lines::one(1), None);
        assert!(!hostile.contains('\u{1b}'), "{hostile}");
        assert!(Source::new(b"").excerpt("f", Lines::one(7), None).contains("f:1"));
    }
}
