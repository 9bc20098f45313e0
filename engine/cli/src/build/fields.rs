//! `key=value,key=value`, as `--output`, `--secret` and others take it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// The fields of one line of CSV. Spec: RFC 4180.
///
/// # Errors
/// A quote that does not close, or that stands within a field.
pub(crate) fn split(text: &str) -> Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quoted) {
            ('"', true) if characters.next_if_eq(&'"').is_some() => field.push('"'),
            ('"', true) => quoted = false,
            ('"', false) if field.is_empty() && !was_quoted => {
                quoted = true;
                was_quoted = true;
            }
            ('"', false) => bail!("{text:?}: a quote within a field that is not quoted"),
            (',', false) => {
                fields.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            (other, _) => field.push(other),
        }
    }
    if quoted {
        bail!("{text:?}: a quote that does not close");
    }
    fields.push(field);
    Ok(fields)
}

/// Keys and values. A key without a value is refused.
///
/// # Errors
/// It names the option and the field.
pub(crate) fn pairs(option: &str, text: &str) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for field in split(text)? {
        let Some((key, value)) = field.split_once('=') else {
            bail!("--{option} {text}: {field:?} must be a key=value pair");
        };
        map.insert(key.trim().to_ascii_lowercase(), value.to_owned());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(split("a=b,c").unwrap(), ["a=b", "c"]);
        assert_eq!(split("\"a,b\"\"c\",d").unwrap(), ["a,b\"c", "d"]);
        assert_eq!(split("").unwrap(), [""]);
        for bad in ["\"a", "a\"b\"", "\"a\"\"", "\"a\"\"b\"c\""] {
            assert!(split(bad).is_err(), "{bad}");
        }
        let map = pairs("output", "type=local,Dest=a=b").unwrap();
        assert_eq!((map["type"].as_str(), map["dest"].as_str()), ("local", "a=b"));
        assert!(pairs("output", "type").unwrap_err().to_string().contains("key=value"));
    }
}
