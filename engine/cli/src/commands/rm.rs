//! `hull rm`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::{ApiError, encode, query};
use crate::{options, out};

pub(crate) fn command() -> Command {
    Command::new("rm").about("Remove one or more containers").args([
        options::switch(
            "force",
            Some('f'),
            "Force the removal of a running container (uses SIGKILL)",
        ),
        options::switch(
            "volumes",
            Some('v'),
            "Remove anonymous volumes associated with the container",
        ),
        Arg::new("container").value_name("CONTAINER").num_args(1..).required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let force = options::is_set(&matches, "force");
    let volumes = options::is_set(&matches, "volumes");
    let query = query(&[("force", force.then_some("1")), ("v", volumes.then_some("1"))]);
    super::each(&options::texts(&matches, "container"), async |name| {
        let path = format!("/containers/{}{query}", encode(name.trim_start_matches('/')));
        match context.client().delete::<serde_json::Value>(&path).await {
            Ok(_) => out::line(name),
            // Docker: what is not there needs no force.
            Err(error) if force && is_absent(&error) => out::error(&format!("hull: {error:#}")),
            Err(error) => return Err(error),
        }
        Ok(())
    })
    .await
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|refusal| refusal.status == 404)
}
