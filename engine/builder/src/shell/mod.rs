//! Words as a shell reads them: quotes, escapes, `$name` and `${name...}`.
//!
//! The rules are those of BuildKit's Dockerfile frontend, which are not quite those of POSIX: there
//! is no command substitution, patterns know `*` and `?` only, and unknown names of one character
//! (`$@`, `$1`) are names like others.

mod pattern;

use std::collections::BTreeSet;

/// How deep `${a:-${b:-...}}` may nest.
const MAX_DEPTH: usize = 64;

/// How long a result may become. Patterns and repeated variables can make text grow.
const MAX_RESULT: usize = 16 << 20;

/// What names mean.
pub(crate) trait Variables {
    /// The value, if it is set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl<T: Variables + ?Sized> Variables for &T {
    fn get(&self, name: &str) -> Option<&str> {
        (**self).get(name)
    }
}

/// No variable is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nothing;

impl Variables for Nothing {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// Variables in the order in which they were first set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Environment(Vec<(String, String)>);

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Environment {
    /// Sets a variable; one that was set keeps its place.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// `NAME=value` of an image config.
    pub(crate) fn set_line(&mut self, line: &str) {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        self.set(name, value);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

/// How words are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexer {
    escape: char,
    /// Quotes stay in the result.
    raw_quotes: bool,
    /// Escapes stay in the result.
    raw_escapes: bool,
    /// Quotes are characters like others.
    skip_quotes: bool,
    /// What names an unset variable stays as it is.
    skip_unset: bool,
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Expanded {
    /// The text.
    pub(crate) text: String,
    /// The text split at spaces that were neither quoted nor escaped.
    pub(crate) words: Vec<String>,
    /// Names that were set.
    pub(crate) matched: BTreeSet<String>,
    /// Names that were not.
    pub(crate) unmatched: BTreeSet<String>,
}

/// Text that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {text:?}: {reason}")]
pub(crate) struct ExpandError {
    text: String,
    reason: String,
}

impl Lexer {
    /// Quotes and escapes are taken away, unset variables are empty.
    pub(crate) fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            skip_quotes: false,
            skip_unset: false,
        }
    }

    /// For the bodies of heredocs: quotes mean nothing.
    pub(crate) fn for_heredoc() -> Self {
        Self { skip_quotes: true, ..Self::new('\\') }
    }

    /// For display: quotes and unset variables stay.
    pub(crate) fn for_display(escape: char) -> Self {
        Self { raw_quotes: true, skip_unset: true, ..Self::new(escape) }
    }

    /// For finding words: nothing is taken away.
    pub(crate) fn for_words() -> Self {
        Self { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Self::new('\\') }
    }

    /// For a word whose quotes go and whose unset variables stay.
    pub(crate) fn for_delimiter() -> Self {
        Self { skip_unset: true, ..Self::new('\\') }
    }

    /// Like the former, with quotes.
    pub(crate) fn for_quoted_delimiter() -> Self {
        Self { raw_quotes: true, ..Self::for_delimiter() }
    }

    /// Expands `text`.
    pub(crate) fn expand(
        self,
        text: &str,
        variables: &dyn Variables,
    ) -> Result<Expanded, ExpandError> {
        let mut reader = Reader {
            lexer: self,
            characters: text.chars().collect(),
            position: 0,
            depth: 0,
            budget: MAX_RESULT,
            variables,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
        };
        let failed = |reason| ExpandError { text: shorten(text), reason };
        let (text, words) = reader.until(None, self.raw_escapes).map_err(failed)?;
        Ok(Expanded { text, words, matched: reader.matched, unmatched: reader.unmatched })
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Words as they come together.
#[derive(Default)]
struct Words {
    word: String,
    words: Vec<String>,
    in_word: bool,
}

impl Words {
    fn character(&mut self, character: char) {
        if !character.is_whitespace() {
            self.raw_character(character);
        } else if self.in_word && !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
    }

    fn raw_character(&mut self, character: char) {
        self.word.push(character);
        self.in_word = true;
    }

    fn raw_text(&mut self, text: &str) {
        self.word.push_str(text);
        self.in_word = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

type Read<T> = Result<T, String>;

struct Reader<'a> {
    lexer: Lexer,
    characters: Vec<char>,
    position: usize,
    depth: usize,
    budget: usize,
    variables: &'a dyn Variables,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

const NO_BRACE: &str = "syntax error: missing '}'";

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.position).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek();
        self.position += usize::from(character.is_some());
        character
    }

    /// Takes text out of what results may still grow by.
    fn spend(&mut self, length: usize) -> Read<()> {
        self.budget = self
            .budget
            .checked_sub(length)
            .ok_or_else(|| format!("the result is larger than {} MiB", MAX_RESULT >> 20))?;
        Ok(())
    }

    /// Reads up to `stop`, or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Read<(String, Vec<String>)> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("substitutions nest deeper than {MAX_DEPTH}"));
        }
        let before = std::mem::replace(&mut self.lexer.raw_escapes, raw_escapes);
        let read = self.until_within(stop);
        self.lexer.raw_escapes = before;
        self.depth -= 1;
        read
    }

    fn until_within(&mut self, stop: Option<char>) -> Read<(String, Vec<String>)> {
        let (mut text, mut words) = (String::new(), Words::default());
        while let Some(character) = self.peek() {
            if Some(character) == stop {
                self.next();
                return Ok((text, words.finish()));
            }
            match character {
                '$' => {
                    let value = self.dollar()?;
                    self.spend(value.len())?;
                    value.chars().for_each(|character| words.character(character));
                    text.push_str(&value);
                }
                '\'' | '"' if !self.lexer.skip_quotes => {
                    let value =
                        if character == '"' { self.double_quote()? } else { self.single_quote()? };
                    words.raw_text(&value);
                    text.push_str(&value);
                }
                _ if character == self.lexer.escape => {
                    self.next();
                    if self.lexer.raw_escapes {
                        words.raw_character(character);
                        text.push(character);
                    }
                    let Some(escaped) = self.next() else { break };
                    words.raw_character(escaped);
                    text.push(escaped);
                }
                _ => {
                    self.next();
                    words.character(character);
                    text.push(character);
                }
            }
        }
        match stop {
            None => Ok((text, words.finish())),
            Some(stop) => {
                Err(format!("unexpected end of statement while looking for matching {stop}"))
            }
        }
    }

    fn single_quote(&mut self) -> Read<String> {
        let mut text = String::new();
        let quote = self.next().filter(|_| self.lexer.raw_quotes);
        text.extend(quote);
        loop {
            match self.next() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote"
                            .to_owned(),
                    );
                }
                Some('\'') => {
                    text.extend(quote);
                    return Ok(text);
                }
                Some(character) => text.push(character),
            }
        }
    }

    fn double_quote(&mut self) -> Read<String> {
        let mut text = String::new();
        let quote = self.next().filter(|_| self.lexer.raw_quotes);
        text.extend(quote);
        loop {
            match self.peek() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching double-quote"
                            .to_owned(),
                    );
                }
                Some('"') => {
                    self.next();
                    text.extend(quote);
                    return Ok(text);
                }
                Some('$') => {
                    let value = self.dollar()?;
                    self.spend(value.len())?;
                    text.push_str(&value);
                }
                Some(character) if character == self.lexer.escape => {
                    self.next();
                    if self.lexer.raw_escapes {
                        text.push(character);
                    }
                    match self.peek() {
                        None => {}
                        // These lose the escape; it stays before all others.
                        Some(next @ ('"' | '$')) => {
                            self.next();
                            text.push(next);
                        }
                        Some(next) if next == self.lexer.escape => {
                            self.next();
                            text.push(next);
                        }
                        Some(_) => text.push(character),
                    }
                }
                Some(character) => {
                    self.next();
                    text.push(character);
                }
            }
        }
    }

    fn dollar(&mut self) -> Read<String> {
        self.next();
        if self.peek() == Some('{') {
            self.next();
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.value(&name) {
            None if self.lexer.skip_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    /// Behind `${`.
    fn braces(&mut self) -> Read<String> {
        match self.peek() {
            None => return Err(NO_BRACE.to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(NO_BRACE.to_owned()),
            Some('}') => match self.value(&name) {
                None if self.lexer.skip_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            Some(':') => match self.next() {
                None => Err(NO_BRACE.to_owned()),
                Some(modifier @ ('+' | '-' | '?')) => self.modified(&name, modifier, true),
                Some(modifier) => {
                    Err(format!("unsupported modifier (:{modifier}) in substitution"))
                }
            },
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, modifier, false),
            Some('/') => self.replaced(&name),
            Some(modifier) => Err(format!("unsupported modifier ({modifier}) in substitution")),
        }
    }

    /// `${name-word}` and the like; with a colon an empty value counts as unset.
    fn modified(&mut self, name: &str, modifier: char, colon: bool) -> Read<String> {
        let raw_escapes = matches!(modifier, '#' | '%');
        let (word, _) = self.inner('}', raw_escapes, NO_BRACE)?;
        let value = self.value(name);
        if self.lexer.skip_unset && value.is_none() {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let given = value.clone().filter(|value| !(colon && value.is_empty()));
        match modifier {
            '-' => Ok(given.unwrap_or(word)),
            '+' => Ok(given.map(|_| word).unwrap_or_default()),
            '?' => given.ok_or_else(|| {
                let state = if value.is_none() { "unset" } else { "empty" };
                match word.as_str() {
                    "" => format!("{name}: is not allowed to be {state}"),
                    word => format!("{name}: {word}"),
                }
            }),
            _ => {
                let (greedy, word) = match word.strip_prefix(modifier) {
                    Some(rest) => (true, rest),
                    None => (false, word.as_str()),
                };
                let pattern = pattern::Pattern::parse(word).map_err(|error| {
                    format!("invalid pattern ({word}) in substitution: {error}")
                })?;
                let value = value.unwrap_or_default();
                Ok(if modifier == '#' {
                    pattern.without_prefix(&value, greedy)
                } else {
                    pattern.without_suffix(&value, greedy)
                })
            }
        }
    }

    /// `${name/pattern/text}` and `${name//pattern/text}`.
    fn replaced(&mut self, name: &str) -> Read<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (word, _) = self.inner('/', true, "syntax error: missing '/' in ${}")?;
        let (replacement, _) = self.inner('}', true, NO_BRACE)?;
        let value = self.value(name);
        if self.lexer.skip_unset && value.is_none() {
            return Ok(format!("${{{name}/{word}/{replacement}}}"));
        }
        let pattern = pattern::Pattern::parse(&word)
            .map_err(|error| format!("invalid pattern ({word}) in substitution: {error}"))?;
        let value = value.unwrap_or_default();
        self.spend(value.len().saturating_add(1).saturating_mul(replacement.len()))?;
        Ok(pattern.replace(&value, &replacement, all))
    }

    /// Up to `stop`; if that is missing, `missing` is what is wrong.
    fn inner(
        &mut self,
        stop: char,
        raw_escapes: bool,
        missing: &str,
    ) -> Read<(String, Vec<String>)> {
        self.until(Some(stop), raw_escapes).map_err(|error| {
            if self.peek().is_none() && error.starts_with("unexpected end") {
                missing.to_owned()
            } else {
                error
            }
        })
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name).map(str::to_owned);
        let names = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        names.insert(name.to_owned());
        value
    }

    /// A name: digits, one special character, or letters, digits and `_`.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(first) if first.is_numeric() => {
                while let Some(digit) = self.peek().filter(|character| character.is_numeric()) {
                    self.next();
                    name.push(digit);
                }
                return name;
            }
            Some(special @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) => {
                self.next();
                return special.to_string();
            }
            _ => {}
        }
        while let Some(character) =
            self.peek().filter(|character| character.is_alphanumeric() || *character == '_')
        {
            self.next();
            name.push(character);
        }
        name
    }
}

#[cfg(test)]
mod tests;
