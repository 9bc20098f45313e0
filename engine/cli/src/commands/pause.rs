//! `hull pause` and `hull unpause`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::encode;
use crate::{options, out};

pub(crate) fn command() -> Command {
    with_containers("pause", "Pause all processes within one or more containers")
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    act(context, matches, "pause").await
}

fn with_containers(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .arg(Arg::new("container").value_name("CONTAINER").num_args(1..).required(true))
}

async fn act(context: Context, matches: ArgMatches, action: &str) -> Result<ExitCode> {
    super::each(&options::texts(&matches, "container"), async |name| {
        context.client().act(&format!("/containers/{}/{action}", encode(name))).await?;
        out::line(name);
        Ok(())
    })
    .await
}

/// `hull unpause`
pub(crate) mod unpause {
    use super::{ArgMatches, Command, Context, ExitCode, Result};

    pub(crate) fn command() -> Command {
        super::with_containers("unpause", "Unpause all processes within one or more containers")
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        super::act(context, matches, "unpause").await
    }
}
