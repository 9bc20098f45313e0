//! `hull load`

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{ArgMatches, Command};
use hyper::Method;

use crate::app::Context;
use crate::client::query;
use crate::options;
use crate::progress::{self, Wish};
use crate::upload::{self, DirectoryTar};

pub(crate) fn command() -> Command {
    Command::new("load")
        .about("Load an image from a tar archive, an OCI layout directory or STDIN")
        .args([
            options::value(
                "input",
                Some('i'),
                "FILE",
                "Read from a tar archive or an OCI layout directory, instead of STDIN",
            ),
            options::list("platform", None, "PLATFORM", "Load only the given platform variant"),
            options::switch("quiet", Some('q'), "Suppress the load output"),
        ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let body = match options::text(&matches, "input").filter(|file| *file != "-") {
        Some(file) => from_path(Path::new(file)).with_context(|| format!("cannot read {file}"))?,
        None if rustix::termios::isatty(std::io::stdin()) => {
            bail!("requested load from stdin, but stdin is empty")
        }
        None => upload::body(std::io::stdin()),
    };
    let wish = Wish::data(options::is_set(&matches, "quiet"));
    let platforms = options::texts(&matches, "platform");
    let platform = platforms.first().map(String::as_str);
    let query = query(&[("quiet", wish.news.is_none().then_some("1")), ("platform", platform)]);
    let path = format!("/images/load{query}");
    let response =
        context.client().send(Method::POST, &path, Some("application/x-tar"), body).await?;
    progress::follow(response, wish).await?;
    Ok(ExitCode::SUCCESS)
}

fn from_path(path: &Path) -> std::io::Result<crate::client::RequestBody> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Ok(upload::body(DirectoryTar::new(path)?));
    }
    Ok(upload::body(file))
}
