//! `hull create`

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{ArgMatches, Command};
use hull_api::{ContainerCreateBody, ContainerCreateResponse};

use crate::app::{Context, Exit};
use crate::client::{Client, query};
use crate::{options, out};

pub(crate) fn command() -> Command {
    options::with_container_options(Command::new("create").about("Create a new container"))
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let body = body(&matches)?;
    let created = create(context.client(), &matches, &body).await?;
    out::line(&created.id);
    Ok(ExitCode::SUCCESS)
}

/// The request that the options make; a wrong option ends with 125.
pub(crate) fn body(matches: &ArgMatches) -> Result<ContainerCreateBody> {
    let body = check_pull(matches).and_then(|()| options::create_body(matches));
    body.map_err(|error| Exit { error, code: 125 }.into())
}

/// Without a registry client only what is here can be used.
fn check_pull(matches: &ArgMatches) -> Result<()> {
    match options::text(matches, "pull") {
        None | Some("missing" | "never") => Ok(()),
        Some("always") => {
            anyhow::bail!("cannot pull: this release has no registry client, use `hull load`")
        }
        Some(other) => anyhow::bail!(
            "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        ),
    }
}

/// Creates the container, writes `--cidfile`, prints warnings.
pub(crate) async fn create(
    client: &Client,
    matches: &ArgMatches,
    body: &ContainerCreateBody,
) -> Result<ContainerCreateResponse> {
    let failed = |error| Exit { error, code: 125 };
    let cidfile = options::text(matches, "cidfile").map(reserve).transpose().map_err(failed)?;
    let path = format!(
        "/containers/create{}",
        query(&[
            ("name", options::text(matches, "name")),
            ("platform", options::text(matches, "platform"))
        ])
    );
    let created: Result<ContainerCreateResponse> = client.post(&path, body).await;
    let written = match (&created, &cidfile) {
        (Ok(created), Some((file, path))) => {
            std::io::Write::write_all(&mut &*file, created.id.as_bytes())
                .with_context(|| format!("cannot write the container id to {path}"))
        }
        (Err(_), Some((_, path))) => {
            // The file is ours and empty; that it stays hides the error that matters.
            let _ = std::fs::remove_file(path);
            Ok(())
        }
        (_, None) => Ok(()),
    };
    let created = created.map_err(failed)?;
    written.map_err(failed)?;
    for warning in &created.warnings {
        out::error(&format!("WARNING: {warning}"));
    }
    Ok(created)
}

/// Makes the id file before the container, so that two commands cannot use the same one.
fn reserve(path: &str) -> Result<(std::fs::File, String)> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    match made {
        Ok(file) => Ok((file, path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            anyhow::bail!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )
        }
        Err(error) => {
            Err(error).with_context(|| format!("failed to create the container ID file {path}"))
        }
    }
}
