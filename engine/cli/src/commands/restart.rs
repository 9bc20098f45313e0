//! `hull restart`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::{encode, query};
use crate::{options, out};

pub(crate) fn command() -> Command {
    Command::new("restart").about("Restart one or more containers").args([
        options::value("signal", Some('s'), "SIGNAL", "Signal to send to the container"),
        options::value(
            "timeout",
            Some('t'),
            "SECONDS",
            "Seconds to wait before killing the container",
        )
        .alias("time"),
        Arg::new("container").value_name("CONTAINER").num_args(1..).required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let (signal, timeout) = (options::text(&matches, "signal"), options::text(&matches, "timeout"));
    let query = query(&[("signal", signal), ("t", timeout)]);
    super::each(&options::texts(&matches, "container"), async |name| {
        context.client().act(&format!("/containers/{}/restart{query}", encode(name))).await?;
        out::line(name);
        Ok(())
    })
    .await
}
