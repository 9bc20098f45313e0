//! `hull rename`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::{encode, query};
use crate::options;

pub(crate) fn command() -> Command {
    Command::new("rename").about("Rename a container").args([
        Arg::new("container").value_name("CONTAINER").required(true),
        Arg::new("name").value_name("NEW_NAME").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let word = |name| options::text(&matches, name).unwrap_or_default().trim();
    let (container, name) = (word("container"), word("name"));
    if container.is_empty() || name.is_empty() {
        bail!("Error: Neither old nor new names may be empty");
    }
    let query = query(&[("name", Some(name))]);
    context.client().act(&format!("/containers/{}/rename{query}", encode(container))).await?;
    Ok(ExitCode::SUCCESS)
}
