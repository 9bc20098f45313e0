//! `hull system check`

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use hull_api::StoreCheckResponse;

use crate::app::Context;
use crate::client::query;
use crate::{options, out};

pub(crate) fn command() -> Command {
    Command::new("check").about("Verify everything the engine keeps on disk").args([
        options::switch("deep", None, "Read and hash every byte"),
        options::value("format", None, "FORMAT", "Format output: 'json'"),
        options::switch("repair", None, "Repair or remove what is broken"),
    ])
}

/// Ends with 1 if something is wrong and stays so.
pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let one = |flag| options::is_set(&matches, flag).then_some("1");
    let query = query(&[("deep", one("deep")), ("repair", one("repair"))]);
    let check: StoreCheckResponse =
        context.client().post_empty(&format!("/hull/check{query}")).await?;
    match options::text(&matches, "format") {
        Some("json") => out::line(&serde_json::to_string(&check)?),
        Some(other) => anyhow::bail!("unknown format {other:?}: it may be json"),
        None => print(&check),
    }
    let broken = check.problems.iter().any(|problem| !problem.repaired);
    Ok(ExitCode::from(u8::from(broken)))
}

fn print(check: &StoreCheckResponse) {
    for problem in &check.problems {
        let repaired = if problem.repaired { " (repaired)" } else { "" };
        out::line(&format!("{}: {}{repaired}", problem.object, problem.problem));
    }
    let objects = if check.checked == 1 { "object" } else { "objects" };
    let problems = match check.problems.len() {
        0 => "no problems".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    out::line(&format!("{} {objects} checked, {problems}", check.checked));
}
