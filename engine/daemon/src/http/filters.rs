//! Docker's filters: `{"label":["a=b","c"]}`, or of old `{"label":{"a=b":true}}`.

use crate::error::ApiError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Filter names and the values asked for. Values of one name are alternatives, names add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads a filter document.
    ///
    /// # Errors
    /// Text that is none.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let values: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| ApiError::invalid(format!("invalid filters {text:?}: {error}")))?;
        let list = |values| match values {
            Values::List(values) => values,
            Values::Set(values) => {
                values.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect()
            }
        };
        Ok(Self(values.into_iter().map(|(name, values)| (name, list(values))).collect()))
    }

    /// Refuses names that are not in `known`.
    ///
    /// # Errors
    /// The first unknown name.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ApiError::invalid(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// The values of `name`, none if it is not filtered by.
    #[must_use]
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether `name` is not filtered by, or one of its values passes `test`.
    pub fn any(&self, name: &str, test: impl FnMut(&String) -> bool) -> bool {
        let values = self.get(name);
        values.is_empty() || values.iter().any(test)
    }

    /// Whether `labels` have every label asked for (`name` or `name=value`) in `filter` and none
    /// of those in `filter!`.
    #[must_use]
    pub fn labels(&self, filter: &str, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.get(filter).iter().all(has) && !self.get(&format!("{filter}!")).iter().any(has)
    }

    /// The only value of `name` as a boolean.
    ///
    /// # Errors
    /// Several values, or one that is not a boolean.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            [] => Ok(None),
            [value] if matches!(value.as_str(), "true" | "1") => Ok(Some(true)),
            [value] if matches!(value.as_str(), "false" | "0") => Ok(Some(false)),
            values => {
                Err(ApiError::invalid(format!("invalid filter '{name}={}'", values.join(","))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes() {
        let new = Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap();
        let old = Filters::parse(r#"{"label":{"a=b":true,"c":true,"d":false}}"#).unwrap();
        assert_eq!(new, old);
        assert!(Filters::parse("[]").is_err());
        assert!(new.only(&["label"]).is_ok());
        assert_eq!(new.only(&["id"]).unwrap_err().message, "invalid filter 'label'");
    }

    #[test]
    fn labels() {
        let has = |text: &str| {
            let labels = [("a", "1"), ("b", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            Filters::parse(text).unwrap().labels("label", &labels)
        };
        assert!(has("{}"));
        assert!(has(r#"{"label":["a","a=1","b="]}"#));
        assert!(!has(r#"{"label":["a=2"]}"#));
        assert!(!has(r#"{"label":["a"],"label!":["b"]}"#));
    }
}
