//! Shell patterns as Go's `path.Match` has them: `*` and `?` stop at slashes.

/// A pattern that is none: a `[` without end, or a backslash at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPattern;

/// Whether `pattern` matches the whole of `text`.
pub(super) fn matches(pattern: &str, text: &str) -> Result<bool, BadPattern> {
    let tokens = tokens(pattern)?;
    let text: Vec<char> = text.chars().collect();
    Ok(run(&tokens, &text))
}

#[derive(Debug)]
enum Token {
    Exactly(char),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

fn tokens(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut characters = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Exactly(characters.next().ok_or(BadPattern)?),
            '[' => {
                let negated = characters.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || characters.peek() != Some(&']') {
                    let first = class_character(&mut characters)?;
                    let last = match characters.next_if_eq(&'-') {
                        Some(_) => class_character(&mut characters)?,
                        None => first,
                    };
                    ranges.push((first, last));
                }
                characters.next();
                Token::Class { negated, ranges }
            }
            other => Token::Exactly(other),
        });
    }
    Ok(tokens)
}

fn class_character(characters: &mut impl Iterator<Item = char>) -> Result<char, BadPattern> {
    match characters.next() {
        Some('\\') => characters.next().ok_or(BadPattern),
        Some('-' | ']') | None => Err(BadPattern),
        Some(character) => Ok(character),
    }
}

/// Greedy with one way back: only the last star can need more.
fn run(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut place) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Star) => {
                retry = Some((token, place));
                token += 1;
                continue;
            }
            None if place == text.len() => return true,
            Some(single) if text.get(place).is_some_and(|found| accepts(single, *found)) => {
                token += 1;
                place += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((star, begin)) if text.get(begin).is_some_and(|skipped| *skipped != '/') => {
                retry = Some((star, begin + 1));
                token = star + 1;
                place = begin + 1;
            }
            _ => return false,
        }
    }
}

fn accepts(token: &Token, character: char) -> bool {
    match token {
        Token::Exactly(wanted) => *wanted == character,
        Token::Any => character != '/',
        Token::Star => false,
        Token::Class { negated, ranges } => {
            let within = ranges.iter().any(|(first, last)| (*first..=*last).contains(&character));
            character != '/' && within != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("*:1.?", "x:1.2", true),
            ("", "", true),
            ("", "a", false),
            ("*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, text), Ok(expected), "{pattern} {text}");
        }
        for bad in ["[", "[a", "[]", "[a-]", "\\", "[-]"] {
            assert_eq!(matches(bad, "a"), Err(BadPattern), "{bad}");
        }
    }
}
