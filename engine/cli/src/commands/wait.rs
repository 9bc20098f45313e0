//! `hull wait`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::encode;
use crate::{options, out, session};

pub(crate) fn command() -> Command {
    Command::new("wait").about("Block until containers stop, then print their exit codes").args([
        options::value(
            "condition",
            None,
            "CONDITION",
            "What to wait for: not-running (default), next-exit or removed",
        ),
        Arg::new("container").value_name("CONTAINER").num_args(1..).required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let condition = options::text(&matches, "condition").unwrap_or("not-running");
    super::each(&options::texts(&matches, "container"), async |name| {
        let waiting = session::begin_wait(context.client(), &encode(name), condition).await?;
        let ended = waiting.end().await?;
        if let Some(error) = ended.error {
            bail!("{}", error.message);
        }
        out::line(&ended.status_code.to_string());
        Ok(())
    })
    .await
}
