//! A JSON object whose members stay as they were written.
//!
//! A login changes one member of somebody else's file. All others keep their bytes: their order,
//! their numbers' digits, names that nobody here knows.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Members in the order of the file. Of a name that is there twice, the last counts.
#[derive(Debug, Default, Clone)]
pub(super) struct Document(Vec<(String, Box<RawValue>)>);

impl Document {
    /// Reads an object; an empty file is an empty one.
    ///
    /// # Errors
    /// What is no JSON object.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text)
    }

    /// The text of a member.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.members().find_map(|(member, text)| (member == name).then_some(text))
    }

    /// Names and texts, last first.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().rev().map(|(name, value)| (name.as_str(), value.get()))
    }

    /// A member that is an object itself; `None` where it is not there or `null`.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, serde_json::Error> {
        self.get(name).filter(|text| *text != "null").map(Self::parse).transpose()
    }

    /// Replaces a member where it is, or adds it at the end.
    ///
    /// # Errors
    /// `text` is no JSON.
    pub(super) fn set(&mut self, name: &str, text: String) -> Result<(), serde_json::Error> {
        let value = RawValue::from_string(text)?;
        match self.0.iter_mut().rfind(|(member, _)| member == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Takes members away; whether there were any.
    pub(super) fn remove(&mut self, which: impl Fn(&str) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|(name, _)| !which(name));
        self.0.len() < before
    }

    /// The object as Docker writes it: a tab for each of `level` and one more.
    pub(super) fn to_text(&self, level: usize) -> String {
        if self.0.is_empty() {
            return "{}".to_owned();
        }
        let indent = "\t".repeat(level);
        let mut text = "{".to_owned();
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let name = serde_json::Value::from(name.as_str());
            text.push_str(&format!("{comma}\n{indent}\t{name}: {}", value.get()));
        }
        text.push_str(&format!("\n{indent}}}"));
        text
    }
}

impl<'de> serde::Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Document;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Document(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "{\n\t\"auths\": {\n\t\t\"a\": {\n\t\t\t\"auth\": \"eDp5\"\n\t\t}\n\t},\n\t\"HttpHeaders\": {\"User\" :  1.50},\n\t\"big\": 123456789012345678901234567890\n}";

    #[test]
    fn what_is_not_changed_keeps_its_bytes() {
        let mut document = Document::parse(FILE).unwrap();
        assert_eq!(document.to_text(0), FILE);
        let mut auths = document.object("auths").unwrap().unwrap();
        auths.set("b", "{}".to_owned()).unwrap();
        document.set("auths", auths.to_text(1)).unwrap();
        let expected = FILE.replace("\n\t\t}\n\t},", "\n\t\t},\n\t\t\"b\": {}\n\t},");
        assert_eq!(document.to_text(0), expected);
        assert!(auths.remove(|name| name == "b") && !auths.remove(|name| name == "b"));
        document.set("auths", auths.to_text(1)).unwrap();
        assert_eq!(document.to_text(0), FILE);
    }

    #[test]
    fn objects_only() {
        for (text, members) in [("", 0), ("{}", 0), (" { \"a\" : null } ", 1)] {
            assert_eq!(Document::parse(text).unwrap().members().count(), members, "{text}");
        }
        for bad in ["[]", "null", "{", "{\"a\":}", "{} x", "1"] {
            assert!(Document::parse(bad).is_err(), "{bad}");
        }
        let twice = Document::parse(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(twice.get("a"), Some("2"));
        assert!(Document::parse(r#"{"auths":[]}"#).unwrap().object("auths").is_err());
        assert!(Document::parse(r#"{"auths":null}"#).unwrap().object("auths").unwrap().is_none());
    }
}
