//! `hull create`

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{ArgMatches, Command};
use hull_api::{ContainerCreateBody, ContainerCreateResponse};
use hull_oci::Reference;

use super::pull::Pull;
use crate::app::{Context, Exit};
use crate::client::{ApiError, Client, query};
use crate::progress::Wish;
use crate::screen::Stream;
use crate::signals::Signals;
use crate::{options, out};

pub(crate) fn command() -> Command {
    options::with_container_options(Command::new("create").about("Create a new container"))
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let body = body(&matches)?;
    let signals = Signals::take()?;
    let created = create(context.client(), &signals, &matches, &body).await?;
    out::line(&created.id);
    Ok(ExitCode::SUCCESS)
}

/// The request that the options make; a wrong option ends with 125.
pub(crate) fn body(matches: &ArgMatches) -> Result<ContainerCreateBody> {
    let body = When::new(matches).and_then(|_| options::create_body(matches));
    body.map_err(|error| Exit { error, code: 125 }.into())
}

/// When the image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Missing,
    Always,
    Never,
}

impl When {
    fn new(matches: &ArgMatches) -> Result<Self> {
        match options::text(matches, "pull") {
            None | Some("missing" | "") => Ok(Self::Missing),
            Some("always") => Ok(Self::Always),
            Some("never") => Ok(Self::Never),
            Some(other) => anyhow::bail!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ),
        }
    }
}

/// Creates the container, after a pull where one is wanted; writes `--cidfile`, prints warnings.
///
/// # Errors
/// With exit code 125, or a signal.
pub(crate) async fn create(
    client: &Client,
    signals: &Signals,
    matches: &ArgMatches,
    body: &ContainerCreateBody,
) -> Result<ContainerCreateResponse> {
    let failed = |error: anyhow::Error| match error.downcast::<Exit>() {
        Ok(exit) => exit.into(),
        Err(error) => anyhow::Error::from(Exit { error, code: 125 }),
    };
    let cidfile = options::text(matches, "cidfile").map(reserve).transpose().map_err(failed)?;
    let created = create_or_pull(client, signals, matches, body).await;
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

/// Asks for the container, and for its image where that is missing.
async fn create_or_pull(
    client: &Client,
    signals: &Signals,
    matches: &ArgMatches,
    body: &ContainerCreateBody,
) -> Result<ContainerCreateResponse> {
    let platform = options::text(matches, "platform");
    let path = format!(
        "/containers/create{}",
        query(&[("name", options::text(matches, "name")), ("platform", platform)])
    );
    let when = When::new(matches)?;
    let image = body.config.image.parse::<Reference>().ok().map(Reference::with_default_tag);
    let wish = Wish::all(Stream::Stderr, options::is_set(matches, "quiet"));
    let pull = image.as_ref().map(|name| Pull { name, platform, wish });
    if let (When::Always, Some(pull)) = (when, &pull) {
        pull.run(client, signals).await?;
    }
    match (signals.unless(client.post(&path, body)).await, pull) {
        (Err(error), Some(pull)) if when == When::Missing && is_missing_image(&error) => {
            if wish.news.is_some() {
                let name = pull.name.familiar();
                out::error(&format!("Unable to find image '{name}' locally"));
            }
            pull.run(client, signals).await?;
            signals.unless(client.post(&path, body)).await
        }
        (result, _) => result,
    }
}

/// Whether it is the image that is not there, or not for the platform.
fn is_missing_image(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|refusal| {
        let message = refusal.message.to_lowercase();
        let words = ["no such image", "image with reference"];
        refusal.status == 404 && words.iter().any(|words| message.contains(words))
    })
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
