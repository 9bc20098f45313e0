//! `hull kill`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::{encode, query};
use crate::{options, out};

pub(crate) fn command() -> Command {
    Command::new("kill").about("Kill one or more running containers").args([
        options::value("signal", Some('s'), "SIGNAL", "Signal to send to the container"),
        Arg::new("container").value_name("CONTAINER").num_args(1..).required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let query = query(&[("signal", options::text(&matches, "signal"))]);
    super::each(&options::texts(&matches, "container"), async |name| {
        context.client().act(&format!("/containers/{}/kill{query}", encode(name))).await?;
        out::line(name);
        Ok(())
    })
    .await
}
