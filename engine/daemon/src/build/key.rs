//! Keys: digests over all that a result depends on, with a name for each part.

use hull_oci::{Algorithm, Digest, Hasher};
use hull_store::cache::Note;

/// The version of what the engine makes of the same inputs. A new one forgets all results.
const EPOCH: &str = "hull-build-1";

/// The inputs of a step, in an order in which a difference is best explained.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs(Vec<(String, String)>);

impl Inputs {
    /// Adds an input.
    pub(super) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds an input whose value is nobody's business.
    pub(super) fn add_hidden(&mut self, name: impl Into<String>, value: &str) {
        let digest = Digest::sha256(value.as_bytes());
        self.add(name, digest.hex()[..32].to_owned());
    }

    /// The key.
    pub(super) fn key(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let epoch = ("epoch".to_owned(), EPOCH.to_owned());
        for (name, value) in std::iter::once(&epoch).chain(&self.0) {
            for text in [name, value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        hasher.finish()
    }

    /// For the next time.
    pub(super) fn note(&self) -> Note {
        Note { inputs: self.0.clone() }
    }

    /// Why a result was not there, compared with the last time: the first input that differs.
    pub(super) fn explain(&self, last: Option<&Note>) -> String {
        let Some(last) = last else { return "it was not built before".to_owned() };
        for (index, (name, value)) in self.0.iter().enumerate() {
            match last.inputs.get(index) {
                Some((known, before)) if known == name => {
                    if before != value {
                        return difference(name, before, value);
                    }
                }
                Some((known, _)) if !self.0.iter().any(|(name, _)| name == known) => {
                    return format!("{known} is gone");
                }
                _ => return format!("{name} is new"),
            }
        }
        match last.inputs.get(self.0.len()) {
            Some((name, _)) => format!("{name} is gone"),
            None => "its result is not in the cache any more".to_owned(),
        }
    }
}

fn difference(name: &str, before: &str, now: &str) -> String {
    let is_digest = |text: &str| {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if is_digest(before) || is_digest(now) {
        return format!("{name} changed");
    }
    format!("{name} changed from {before:?} to {now:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Inputs {
        Inputs(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let keys = [
            inputs(&[]),
            inputs(&[("a", "b")]),
            inputs(&[("ab", "")]),
            inputs(&[("a", "b"), ("", "")]),
            inputs(&[("", "a"), ("b", "")]),
        ]
        .map(|inputs| inputs.key());
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn the_first_difference_is_told() {
        let last = inputs(&[("the command", "make"), ("variable A", "1"), ("files", "x")]).note();
        let check = |pairs: &[(&str, &str)], expected: &str| {
            assert_eq!(inputs(pairs).explain(Some(&last)), expected);
        };
        check(
            &[("the command", "make x"), ("variable A", "2")],
            "the command changed from \"make\" to \"make x\"",
        );
        check(&[("the command", "make"), ("files", "x")], "variable A is gone");
        check(
            &[("the command", "make"), ("variable B", "1"), ("variable A", "1")],
            "variable B is new",
        );
        check(&[("the command", "make"), ("variable A", "1")], "files is gone");
        check(
            &[("the command", "make"), ("variable A", "1"), ("files", "x")],
            "its result is not in the cache any more",
        );
        assert_eq!(inputs(&[]).explain(None), "it was not built before");
    }
}
