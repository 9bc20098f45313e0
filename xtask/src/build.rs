//! Building the static programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::run;

/// The programs of an install, and the probe of the tests last.
const PROGRAMS: [&str; 5] = ["hull", "hull-shim", "hull-worker", "hull-transfer", "hull-probe"];

/// Builds the release programs; returns the folder that holds them.
pub(crate) fn release() -> Result<PathBuf> {
    run::run(&mut run::cargo(&[
        "build",
        "--release",
        "--quiet",
        "--package",
        "hull-cli",
        "--package",
        "hull-shim",
        "--package",
        "hull-worker",
        "--package",
        "hull-transfer",
        "--package",
        "hull-probe",
    ]))?;
    let folder = target()?.join("release");
    for program in PROGRAMS {
        let path = folder.join(program);
        anyhow::ensure!(path.is_file(), "the build left no {}", path.display());
    }
    Ok(folder)
}

/// `cargo xtask dist [DIR]`: the install, in DIR or target/dist.
pub(crate) fn dist(words: &[String]) -> Result<()> {
    let folder = release()?;
    let destination = words.first().map_or_else(|| run::root().join("target/dist"), PathBuf::from);
    fs::create_dir_all(&destination)?;
    let mut total = 0;
    for program in &PROGRAMS[..4] {
        let to = destination.join(program);
        total += fs::copy(folder.join(program), &to)
            .with_context(|| format!("cannot write {}", to.display()))?;
    }
    println!("{}: {:.1} MB", destination.display(), mega(total));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The folder of the target triple in cargo's target directory.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let version = run::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    Ok(Path::new(metadata.target_directory.as_str()).join(host))
}
