//! `hull update`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use hull_api::ContainerUpdateResponse;

use crate::app::Context;
use crate::client::encode;
use crate::{options, out};

pub(crate) fn command() -> Command {
    options::with_update_options(
        Command::new("update").about("Update configuration of one or more containers"),
    )
    .arg(Arg::new("container").value_name("CONTAINER").num_args(1..).required(true))
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let Some(body) = options::update_body(&matches)? else {
        bail!("you must provide one or more flags when using this command");
    };
    let mut warnings = Vec::new();
    let warned = &std::cell::RefCell::new(&mut warnings);
    let result = super::each(&options::texts(&matches, "container"), async |name| {
        let path = format!("/containers/{}/update", encode(name));
        let updated: ContainerUpdateResponse = context.client().post(&path, &body).await?;
        warned.borrow_mut().extend(updated.warnings);
        out::line(name);
        Ok(())
    })
    .await;
    for warning in warnings {
        out::error(&warning);
    }
    result
}
