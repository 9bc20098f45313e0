//! Patterns in `${name#pattern}`: `*`, `?` and escaped characters.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    One(char),
    Any,
    Many,
}

impl Pattern {
    /// Reads one. A backslash stands before `*`, `?`, a backslash, `}` or `/`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '*' if pieces.last() == Some(&Piece::Many) => continue,
                '*' => Piece::Many,
                '?' => Piece::Any,
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Piece::One(escaped),
                    Some(other) => return Err(format!("invalid escape '\\{other}'")),
                    None => return Err("a backslash at the end escapes nothing".to_owned()),
                },
                other => Piece::One(other),
            });
        }
        Ok(Self(pieces))
    }

    /// Where matches that begin at `start` end: the set of positions, as flags. A newline is
    /// matched by none of `*` and `?`.
    fn ends(&self, text: &[char], start: usize) -> Vec<bool> {
        let mut ends = vec![false; text.len() + 1];
        ends[start] = true;
        for piece in &self.0 {
            let mut next = vec![false; text.len() + 1];
            for at in start..=text.len() {
                match piece {
                    Piece::Many => {
                        let came = at > start && next[at - 1] && text[at - 1] != '\n';
                        next[at] = ends[at] || came;
                    }
                    Piece::Any if ends[at] && at < text.len() => next[at + 1] |= text[at] != '\n',
                    Piece::One(one) if ends[at] && at < text.len() => {
                        next[at + 1] |= text[at] == *one
                    }
                    _ => {}
                }
            }
            ends = next;
        }
        ends
    }

    /// The end of the shortest or longest match that begins at `start`.
    fn matched(&self, text: &[char], start: usize, greedy: bool) -> Option<usize> {
        let ends = self.ends(text, start);
        let mut found = (start..=text.len()).filter(|at| ends[*at]);
        if greedy { found.next_back() } else { found.next() }
    }

    pub(super) fn without_prefix(&self, value: &str, greedy: bool) -> String {
        let text: Vec<char> = value.chars().collect();
        self.matched(&text, 0, greedy)
            .map_or_else(|| value.to_owned(), |end| text[end..].iter().collect())
    }

    pub(super) fn without_suffix(&self, value: &str, greedy: bool) -> String {
        let reversed = Self(self.0.iter().rev().copied().collect());
        let text: Vec<char> = value.chars().rev().collect();
        let Some(end) = reversed.matched(&text, 0, greedy) else { return value.to_owned() };
        text[end..].iter().rev().collect()
    }

    /// Replaces the first match, or all of them that do not overlap, from the left, the longest.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let text: Vec<char> = value.chars().collect();
        let (mut result, mut at, mut after_match) = (String::new(), 0, None);
        while at <= text.len() {
            match self.matched(&text, at, true) {
                // An empty match directly behind another one does not count.
                Some(end) if !(end == at && after_match == Some(at)) => {
                    result.push_str(replacement);
                    if !all {
                        result.extend(&text[end..]);
                        return result;
                    }
                    after_match = Some(end);
                    if end > at {
                        at = end;
                        continue;
                    }
                }
                _ => {}
            }
            result.extend(text.get(at));
            at += 1;
        }
        result
    }
}
