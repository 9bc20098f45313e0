//! Patterns for names of repositories and tags.

use std::fmt;

/// A pattern: `*` stands for any part of one component, `**` for any number of components or a
/// part of them, `?` for one character.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Takes a pattern; every text is one.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether all of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        matches(self.0.as_bytes(), text.as_bytes())
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// Patterns are the operator's and names are short, yet a pattern of many stars must not take
/// for ever: one row of a table is kept, as long as the text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // fits[i]: the pattern so far fits text[..i].
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first() {
        let mut next = vec![false; text.len() + 1];
        match (first, after.first()) {
            (b'*', Some(b'*')) => {
                rest = &after[1..];
                let mut open = false;
                for place in 0..=text.len() {
                    open |= fits[place];
                    next[place] = open;
                }
                // `a/**` holds `a` itself, `**/a` too.
                if let Some((b'/', after)) = rest.split_first() {
                    rest = after;
                    let all = next;
                    next = fits.clone();
                    for place in 0..text.len() {
                        next[place + 1] |= all[place] && text[place] == b'/';
                    }
                }
            }
            (b'*', _) => {
                rest = after;
                let mut open = false;
                for place in 0..=text.len() {
                    open |= fits[place];
                    next[place] = open;
                    open &= text.get(place) != Some(&b'/');
                }
            }
            (symbol, _) => {
                rest = after;
                for place in 0..text.len() {
                    let same = text[place] == *symbol || (*symbol == b'?' && text[place] != b'/');
                    next[place + 1] = fits[place] && same;
                }
            }
        }
        fits = next;
    }
    fits[text.len()]
}
