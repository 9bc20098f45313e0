//! One row of text.

use std::fmt::Write as _;

/// How a piece of a row looks. What it says is never said by its look alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    #[default]
    Plain,
    Dim,
    Bold,
    Green,
    Blue,
}

impl Style {
    /// The parameters of "select graphic rendition" (ECMA-48).
    fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain => return None,
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Green => "32",
            Self::Blue => "34",
        })
    }
}

/// A row in the making: pieces of text, each with its look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Style, String)>);

impl Line {
    /// Appends text, which may come from anywhere.
    #[must_use]
    pub(crate) fn with(mut self, style: Style, text: &str) -> Self {
        self.0.push((style, clean(text)));
        self
    }

    /// Appends text without a look of its own.
    #[must_use]
    pub(crate) fn text(self, text: &str) -> Self {
        self.with(Style::Plain, text)
    }

    /// Columns it takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().flat_map(|(_, text)| text.chars()).map(columns).sum()
    }

    /// The row as it is written: not wider than `width`, with its looks if `styled`.
    pub(crate) fn render(&self, width: usize, styled: bool) -> String {
        let mut out = String::new();
        let mut left = width;
        for (style, text) in &self.0 {
            let end = fitting(text, &mut left);
            let piece = &text[..end];
            match style.code().filter(|_| styled && !piece.is_empty()) {
                // Writing to a string does not fail.
                Some(code) => _ = write!(out, "\x1b[{code}m{piece}\x1b[0m"),
                None => out.push_str(piece),
            }
            if end < text.len() {
                break;
            }
        }
        out
    }
}

/// Where the part of `text` ends that fits; takes its columns off `left`.
fn fitting(text: &str, left: &mut usize) -> usize {
    for (at, character) in text.char_indices() {
        match left.checked_sub(columns(character)) {
            Some(rest) => *left = rest,
            None => return at,
        }
    }
    text.len()
}

/// Text of foreign origin without what a terminal would obey: control characters, and those that
/// change the direction of the text after them.
pub(crate) fn clean(text: &str) -> String {
    let harmless = |c: &char| {
        !c.is_control()
            && !matches!(*c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if c == '\t' || c == '\n' { ' ' } else { c }).filter(harmless).collect()
}

/// Columns that a character takes: none for marks that combine with the one before, two for those
/// of East Asian scripts and pictures. A rough table; a row that is a little short does no harm.
fn columns(character: char) -> usize {
    match character as u32 {
        0x300..=0x36f | 0x200b..=0x200d | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => {
            2
        }
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit() {
        let line = Line::default().with(Style::Bold, "abc").text("def").with(Style::Blue, "ghi");
        assert_eq!((line.width(), line.render(80, false).as_str()), (9, "abcdefghi"));
        assert_eq!(line.render(9, true), "\x1b[1mabc\x1b[0mdef\x1b[34mghi\x1b[0m");
        assert_eq!(line.render(7, true), "\x1b[1mabc\x1b[0mdef\x1b[34mg\x1b[0m");
        assert_eq!(line.render(6, true), "\x1b[1mabc\x1b[0mdef");
        assert_eq!(line.render(2, false), "ab");
        assert_eq!(line.render(0, true), "");
        let wide = Line::default().text("a\u{5b57}b");
        assert_eq!((wide.width(), wide.render(2, false).as_str()), (4, "a"));
    }

    #[test]
    fn what_a_terminal_obeys_is_left_out() {
        assert_eq!(clean("a\x1b[2Jb\r\x07\u{9b}1m\tc\nd\u{202e}e\u{e4}"), "a[2Jb1m c de\u{e4}");
    }
}
