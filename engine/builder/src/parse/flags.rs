//! `--flag` and `--flag=value` behind a keyword.

use super::Wrong;
use crate::suggest;

/// Takes the words that begin with `--` from the start of `line`. Quotes and backslashes in them
/// are read and go; a lone `--` ends them.
pub(super) fn extract(line: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (word, after) = word(rest);
        rest = after;
        if word == "--" {
            return (flags, rest);
        }
        flags.push(word);
    }
}

/// The first word of `text`, and what follows it.
fn word(text: &str) -> (String, &str) {
    let (mut word, mut quote) = (String::new(), None);
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, space) if space.is_whitespace() => return (word, &text[at..]),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (_, '\\') => match characters.next() {
                Some((_, escaped)) => word.push(escaped),
                None => break,
            },
            _ => word.push(character),
        }
    }
    (word, "")
}

/// How often a flag may be given, and whether it has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    Text,
    Texts,
}

/// The flags of one instruction.
#[derive(Debug)]
pub(super) struct Flags {
    given: Vec<(String, String)>,
}

impl Flags {
    /// Checks what was given against what the instruction has.
    pub(super) fn parse(
        words: &[String],
        keyword: &str,
        known: &[(&str, Kind)],
    ) -> Result<Self, Wrong> {
        let mut given: Vec<(String, String)> = Vec::new();
        for word in words {
            let flag = word.strip_prefix("--").unwrap_or(word);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let wrong = |message: String| Wrong::new(message).word(&format!("--{name}"));
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let names = known.iter().map(|(name, _)| *name);
                let hint = suggest::hint(name, names);
                return Err(wrong(format!("unknown flag: --{name} of {keyword}")).hint(hint));
            };
            if *kind != Kind::Texts && given.iter().any(|(before, _)| before == name) {
                return Err(wrong(format!("duplicate flag specified: --{name}")));
            }
            let value = match (kind, value) {
                (Kind::Switch, None) => "true".to_owned(),
                (Kind::Switch, Some("")) | (Kind::Text | Kind::Texts, None) => {
                    return Err(wrong(format!("missing a value on flag: --{name}")));
                }
                (Kind::Switch, Some(value)) => match value.to_ascii_lowercase().as_str() {
                    value @ ("true" | "false") => value.to_owned(),
                    _ => {
                        return Err(wrong(format!(
                            "expecting boolean value for flag --{name}, not: {value}"
                        )));
                    }
                },
                (_, Some(value)) => value.to_owned(),
            };
            given.push((name.to_owned(), value));
        }
        Ok(Self { given })
    }

    /// The value of a flag, empty ones too.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let named = self.given.iter().filter(|(given, _)| given == name);
        named.map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }
}
