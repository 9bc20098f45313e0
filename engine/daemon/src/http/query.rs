//! The part of an address after `?`.

use super::Filters;
use crate::error::ApiError;

/// Decoded names and values, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c`.
    ///
    /// # Errors
    /// Escapes that are none, or not UTF-8.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name, true)?, decode(value, true)?))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The first value of `name`; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is set to anything but Docker's words for no.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The value of `name` as a number.
    ///
    /// # Errors
    /// A value that is not a whole number of this type.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, ApiError> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::invalid(format!("invalid value {value:?} for {name}: not a number"))
                })
            })
            .transpose()
    }

    /// The value of `filters`.
    ///
    /// # Errors
    /// Text that is no filter document.
    pub fn filters(&self) -> Result<Filters, ApiError> {
        self.get("filters").map_or_else(|| Ok(Filters::default()), Filters::parse)
    }
}

/// Decodes `%xx`, and `+` as a space in queries.
pub(super) fn decode(text: &str, plus: bool) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()];
                let [Some(high), Some(low)] = digits.map(|digit| digit.and_then(hex)) else {
                    return Err(bad_escape(text));
                };
                high << 4 | low
            }
            b'+' if plus => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad_escape(text))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn bad_escape(text: &str) -> ApiError {
    ApiError::invalid(format!("invalid URL escape in {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let query = Query::parse("a=1&b=%2Fx+y&c&d=&e=false&f=True&a=2").unwrap();
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("b"), Some("/x y"));
        assert_eq!(query.get("c"), None);
        assert!(query.flag("a") && query.flag("f"));
        assert!(!query.flag("c") && !query.flag("e") && !query.flag("zz"));
        assert_eq!(query.number::<i64>("a").unwrap(), Some(1));
        assert!(query.number::<i64>("b").is_err());
    }

    #[test]
    fn escapes() {
        assert!(Query::parse("a=%2").is_err());
        assert!(Query::parse("a=%zz").is_err());
        assert!(Query::parse("a=%ff").is_err());
        assert_eq!(decode("a+b", false).unwrap(), "a+b");
    }
}
