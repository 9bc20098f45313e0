//! `.dockerignore`: which paths of a context do not belong to it.
//!
//! Rules are those of BuildKit: a line is a pattern, `#` in the first column begins a comment, `!`
//! includes again, the last pattern that matches decides, and a pattern that matches a directory
//! matches all below it. `**` crosses slashes, `*`, `?` and `[...]` do not.
//!
//! ```text
//! let ignore = Ignore::parse(bytes)?;
//! let root = ignore.root();                  // a walk takes a level along with each directory
//! let level = root.child("src");             // the path from the context's root
//! if level.is_excluded() && !level.may_include_below() { /* do not go in */ }
//! ```

mod pattern;

use pattern::Pattern;

/// How large the file may be.
pub const MAX_BYTES: usize = 1 << 20;

/// How many patterns it may have.
const MAX_PATTERNS: usize = 10_000;

/// The patterns of a `.dockerignore`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    includes: bool,
    text: String,
}

/// A `.dockerignore` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// Too many bytes.
    #[error("a .dockerignore of {0} bytes is larger than 1 MiB")]
    TooLarge(usize),
    /// Too many patterns.
    #[error("a .dockerignore with more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// A pattern that is none.
    #[error(".dockerignore, line {line}: {reason}: {text:?}")]
    Pattern {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
        /// The pattern.
        text: String,
    },
}

impl Ignore {
    /// Reads a `.dockerignore`.
    ///
    /// # Errors
    /// A pattern that is none, with its line.
    pub fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        if bytes.len() > MAX_BYTES {
            return Err(IgnoreError::TooLarge(bytes.len()));
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (includes, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let fail = |reason| IgnoreError::Pattern {
                line: index + 1,
                reason,
                text: line.chars().take(200).collect(),
            };
            if pattern.is_empty() {
                if includes {
                    return Err(fail("illegal exclusion pattern"));
                }
                continue;
            }
            let text = clean(pattern);
            let pattern = Pattern::parse(&text).map_err(fail)?;
            rules.push(Rule { pattern, includes, text });
            if rules.len() > MAX_PATTERNS {
                return Err(IgnoreError::TooMany);
            }
        }
        Ok(Self { rules })
    }

    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some pattern includes again.
    pub fn includes_again(&self) -> bool {
        self.rules.iter().any(|rule| rule.includes)
    }

    /// Whether some pattern excludes everything at the root: `*`, `**` or `**/*`.
    pub fn excludes_all(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| !rule.includes && matches!(rule.text.as_str(), "*" | "**" | "**/*"))
    }

    /// Whether `path`, relative to the root and clean, does not belong to the context.
    pub fn excludes(&self, path: &str) -> bool {
        let mut level = self.root();
        for (end, _) in path.match_indices('/') {
            level = level.child(&path[..end]);
        }
        level.child(path).is_excluded()
    }

    /// Where a walk begins: the root of the context, which is never excluded.
    pub fn root(&self) -> Level<'_> {
        Level { ignore: self, path: String::new(), matched: vec![false; self.rules.len()] }
    }
}

/// What is known of one directory or file of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level<'a> {
    ignore: &'a Ignore,
    path: String,
    /// For each pattern, whether it matched this path or one above.
    matched: Vec<bool>,
}

impl Level<'_> {
    /// The level of an entry of this directory; `path` is from the context's root.
    #[must_use]
    pub fn child(&self, path: &str) -> Self {
        let rules = self.ignore.rules.iter().zip(&self.matched);
        let matched = rules.map(|(rule, above)| *above || rule.pattern.matches(path)).collect();
        Self { ignore: self.ignore, path: path.to_owned(), matched }
    }

    /// Whether it does not belong to the context.
    pub fn is_excluded(&self) -> bool {
        let matched = self.ignore.rules.iter().zip(&self.matched).rev();
        matched.into_iter().find(|(_, matched)| **matched).is_some_and(|(rule, _)| !rule.includes)
    }

    /// Of an excluded directory: whether something below it may be included again. If not, there is
    /// no need to look into it.
    pub fn may_include_below(&self) -> bool {
        // What excluded this directory excludes all below it, so only later patterns count.
        let rules = self.ignore.rules.iter().zip(&self.matched).rev();
        rules
            .take_while(|(rule, matched)| rule.includes || !**matched)
            .any(|(rule, _)| rule.includes && rule.pattern.may_match_below(&self.path))
    }
}

/// As Go's `filepath.Clean`, without a slash at the start.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let rooted = pattern.starts_with('/');
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests;
