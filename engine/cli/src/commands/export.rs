//! `hull export`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::encode;
use crate::{download, options};

pub(crate) fn command() -> Command {
    Command::new("export").about("Export a container's filesystem as a tar archive").args([
        options::value("output", Some('o'), "FILE", "Write to a file, instead of STDOUT"),
        Arg::new("container").value_name("CONTAINER").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let output = options::text(&matches, "output");
    if output.is_none() && rustix::termios::isatty(std::io::stdout()) {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    let container = options::text(&matches, "container").unwrap_or_default();
    let path = format!("/containers/{}/export", encode(container));
    download::to(output, || context.client().get_stream(&path)).await?;
    Ok(ExitCode::SUCCESS)
}
