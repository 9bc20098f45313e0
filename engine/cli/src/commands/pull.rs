//! `hull pull`, and the pull that comes before a container.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use hull_oci::Reference;
use hyper::Method;

use crate::app::Context;
use crate::client::{Client, empty, query};
use crate::progress::{self, Wish};
use crate::registry::{self, Remote};
use crate::screen::Stream;
use crate::signals::Signals;
use crate::{options, out};

pub(crate) fn command() -> Command {
    Command::new("pull").about("Download an image from a registry").args([
        options::switch("all-tags", Some('a'), "Download all tagged images in the repository"),
        options::switch(
            "disable-content-trust",
            None,
            "Skip image verification (accepted and without effect: digests are always verified)",
        ),
        options::value(
            "platform",
            None,
            "PLATFORM",
            "Set platform if the image is there for several",
        ),
        options::switch("quiet", Some('q'), "Suppress verbose output"),
        Arg::new("image").value_name("NAME[:TAG|@DIGEST]").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let all = options::is_set(&matches, "all-tags");
    let quiet = options::is_set(&matches, "quiet");
    let name = registry::name(options::text(&matches, "image").unwrap_or_default())?;
    let name = with_tag(name, all, quiet)?;
    let signals = Signals::take()?;
    let pull = Pull {
        name: &name,
        platform: options::text(&matches, "platform"),
        wish: Wish::all(Stream::Stdout, quiet),
    };
    pull.run(context.client(), &signals).await?;
    out::line(&name.to_string());
    Ok(ExitCode::SUCCESS)
}

/// The name with the tag that is meant where there is none, unless all are.
///
/// # Errors
/// All tags were asked for, and one.
pub(super) fn with_tag(name: Reference, all: bool, quiet: bool) -> Result<Reference> {
    let bare = name.tag().is_none() && name.digest().is_none();
    match (all, bare) {
        (true, false) => bail!("tag can't be used with --all-tags/-a"),
        (false, true) if !quiet => out::line("Using default tag: latest"),
        _ => {}
    }
    Ok(if all { name } else { name.with_default_tag() })
}

/// One pull.
#[derive(Debug)]
pub(super) struct Pull<'a> {
    /// Without tag and digest: every tag of the repository.
    pub(super) name: &'a Reference,
    pub(super) platform: Option<&'a str>,
    pub(super) wish: Wish,
}

impl Pull<'_> {
    /// Does it.
    ///
    /// # Errors
    /// What the engine says, with advice, or a signal.
    pub(super) async fn run(&self, client: &Client, signals: &Signals) -> Result<()> {
        let platform = self.platform.map(str::to_ascii_lowercase);
        let query = query(&[
            ("fromImage", Some(&self.name.familiar_name())),
            ("tag", registry::tag(self.name).as_deref()),
            ("platform", platform.as_deref()),
        ]);
        let path = format!("/images/create{query}");
        let work = async {
            let remote = Remote::of(self.name).await;
            let response = remote.send(client, (Method::POST, &path), None, empty()).await?;
            let followed = progress::follow(response, self.wish).await;
            followed.map_err(|error| remote.advise(error))
        };
        registry::interruptible(client, signals, "pull", work).await
    }
}
