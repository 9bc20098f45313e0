//! From bytes to a [`Dockerfile`]. Nothing is expanded here.

mod directive;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod words;

use crate::instruction::{Dockerfile, Instruction, Stage, Statement};
use crate::suggest;
use crate::{Lines, Source, SourceError};

pub(crate) use heredoc::{chomp, parse as parse_heredoc};
use lines::{Logical, Reader};

/// How large a Dockerfile may be.
pub const MAX_BYTES: usize = 4 << 20;

/// How many stages and instructions it may have.
const MAX_STATEMENTS: usize = 20_000;

/// What is wrong with one instruction, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    /// The text that is meant, to be marked.
    pub(crate) word: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), word: None, hint: None }
    }

    pub(crate) fn word(mut self, word: &str) -> Self {
        self.word = Some(word.to_owned());
        self
    }

    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    pub(crate) fn at(self, lines: Lines, source: &Source) -> SourceError {
        let error = SourceError::at(lines, self.message).hint(self.hint);
        match self.word {
            Some(word) => error.mark(source, &word),
            None => error,
        }
    }
}

/// The keywords.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a Dockerfile of at most [`MAX_BYTES`].
///
/// # Errors
/// With its lines: a directive given twice, an unterminated heredoc, an unknown instruction or flag,
/// words that an instruction does not take. Without: an empty file, or one without a `FROM`.
///
/// Spec: Dockerfile reference; where it is silent, BuildKit's frontend.
pub fn parse(bytes: &[u8]) -> Result<Dockerfile, SourceError> {
    if bytes.len() > MAX_BYTES {
        let size = bytes.len();
        return Err(SourceError::new(format_args!(
            "a Dockerfile of {size} bytes is larger than {} MiB",
            MAX_BYTES >> 20
        )));
    }
    if bytes.is_empty() {
        return Err(SourceError::new("the Dockerfile cannot be empty"));
    }
    let source = Source::new(bytes);
    let mut reader = Reader::new(bytes, &source)?;
    let mut dockerfile =
        Dockerfile { directives: reader.directives().clone(), ..Dockerfile::default() };
    let mut count = 0;
    while let Some(line) = reader.next_line()? {
        count += 1;
        if count > MAX_STATEMENTS {
            let message = format!("more than {MAX_STATEMENTS} instructions");
            return Err(SourceError::at(line.lines, message));
        }
        if line.empty_continuation {
            dockerfile.empty_continuations.push(line.lines);
        }
        let lines = line.lines;
        add(&mut dockerfile, line).map_err(|wrong| wrong.at(lines, &source))?;
    }
    if count == 0 {
        return Err(SourceError::new("file with no instructions"));
    }
    if dockerfile.stages.is_empty() {
        return Err(SourceError::new("dockerfile contains no stages to build")
            .hint(Some("begin a stage with FROM".to_owned())));
    }
    dockerfile.source = source;
    Ok(dockerfile)
}

/// One instruction on its own: a trigger of a base image.
///
/// # Errors
/// It is not exactly one instruction, or one that no trigger can be.
pub(crate) fn parse_trigger(text: &str, escape: char) -> Result<Statement, Wrong> {
    let source = Source::new(text.as_bytes());
    let failed =
        |error: SourceError| Wrong { message: error.message, word: None, hint: error.hint };
    let mut reader = Reader::with_escape(text.as_bytes(), &source, escape).map_err(failed)?;
    let one = || Wrong::new("onbuild trigger should be a single expression");
    let line = reader.next_line().map_err(failed)?.ok_or_else(one)?;
    if reader.next_line().map_err(failed)?.is_some() {
        return Err(one());
    }
    if line.keyword.eq_ignore_ascii_case("FROM") {
        return Err(Wrong::new("FROM isn't allowed as an ONBUILD trigger"));
    }
    let statement = statement(line, escape)?;
    match statement.instruction {
        Instruction::Onbuild(_) | Instruction::Maintainer(_) => Err(Wrong::new(format_args!(
            "{} isn't allowed as an ONBUILD trigger",
            statement.instruction.name()
        ))),
        _ => Ok(statement),
    }
}

/// Adds one logical line to the file.
fn add(dockerfile: &mut Dockerfile, line: Logical) -> Result<(), Wrong> {
    let escape = dockerfile.directives.escape;
    if line.keyword.eq_ignore_ascii_case("FROM") {
        let stage = instruction::from(line)?;
        dockerfile.stages.push(stage);
        return Ok(());
    }
    let statement = statement(line, escape)?;
    match (dockerfile.stages.last_mut(), &statement.instruction) {
        (Some(Stage { statements, .. }), _) => statements.push(statement),
        (None, Instruction::Arg(_)) => dockerfile.global_args.push(statement),
        (None, _) => {
            let hint = "only ARG may stand before the first FROM".to_owned();
            return Err(Wrong::new("no build stage in current context").hint(Some(hint)));
        }
    }
    Ok(())
}

fn statement(line: Logical, escape: char) -> Result<Statement, Wrong> {
    let instruction = instruction::parse(&line, escape)?;
    Ok(Statement {
        instruction,
        keyword: line.keyword,
        lines: line.lines,
        text: line.text.trim().to_owned(),
        comments: line.comments,
    })
}

fn unknown(keyword: &str) -> Wrong {
    let shown: String = keyword.chars().take(64).collect();
    Wrong::new(format_args!("unknown instruction: {shown}"))
        .word(keyword)
        .hint(suggest::hint(keyword, KEYWORDS))
}

#[cfg(test)]
mod tests;
