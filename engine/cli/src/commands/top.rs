//! `hull top`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use hull_api::ContainerTopResponse;

use crate::app::Context;
use crate::client::{encode, query};
use crate::format::table;
use crate::{options, out};

/// The narrowest column.
const WIDTH: usize = 20;

pub(crate) fn command() -> Command {
    Command::new("top").about("Display the running processes of a container").arg(
        Arg::new("container")
            .value_names(["CONTAINER", "PS_OPTIONS"])
            .help("The container, then options as for ps: -ef (default), aux, -o pid,comm")
            .num_args(1..)
            .required(true)
            .trailing_var_arg(true)
            .allow_hyphen_values(true),
    )
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let words = options::texts(&matches, "container");
    let (container, wanted) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let wanted = wanted.join(" ");
    let query = query(&[("ps_args", Some(wanted.as_str()).filter(|text| !text.is_empty()))]);
    let path = format!("/containers/{}/top{query}", encode(container));
    let listed: ContainerTopResponse = context.client().get(&path).await?;
    let mut text = listed.titles.join("\t") + "\n";
    for process in &listed.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    out::text(&table::align_at_least(&text, WIDTH));
    Ok(ExitCode::SUCCESS)
}
