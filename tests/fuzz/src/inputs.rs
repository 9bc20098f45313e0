//! The folders of inputs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{Target, Verdict};

/// One input.
#[derive(Debug, Clone)]
pub struct Input {
    /// Where it lies: `tar/bad/truncated`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What must be made of it.
    pub expected: Verdict,
}

/// The folder of a target.
#[must_use]
pub fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("inputs").join(target.name)
}

/// Every input of a target, in the order of their names.
///
/// # Errors
/// A folder that is not there or not readable.
pub fn of(target: &Target) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for (kind, expected) in [("good", Verdict::Accepted), ("bad", Verdict::Refused)] {
        let folder = folder(target).join(kind);
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("no inputs in {}", folder.display()))? {
            let path = entry?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            inputs.push(Input { name: format!("{}/{kind}/{file}", target.name), bytes, expected });
        }
    }
    inputs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(inputs)
}
