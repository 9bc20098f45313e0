//! `hull save`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::{encode, query};
use crate::{download, options};

pub(crate) fn command() -> Command {
    Command::new("save")
        .about("Save one or more images to a tar archive (streamed to STDOUT by default)")
        .args([
            options::value("output", Some('o'), "FILE", "Write to a file, instead of STDOUT"),
            options::value("platform", None, "PLATFORM", "Save only the given platform variant"),
            Arg::new("image").value_name("IMAGE").num_args(1..).required(true),
        ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let output = options::text(&matches, "output");
    if output.is_none() && rustix::termios::isatty(std::io::stdout()) {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    let mut query = query(&[("platform", options::text(&matches, "platform"))]);
    for image in options::texts(&matches, "image") {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str("names=");
        query.push_str(&encode(&image));
    }
    let path = format!("/images/get{query}");
    download::to(output, || context.client().get_stream(&path)).await?;
    Ok(ExitCode::SUCCESS)
}
