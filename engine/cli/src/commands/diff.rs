//! `hull diff`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use serde::Deserialize;

use crate::app::Context;
use crate::client::encode;
use crate::{options, out};

/// One change, as the engine tells it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    path: String,
    /// 0 modified, 1 added, 2 deleted.
    kind: u8,
}

pub(crate) fn command() -> Command {
    Command::new("diff")
        .about("Inspect changes to files or directories on a container's filesystem")
        .arg(Arg::new("container").value_name("CONTAINER").required(true))
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let container = options::text(&matches, "container").unwrap_or_default();
    let path = format!("/containers/{}/changes", encode(container));
    let changes: Option<Vec<Change>> = context.client().get(&path).await?;
    let mut text = String::new();
    for Change { path, kind } in changes.unwrap_or_default() {
        let letter = match kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        text.push(letter);
        text.push(' ');
        text.push_str(&path);
        text.push('\n');
    }
    out::text(&text);
    Ok(ExitCode::SUCCESS)
}
