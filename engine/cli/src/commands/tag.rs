//! `hull tag`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

use crate::app::Context;
use crate::client::{encode, query};
use crate::format::text::split_reference;
use crate::options;

pub(crate) fn command() -> Command {
    Command::new("tag").about("Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE").args([
        Arg::new("source").value_name("SOURCE_IMAGE[:TAG]").required(true),
        Arg::new("target").value_name("TARGET_IMAGE[:TAG]").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let source = options::text(&matches, "source").unwrap_or_default();
    let target = options::text(&matches, "target").unwrap_or_default();
    let (repository, tag, digest) = split_reference(target);
    if digest.is_some() {
        anyhow::bail!("refusing to create a tag with a digest reference");
    }
    let query = query(&[("repo", Some(repository)), ("tag", Some(tag.unwrap_or("latest")))]);
    context.client().act(&format!("/images/{}/tag{query}", encode(source))).await?;
    Ok(ExitCode::SUCCESS)
}
