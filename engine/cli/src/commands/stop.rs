//! `hull stop`, `hull restart`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::{encode, query};
use crate::{options, out};

pub(crate) fn command() -> Command {
    of("stop", "Stop one or more running containers")
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    act("stop", &context, &matches).await
}

/// `hull restart`
pub(crate) mod restart {
    use super::{ArgMatches, Command, Context, ExitCode, Result, act, of};

    pub(crate) fn command() -> Command {
        of("restart", "Restart one or more containers")
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        act("restart", &context, &matches).await
    }
}

fn of(action: &'static str, about: &'static str) -> Command {
    Command::new(action).about(about).args([
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

async fn act(action: &str, context: &Context, matches: &ArgMatches) -> Result<ExitCode> {
    let (signal, timeout) = (options::text(matches, "signal"), options::text(matches, "timeout"));
    let query = query(&[("signal", signal), ("t", timeout)]);
    super::each(&options::texts(matches, "container"), async |name| {
        context.client().act(&format!("/containers/{}/{action}{query}", encode(name))).await?;
        out::line(name);
        Ok(())
    })
    .await
}
