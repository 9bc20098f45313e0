//! `hull commit`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use serde::Deserialize;

use crate::app::Context;
use crate::client::{encode, query};
use crate::format::text::split_reference;
use crate::{options, out};

#[derive(Deserialize)]
struct Committed {
    #[serde(rename = "Id")]
    id: String,
}

pub(crate) fn command() -> Command {
    Command::new("commit").about("Create a new image from a container's changes").args([
        options::value("author", Some('a'), "TEXT", "Author (e.g., \"Ada <ada@example.com>\")"),
        options::list(
            "change",
            Some('c'),
            "INSTRUCTION",
            "Apply Dockerfile instruction to the created image",
        ),
        options::value("message", Some('m'), "TEXT", "Commit message"),
        options::switch("pause", Some('p'), "Pause container during commit (default true)"),
        Arg::new("container").value_name("CONTAINER").required(true),
        Arg::new("repository").value_name("REPOSITORY[:TAG]"),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let (repository, tag) = match options::text(&matches, "repository") {
        Some(text) => {
            let (repository, tag, _) = split_reference(text);
            (Some(repository), tag)
        }
        None => (None, None),
    };
    let pause = matches.get_one::<bool>("pause").copied().unwrap_or(true);
    let mut query = query(&[
        ("container", options::text(&matches, "container")),
        ("repo", repository),
        ("tag", tag),
        ("comment", options::text(&matches, "message")),
        ("author", options::text(&matches, "author")),
        ("pause", Some(if pause { "1" } else { "0" })),
    ]);
    for change in options::texts(&matches, "change") {
        query.push_str("&changes=");
        query.push_str(&encode(&change));
    }
    let path = format!("/commit{query}");
    let committed: Committed = context.client().post(&path, &serde_json::Value::Null).await?;
    out::line(&committed.id);
    Ok(ExitCode::SUCCESS)
}
