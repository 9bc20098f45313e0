//! `/proc/self/status`, as numbers.

use std::collections::BTreeMap;

/// The fields by name.
pub(crate) struct Status(BTreeMap<String, String>);

impl Status {
    /// Empty where `/proc` is not mounted.
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    pub(crate) fn numbers(&self, name: &str) -> Vec<u32> {
        self.text(name).split_whitespace().filter_map(|word| word.parse().ok()).collect()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.text(name).parse().ok()
    }

    pub(crate) fn bits(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.text(name), 16).ok()
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}
