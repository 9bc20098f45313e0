//! Words of an instruction: quoting and variables as Dockerfiles have them.
//!
//! Spec: Dockerfile reference, "Environment replacement".

/// A word that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// A quote or brace that nothing closes.
    #[error("unexpected end of statement while looking for matching {0:?} in {1:?}")]
    Unclosed(char, String),
    /// `${name` followed by something that has no meaning.
    #[error("unsupported modifier in substitution in {0:?}")]
    Modifier(String),
    /// `${}` or `${:-x}`.
    #[error("bad substitution in {0:?}")]
    Name(String),
}

/// Splits at blanks outside quotes; quotes and backslashes stay.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (blank, None) if blank.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            ('\'' | '"', None) => quote = Some(character),
            (end, Some(begin)) if end == begin => quote = None,
            ('\\', None | Some('"')) => {
                word.push(character);
                word.extend(characters.next());
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Removes quotes and backslashes and replaces `$name` and `${name...}` by what `lookup` says.
pub(super) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, WordError> {
    let characters: Vec<char> = text.chars().collect();
    Expansion { text, characters, position: 0, lookup }.until(None)
}

struct Expansion<'a> {
    text: &'a str,
    characters: Vec<char>,
    position: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Expansion<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.position).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek();
        self.position += 1;
        character
    }

    /// Reads to `end` and past it, or to the end of the text.
    fn until(&mut self, end: Option<char>) -> Result<String, WordError> {
        let mut out = String::new();
        while let Some(character) = self.next() {
            match character {
                _ if Some(character) == end => return Ok(out),
                '\'' => out.push_str(&self.single()?),
                '"' => out.push_str(&self.double()?),
                '$' => out.push_str(&self.variable()?),
                '\\' => out.extend(self.next()),
                _ => out.push(character),
            }
        }
        match end {
            Some(end) => Err(WordError::Unclosed(end, self.text.to_owned())),
            None => Ok(out),
        }
    }

    fn single(&mut self) -> Result<String, WordError> {
        let mut out = String::new();
        loop {
            match self.next() {
                Some('\'') => return Ok(out),
                Some(character) => out.push(character),
                None => return Err(WordError::Unclosed('\'', self.text.to_owned())),
            }
        }
    }

    fn double(&mut self) -> Result<String, WordError> {
        let mut out = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(out),
                Some('$') => out.push_str(&self.variable()?),
                Some('\\') => match self.next() {
                    Some(escaped @ ('"' | '$' | '\\')) => out.push(escaped),
                    Some(other) => out.extend(['\\', other]),
                    None => out.push('\\'),
                },
                Some(character) => out.push(character),
                None => return Err(WordError::Unclosed('"', self.text.to_owned())),
            }
        }
    }

    /// What stands after a `$`.
    fn variable(&mut self) -> Result<String, WordError> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                (self.lookup)(&name).unwrap_or_default()
            });
        }
        self.next();
        let name = self.name();
        if name.is_empty() {
            return Err(WordError::Name(self.text.to_owned()));
        }
        let value = (self.lookup)(&name);
        let mut modifier = self.next();
        let value = if modifier == Some(':') {
            modifier = self.next();
            value.filter(|value| !value.is_empty())
        } else {
            value
        };
        match modifier {
            Some('}') => Ok(value.unwrap_or_default()),
            Some('-') => {
                let default = self.until(Some('}'))?;
                Ok(value.unwrap_or(default))
            }
            Some('+') => {
                let replacement = self.until(Some('}'))?;
                Ok(if value.is_some() { replacement } else { String::new() })
            }
            Some(_) => Err(WordError::Modifier(self.text.to_owned())),
            None => Err(WordError::Unclosed('}', self.text.to_owned())),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self.peek() {
            let first = name.is_empty();
            if character == '_'
                || character.is_ascii_alphabetic()
                || (!first && character.is_ascii_digit())
            {
                name.push(character);
                self.position += 1;
            } else {
                break;
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting() {
        for (text, expected) in [
            ("", &[][..]),
            ("a b\tc", &["a", "b", "c"]),
            (r#"a="x y" b='p q'"#, &[r#"a="x y""#, "b='p q'"]),
            (r"a=x\ y b", &[r"a=x\ y", "b"]),
            (r#"a="x\" y""#, &[r#"a="x\" y""#]),
            (r"a='x\' b", &[r"a='x\'", "b"]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn expansion() {
        let lookup = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("$A/b", "one/b"),
            ("${A}b", "oneb"),
            ("$Ab", ""),
            ("'$A'", "$A"),
            ("\"$A x\"", "one x"),
            (r"\$A", "$A"),
            (r#""\$A\n""#, r"$A\n"),
            ("${X:-d$A}", "done"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${A:+y}", "y"),
            ("${X+y}", ""),
            ("100$", "100$"),
        ] {
            assert_eq!(expand(text, &lookup).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["'a", "\"a", "${A", "${A:-x", "${}", "${A!}"] {
            assert!(expand(bad, &lookup).is_err(), "{bad}");
        }
    }
}
