//! The word that was meant.

/// The one of `options` nearest to `word` by letters changed, if it is near enough to be meant.
pub(crate) fn nearest<'a>(
    word: &str,
    options: impl IntoIterator<Item = &'a str>,
    ignore_case: bool,
) -> Option<&'a str> {
    let fold = |text: &str| if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let word = fold(word);
    if word.len() > 64 {
        return None;
    }
    options
        .into_iter()
        .map(|option| (distance(&word, &fold(option)), option))
        .filter(|(distance, option)| *distance < 3 && *distance < option.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .filter(|(_, option)| fold(option) != word)
        .map(|(_, option)| option)
}

/// `did you mean X?`
pub(crate) fn hint<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, options, true).map(|option| format!("did you mean {option}?"))
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words() {
        let words = ["RUN", "COPY", "ENTRYPOINT"];
        for (word, expected) in [
            ("RUNN", Some("RUN")),
            ("copi", Some("COPY")),
            ("ENTRYPONT", Some("ENTRYPOINT")),
            ("WHATEVER", None),
            ("X", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words, true), expected, "{word}");
        }
    }
}
