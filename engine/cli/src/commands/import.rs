//! `hull import`

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command};
use hyper::Method;

use crate::app::Context;
use crate::client::query;
use crate::format::text::split_reference;
use crate::progress::{self, Wish};
use crate::{options, upload};

pub(crate) fn command() -> Command {
    Command::new("import")
        .about("Import the contents from a tarball to create a filesystem image")
        .args([
            options::list(
                "change",
                Some('c'),
                "INSTRUCTION",
                "Apply Dockerfile instruction to the created image",
            ),
            options::value("message", Some('m'), "TEXT", "Set commit message for imported image"),
            options::value("platform", None, "PLATFORM", "Set platform of the image"),
            Arg::new("file").value_name("FILE|-").required(true),
            Arg::new("repository").value_name("REPOSITORY[:TAG]"),
        ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let file = options::text(&matches, "file").unwrap_or_default();
    if file.starts_with("http://") || file.starts_with("https://") {
        bail!("cannot import from {file}: only files and - (standard input) are understood");
    }
    let body = match file {
        "-" => upload::body(std::io::stdin()),
        file => upload::body(File::open(file).with_context(|| format!("cannot read {file}"))?),
    };
    let (repository, tag) = match options::text(&matches, "repository") {
        Some(text) => {
            let (repository, tag, _) = split_reference(text);
            (Some(repository), tag)
        }
        None => (None, None),
    };
    let mut query = query(&[
        ("fromSrc", Some("-")),
        ("repo", repository),
        ("tag", tag),
        ("message", options::text(&matches, "message")),
        ("platform", options::text(&matches, "platform")),
    ]);
    for change in options::texts(&matches, "change") {
        query.push_str("&changes=");
        query.push_str(&crate::client::encode(&change));
    }
    let path = format!("/images/create{query}");
    let response =
        context.client().send(Method::POST, &path, Some("application/x-tar"), body).await?;
    progress::follow(response, Wish::data(false)).await?;
    Ok(ExitCode::SUCCESS)
}
