//! `hull push`

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command};
use hull_oci::Platform;
use hyper::Method;
use serde_json::json;

use super::pull::with_tag;
use crate::app::Context;
use crate::client::{empty, encode, query};
use crate::progress::{self, Wish};
use crate::registry::{self, Remote};
use crate::screen::Stream;
use crate::signals::Signals;
use crate::{options, out};

pub(crate) fn command() -> Command {
    Command::new("push").about("Upload an image to a registry").args([
        options::switch("all-tags", Some('a'), "Push all tags of an image to the repository"),
        options::value(
            "compression",
            None,
            "METHOD",
            "Compress layers that are not compressed yet by gzip (default) or zstd",
        ),
        options::switch(
            "disable-content-trust",
            None,
            "Skip image signing (accepted and without effect: nothing is signed)",
        ),
        options::value(
            "platform",
            None,
            "PLATFORM",
            "Push the image of one platform, where it has several",
        ),
        options::switch("quiet", Some('q'), "Suppress verbose output"),
        Arg::new("image").value_name("NAME[:TAG]").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let all = options::is_set(&matches, "all-tags");
    let quiet = options::is_set(&matches, "quiet");
    let platform = options::text(&matches, "platform").filter(|text| !text.is_empty());
    let platform = platform.map(platform_json).transpose()?;
    let compression = options::text(&matches, "compression");
    if let Some(other) = compression.filter(|method| !matches!(*method, "gzip" | "zstd")) {
        bail!("invalid compression: {other:?}: must be one of \"gzip\", \"zstd\"");
    }
    let name = registry::name(options::text(&matches, "image").unwrap_or_default())?;
    let name = with_tag(name, all, quiet)?;
    let query = query(&[
        ("tag", registry::tag(&name).as_deref()),
        ("platform", platform.as_deref()),
        ("compression", compression),
    ]);
    let path = format!("/images/{}/push{query}", encode(&name.familiar_name()));
    let signals = Signals::take()?;
    let client = context.client();
    let work = async {
        let remote = Remote::of(&name).await;
        let response = remote.send(client, (Method::POST, &path), None, empty()).await?;
        let followed = progress::follow(response, Wish::all(Stream::Stdout, quiet)).await;
        followed.map_err(|error| remote.advise(error))
    };
    registry::interruptible(client, &signals, "push", work).await?;
    if quiet {
        out::line(&name.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// A platform as the API takes it.
fn platform_json(text: &str) -> Result<String> {
    let platform: Platform = text.to_lowercase().parse().context("invalid platform")?;
    let platform = platform.normalized();
    let mut json = json!({"architecture": platform.architecture, "os": platform.os});
    if let Some(variant) = platform.variant {
        json["variant"] = variant.into();
    }
    Ok(json.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn platforms_are_json() {
        let json = |text| super::platform_json(text).map_err(|error| format!("{error:#}"));
        assert_eq!(json("Linux/ARM64").unwrap(), r#"{"architecture":"arm64","os":"linux"}"#);
        assert_eq!(
            json("linux/arm/v7").unwrap(),
            r#"{"architecture":"arm","os":"linux","variant":"v7"}"#
        );
        assert!(json("//").unwrap_err().starts_with("invalid platform: "));
    }
}
