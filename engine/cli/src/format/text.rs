//! Small forms of text that listings share.

use crate::template::Pairs;
use std::collections::BTreeMap;

/// The first twelve characters of an id, without the name of its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// `text` with at most `width` characters, the last an ellipsis if something is cut off.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// As Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    crate::template::quote(text)
}

/// `a=1,b=2`.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

/// What a row's `Label` method answers from.
pub(crate) fn label_pairs(labels: &BTreeMap<String, String>) -> Pairs {
    labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
}

/// A reference as users write it: without `docker.io/` and `library/`.
pub(crate) fn familiar(reference: &str) -> &str {
    let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
    short.strip_prefix("library/").unwrap_or(short)
}

/// Splits a reference into repository, tag and digest.
pub(crate) fn split_reference(reference: &str) -> (&str, Option<&str>, Option<&str>) {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    // A colon before the last slash belongs to the registry's port.
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag), digest),
        _ => (name, None, digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_split_where_docker_splits_them() {
        assert_eq!(split_reference("busybox"), ("busybox", None, None));
        assert_eq!(split_reference("h:5000/a/b"), ("h:5000/a/b", None, None));
        assert_eq!(
            split_reference("h:5000/a/b:1@sha256:x"),
            ("h:5000/a/b", Some("1"), Some("sha256:x"))
        );
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        assert_eq!(ellipsis("echo 'hello with a long command'", 20), "echo 'hello with a …");
        assert_eq!(ellipsis("short", 20), "short");
        assert_eq!(short_id("sha256:9f775c5d3a028ff429198d8f946efca1"), "9f775c5d3a02");
    }
}
