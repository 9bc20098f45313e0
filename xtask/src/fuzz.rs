//! `cargo xtask fuzz`: the targets of `tests/fuzz`, for longer than `cargo test` runs them.

use anyhow::Result;

use crate::run::{cargo, run};

pub(crate) fn fuzz(words: &[String]) -> Result<()> {
    let mut command =
        cargo(&["run", "--quiet", "--profile", "fuzz", "--package", "hull-fuzz", "--"]);
    command.args(words);
    run(&mut command)
}
