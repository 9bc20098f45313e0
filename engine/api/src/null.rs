//! Reading what Go writes: `null` where a list or map is empty, a string where a list may be.

use serde::{Deserialize, Deserializer};

/// Reads a value, or its default where the document says `null`.
///
/// # Errors
/// Those of the value's own type.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a command: a list of words, one string (a list of one), or `null`.
///
/// # Errors
/// Whatever is neither of these.
pub fn words<'de, D>(deserializer: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}
