//! Lines as written to lines as meant: continuations joined, comments gone, heredocs collected.

use super::{Wrong, directive, flags, heredoc, words};
use crate::instruction::{Directives, Heredoc};
use crate::{Lines, Source, SourceError};

/// How long a line may be, in bytes.
const MAX_LINE: usize = 65_535;

/// How long a line with its continuations may be.
const MAX_LOGICAL: usize = 1 << 20;

/// One instruction as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logical {
    /// The first word.
    pub(super) keyword: String,
    /// Words that begin with `--` behind it.
    pub(super) flags: Vec<String>,
    /// What follows, without space around it.
    pub(super) rest: String,
    /// The whole of it.
    pub(super) text: String,
    pub(super) lines: Lines,
    /// Comments directly above.
    pub(super) comments: Vec<String>,
    pub(super) heredocs: Vec<Heredoc>,
    /// Whether a continuation was an empty line.
    pub(super) empty_continuation: bool,
}

/// Reads a file.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    source: &'a Source,
    lines: Vec<&'a [u8]>,
    /// How many lines were read.
    position: usize,
    directives: directive::Reader,
    comments: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Begins, and reads the directives.
    pub(super) fn new(bytes: &'a [u8], source: &'a Source) -> Result<Self, SourceError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut directives = directive::Reader::default();
        let lines = split(bytes);
        for (index, line) in lines.iter().enumerate() {
            let text = String::from_utf8_lossy(line);
            directives
                .line(text.trim_end_matches(['\r', '\n']))
                .map_err(|wrong| wrong.at(Lines::one(index + 1), source))?;
            if !text.trim_start().starts_with('#') {
                break;
            }
        }
        Ok(Self { source, lines, position: 0, directives, comments: Vec::new() })
    }

    /// Begins without looking for directives.
    pub(super) fn with_escape(
        bytes: &'a [u8],
        source: &'a Source,
        escape: char,
    ) -> Result<Self, SourceError> {
        let directives = directive::Reader::with_escape(escape);
        Ok(Self { source, lines: split(bytes), position: 0, directives, comments: Vec::new() })
    }

    pub(super) fn directives(&self) -> &Directives {
        self.directives.directives()
    }

    /// The next instruction; `None` at the end.
    pub(super) fn next_line(&mut self) -> Result<Option<Logical>, SourceError> {
        while let Some(raw) = self.take()? {
            let start = self.position;
            let line = trim_line_end(&raw).trim_start().to_owned();
            if let Some(comment) = line.strip_prefix('#') {
                match comment.trim() {
                    "" => self.comments.clear(),
                    comment => self.comments.push(comment.to_owned()),
                }
                continue;
            }
            let (first, goes_on) = self.continuation(&line);
            if first.is_empty() && !goes_on {
                self.comments.clear();
                continue;
            }
            let first = first.to_owned();
            return self.logical(start, first, goes_on).map(Some);
        }
        Ok(None)
    }

    /// The instruction whose first line, the `start`th, is `text`.
    fn logical(
        &mut self,
        start: usize,
        mut text: String,
        mut goes_on: bool,
    ) -> Result<Logical, SourceError> {
        let comments = std::mem::take(&mut self.comments);
        let mut empty_continuation = false;
        while goes_on {
            let Some(raw) = self.take()? else { break };
            let line = trim_line_end(&raw);
            if line.trim_start().starts_with('#') {
                continue;
            }
            if line.trim_start().is_empty() {
                empty_continuation = true;
                continue;
            }
            let (line, more) = self.continuation(line);
            text.push_str(line);
            goes_on = more;
            if text.len() > MAX_LOGICAL {
                let lines = Lines { start, end: self.position };
                let message = format!("an instruction of more than {MAX_LOGICAL} bytes");
                return Err(SourceError::at(lines, message));
            }
        }
        let lines = Lines { start, end: self.position };
        let fail = |wrong: Wrong| wrong.at(lines, self.source);
        let (keyword, rest) = words::keyword(&text);
        let (flags, rest) = flags::extract(rest);
        let (keyword, rest) = (keyword.to_owned(), rest.trim().to_owned());
        let wanted = heredoc::wanted(&keyword, &rest).map_err(fail)?;
        let heredocs = self.heredocs(wanted, start)?;
        let lines = Lines { start, end: self.position };
        Ok(Logical { keyword, flags, rest, text, lines, comments, heredocs, empty_continuation })
    }

    /// Reads the bodies of heredocs.
    fn heredocs(
        &mut self,
        mut heredocs: Vec<Heredoc>,
        start: usize,
    ) -> Result<Vec<Heredoc>, SourceError> {
        for heredoc in &mut heredocs {
            loop {
                let lines = Lines { start, end: self.position.max(start) };
                let Some(line) = self.take()? else {
                    let message = format!("unterminated heredoc: no line is {:?}", heredoc.name);
                    let wrong = Wrong::new(message).word("<<");
                    return Err(wrong.at(lines, self.source));
                };
                let possible = line.trim_end_matches(['\r', '\n']);
                let possible =
                    if heredoc.chomp { possible.trim_start_matches('\t') } else { possible };
                if possible == heredoc.name {
                    break;
                }
                heredoc.data.push_str(&line);
            }
        }
        Ok(heredocs)
    }

    /// The next line with its end.
    fn take(&mut self) -> Result<Option<String>, SourceError> {
        let Some(line) = self.lines.get(self.position) else { return Ok(None) };
        self.position += 1;
        if line.len() > MAX_LINE {
            let message =
                format!("dockerfile line greater than maximum allowed size of {MAX_LINE}");
            return Err(SourceError::at(Lines::one(self.position), message));
        }
        match std::str::from_utf8(line) {
            Ok(text) => Ok(Some(text.to_owned())),
            // Nobody acts on a comment, whatever its encoding.
            Err(_) if line.trim_ascii_start().starts_with(b"#") => {
                Ok(Some(String::from_utf8_lossy(line).into_owned()))
            }
            Err(_) => Err(SourceError::at(Lines::one(self.position), "the line is not UTF-8")),
        }
    }

    /// A line without its mark of continuation, and whether it had one.
    fn continuation<'b>(&self, line: &'b str) -> (&'b str, bool) {
        let escape = self.directives().escape;
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(escape) {
            Some(rest) if !rest.ends_with(escape) => (rest, true),
            _ => (line, false),
        }
    }
}

fn trim_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Lines with their ends.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}
