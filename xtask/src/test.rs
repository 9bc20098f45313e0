//! `cargo xtask test`: everything that can be tested on this machine.
//!
//! Order: check, fixtures, release build, then every test of the workspace against the built
//! programs. A test that cannot run here appends `name: reason` to the file named in HULL_SKIPS;
//! `tests/required.toml` names those that may not do so on a machine that is root.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{build, check, fixtures, run};

/// What became of the tests of a run.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    names: Vec<String>,
}

pub(crate) fn test(words: &[String]) -> Result<()> {
    let full = words.iter().any(|word| word == "--full");
    let filter = words.iter().find(|word| !word.starts_with('-'));
    if filter.is_none() {
        check::check()?;
    }
    let fixtures = fixtures::make()?;
    let programs = build::release()?;
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let skips = scratch.path().join("skips");
    fs::write(&skips, "")?;

    let mut tally = Tally::default();
    let mut command = run::cargo(&["test", "--workspace", "--no-fail-fast"]);
    command
        .env("HULL_BIN", &programs)
        .env("HULL_FIXTURES", &fixtures)
        .env("HULL_SKIPS", &skips)
        .env("HULL_FULL", if full { "1" } else { "0" });
    if let Some(name) = filter {
        command.arg(name);
    }
    command.args(["--", "--test-threads", "2"]);
    let finished = follow(&mut command, &mut tally)?;

    let skipped = skipped(&skips)?;
    let forbidden = forbidden_skips(&skipped)?;
    for line in &skipped {
        println!("skipped: {line}");
    }
    for line in &forbidden {
        println!("may not be skipped here: {line}");
    }
    for name in &tally.names {
        println!("failed: {name}");
    }
    let count = skipped.len() as u64;
    println!(
        "{} passed, {} failed, {count} skipped",
        tally.passed.saturating_sub(count),
        tally.failed
    );
    if !finished || tally.failed > 0 || !forbidden.is_empty() {
        bail!("the tests did not pass");
    }
    Ok(())
}

/// Runs `cargo test`, passing its output on and counting; false when it did not exit with 0.
fn follow(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no stdout")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.passed += number_before(counts, " passed");
            tally.failed += number_before(counts, " failed");
        }
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            tally.names.push(name.to_owned());
        }
        println!("{line}");
    }
    Ok(child.wait()?.success())
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn skipped(file: &Path) -> Result<BTreeSet<String>> {
    Ok(fs::read_to_string(file)?.lines().map(str::to_owned).collect())
}

/// Skips of tests that `tests/required.toml` lists, on a machine where we are root.
fn forbidden_skips(skipped: &BTreeSet<String>) -> Result<Vec<String>> {
    if !run::is_root() {
        return Ok(Vec::new());
    }
    let path = run::root().join("tests/required.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let required: BTreeSet<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect();
    Ok(skipped
        .iter()
        .filter(|line| required.contains(line.split(':').next().unwrap_or_default()))
        .cloned()
        .collect())
}
