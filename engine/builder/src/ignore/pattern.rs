//! One pattern.

/// How long one may be.
const MAX_LENGTH: usize = 4096;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Without wildcards.
    Exact(String),
    Pieces(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    One(char),
    /// `?`
    Any,
    /// `*`
    Many,
    /// `**/`: nothing, or any text that ends in a slash.
    Directories,
    /// `**` at the end: any text.
    Rest,
    /// `[a-z]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_LENGTH {
            return Err("a pattern of more than 4096 bytes");
        }
        let mut pieces = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '*' if characters.next_if_eq(&'*').is_some() => {
                    while characters.next_if_eq(&'*').is_some() {}
                    characters.next_if_eq(&'/');
                    if characters.peek().is_none() { Piece::Rest } else { Piece::Directories }
                }
                '*' => Piece::Many,
                '?' => Piece::Any,
                '[' => class(&mut characters)?,
                '\\' => Piece::One(characters.next().ok_or("a backslash that escapes nothing")?),
                other => Piece::One(other),
            });
        }
        let exact = pieces.iter().map(|piece| match piece {
            Piece::One(one) => Some(*one),
            _ => None,
        });
        Ok(match exact.collect() {
            Some(exact) => Self::Exact(exact),
            None => Self::Pieces(pieces),
        })
    }

    /// Whether it matches the whole of `path`.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Pieces(pieces) => {
                // Most patterns say no at the first character.
                if let (Some(Piece::One(one)), Some(first)) = (pieces.first(), path.chars().next())
                    && *one != first
                {
                    return false;
                }
                let text: Vec<char> = path.chars().collect();
                let mut last = false;
                rows(pieces, &text, |row| last = row.last() == Some(&true));
                last
            }
        }
    }

    /// Whether it could match something below `directory`.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        if directory.is_empty() {
            return true;
        }
        match self {
            Self::Exact(exact) => {
                exact.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
            }
            Self::Pieces(pieces) => {
                let text: Vec<char> = directory.chars().chain(['/']).collect();
                let mut alive = false;
                rows(pieces, &text, |row| alive |= row.last() == Some(&true));
                alive
            }
        }
    }
}

/// For each number of pieces, the positions in `text` that they can end at, as flags.
fn rows(pieces: &[Piece], text: &[char], mut each: impl FnMut(&[bool])) {
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    each(&row);
    let mut next = vec![false; text.len() + 1];
    for piece in pieces {
        next.fill(false);
        let mut before = false;
        for at in 0..=text.len() {
            let behind_slash = at > 0 && text[at - 1] == '/';
            match piece {
                Piece::Many => next[at] = row[at] || (at > 0 && !behind_slash && next[at - 1]),
                Piece::Rest => next[at] = row[at] || before,
                Piece::Directories => next[at] = row[at] || (before && behind_slash),
                one => {
                    next[at] = at > 0 && row[at - 1] && one.is(text[at - 1]);
                }
            }
            before |= row[at];
        }
        std::mem::swap(&mut row, &mut next);
        each(&row);
        if !row.contains(&true) {
            return;
        }
    }
}

impl Piece {
    /// Whether it stands for this one character.
    fn is(&self, character: char) -> bool {
        match self {
            Self::One(one) => *one == character,
            Self::Any => character != '/',
            Self::Class { negated, ranges } => {
                let within = ranges.iter().any(|(from, to)| (from..=to).contains(&&character));
                character != '/' && within != *negated
            }
            Self::Many | Self::Directories | Self::Rest => false,
        }
    }
}

/// Behind `[`.
fn class(characters: &mut Characters<'_>) -> Result<Piece, &'static str> {
    const OPEN: &str = "a bracket that does not close";
    let negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if characters.peek() == Some(&']') && !ranges.is_empty() {
            characters.next();
            return Ok(Piece::Class { negated, ranges });
        }
        let from = one(characters)?;
        let to = match characters.next_if_eq(&'-') {
            Some(_) => one(characters)?,
            None => from,
        };
        ranges.push((from, to));
        if characters.peek().is_none() {
            return Err(OPEN);
        }
    }
}

/// One end of a range.
fn one(characters: &mut Characters<'_>) -> Result<char, &'static str> {
    match characters.next() {
        None => Err("a bracket that does not close"),
        Some('-' | ']') => Err("a range without an end"),
        Some('\\') => characters.next().ok_or("a backslash that escapes nothing"),
        Some(other) => Ok(other),
    }
}
