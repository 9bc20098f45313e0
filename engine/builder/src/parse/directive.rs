//! Directives: `# name=value` at the very top of a file.

use super::Wrong;
use crate::instruction::Directives;

/// Reads directives line by line until the first line that is none.
#[derive(Debug, Default)]
pub(super) struct Reader {
    directives: Directives,
    seen: Vec<String>,
    done: bool,
}

impl Reader {
    /// Takes the next line; what is no directive ends them.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Wrong> {
        if self.done {
            return Ok(());
        }
        let Some((name, value)) = split(line) else {
            self.done = true;
            return Ok(());
        };
        let name = name.to_ascii_lowercase();
        if !matches!(name.as_str(), "syntax" | "escape" | "check") {
            self.done = true;
            return Ok(());
        }
        if self.seen.contains(&name) {
            let message = format!("only one {name} parser directive can be used");
            return Err(Wrong::new(message).word(line.trim()));
        }
        match name.as_str() {
            "syntax" => self.directives.syntax = Some(value.to_owned()),
            "check" => self.directives.check = Some(value.to_owned()),
            _ => {
                self.directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        let message =
                            format!("invalid escape token {other:?} does not match ` or \\");
                        return Err(Wrong::new(message).word(other));
                    }
                }
            }
        }
        self.seen.push(name);
        Ok(())
    }

    pub(super) fn directives(&self) -> &Directives {
        &self.directives
    }

    pub(super) fn with_escape(escape: char) -> Self {
        let directives = Directives { escape, ..Directives::default() };
        Self { directives, seen: Vec::new(), done: true }
    }
}

/// Name and value of `# name = value`.
fn split(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then_some((name, value))
}
