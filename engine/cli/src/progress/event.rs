//! One line of an engine's stream of news.

use serde::Deserialize;
use serde_json::Value;

/// What any engine may say in one line; what is not there is empty. Spec: Engine API,
/// `CreateImageInfo`, `PushImageInfo`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    /// Text to print as it is.
    pub(super) stream: Option<String>,
    /// What is being done, or a result.
    pub(super) status: Option<String>,
    /// To what.
    pub(super) id: Option<String>,
    /// There for steps of the work, even if empty.
    pub(super) progress_detail: Option<Detail>,
    /// The failure that ends the stream, in old words.
    error: Option<String>,
    /// The same.
    error_detail: Option<Failure>,
    /// For programs.
    pub(super) aux: Option<Value>,
}

/// How far a step is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) current: Option<u64>,
    pub(super) total: Option<u64>,
    /// Of what; bytes where nothing is said.
    pub(super) units: Option<String>,
}

/// What went wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Hull's own addition.
    pub(super) hint: Option<String>,
}

impl Event {
    /// Reads a line.
    ///
    /// # Errors
    /// It is no JSON object, or its members are of other types.
    pub(super) fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// The failure it tells.
    pub(super) fn failure(&self) -> Option<Failure> {
        let old = || Failure { message: self.error.clone().unwrap_or_default(), hint: None };
        match &self.error_detail {
            Some(failure) if !failure.message.is_empty() => Some(failure.clone()),
            Some(_) => Some(old()),
            None => self.error.is_some().then(old),
        }
    }

    /// Its status as Docker prints it without a terminal; `None` for a number that only moves.
    pub(super) fn plain(&self) -> Option<String> {
        let moves = |detail: &Detail| {
            detail.current.is_some_and(|n| n > 0) || detail.total.is_some_and(|n| n > 0)
        };
        if self.progress_detail.as_ref().is_some_and(moves) {
            return None;
        }
        let status = self.status.as_ref()?;
        Some(match self.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => format!("{id}: {status}"),
            None => status.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_printed_without_a_terminal_is_dockers() {
        let table = [
            (
                r#"{"status":"Pulling from library/busybox","id":"latest"}"#,
                Some("latest: Pulling from library/busybox"),
            ),
            (
                r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a1"}"#,
                Some("a1: Pulling fs layer"),
            ),
            (
                r#"{"status":"Downloading","progressDetail":{"current":1,"total":5},"progress":"[>]","id":"a1"}"#,
                None,
            ),
            (r#"{"status":"Digest: sha256:ab"}"#, Some("Digest: sha256:ab")),
            (r#"{"progressDetail":{},"aux":{"Tag":"latest"}}"#, None),
            (r#"{"stream":"x"}"#, None),
        ];
        for (text, expected) in table {
            assert_eq!(event(text).plain().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn failures_have_a_message() {
        let table = [
            (r#"{"error":"old"}"#, "old", None),
            (r#"{"errorDetail":{"message":"new"},"error":"old"}"#, "new", None),
            (r#"{"errorDetail":{},"error":"old"}"#, "old", None),
            (r#"{"errorDetail":{"code":5,"message":"m","hint":"h"},"error":"m"}"#, "m", Some("h")),
        ];
        for (text, message, hint) in table {
            let failure = event(text).failure().unwrap();
            assert_eq!(
                (failure.message.as_str(), failure.hint.as_deref()),
                (message, hint),
                "{text}"
            );
        }
        assert!(event("{}").failure().is_none());
        assert!(Event::parse(b"1").is_err() && Event::parse(b"{").is_err());
    }
}
