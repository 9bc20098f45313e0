//! The words of an instruction.

use super::Wrong;

/// What separates words that know no quotes.
pub(super) const SPACES: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// The first word, and what follows it.
pub(super) fn keyword(line: &str) -> (&str, &str) {
    let line = line.trim();
    match line.split_once(SPACES) {
        Some((keyword, rest)) => (keyword, rest.trim_start_matches(SPACES)),
        None => (line, ""),
    }
}

/// Words between spaces.
pub(super) fn plain(rest: &str) -> Vec<String> {
    rest.split(SPACES).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Words between spaces that are neither quoted nor escaped. Quotes and escapes stay in them.
pub(super) fn quoted(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let mut characters = rest.chars().peekable();
    while let Some(character) = characters.next() {
        match quote {
            None if character.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
                continue;
            }
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ => {}
        }
        if character == escape && quote != Some('\'') {
            // An escape at the very end escapes nothing.
            let Some(escaped) = characters.next() else { break };
            word.push(character);
            word.push(escaped);
        } else {
            word.push(character);
        }
        begun = true;
    }
    if begun && !word.is_empty() {
        words.push(word);
    }
    words
}

/// The elements of a JSON array of texts; `None` if it is no JSON array.
///
/// # Errors
/// It is one, with something else in it.
pub(super) fn json(rest: &str) -> Result<Option<Vec<String>>, Wrong> {
    let rest = rest.trim_start();
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else { return Ok(None) };
    values
        .into_iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Ok(text),
            other => Err(Wrong::new(
                "when using JSON array syntax, arrays must be comprised of strings only",
            )
            .word(&other.to_string())),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}
