//! `hull logs`

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Arg, ArgMatches, Command};
use http_body_util::BodyExt as _;
use hull_api::stream::RAW_STREAM;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use tokio::io::AsyncWriteExt as _;

use crate::app::Context;
use crate::client::{empty, encode, query};
use crate::format::time;
use crate::{options, stream};

pub(crate) fn command() -> Command {
    Command::new("logs").about("Fetch the logs of a container").args([
        options::switch("details", None, "Show extra details provided to logs"),
        options::switch("follow", Some('f'), "Follow log output"),
        options::value(
            "since",
            None,
            "TIME",
            "Show logs since a time (2013-01-02T13:23:37Z) or a duration before now (42m)",
        ),
        options::value(
            "tail",
            Some('n'),
            "NUMBER",
            "Number of lines to show from the end of the logs (default \"all\")",
        ),
        options::switch("timestamps", Some('t'), "Show timestamps"),
        options::value(
            "until",
            None,
            "TIME",
            "Show logs before a time (2013-01-02T13:23:37Z) or a duration before now (42m)",
        ),
        Arg::new("container").value_name("CONTAINER").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let name = options::text(&matches, "container").unwrap_or_default();
    let moment = |flag: &str| {
        let text = options::text(&matches, flag).filter(|text| !text.is_empty());
        let moment = text.map(time::parse_moment).transpose();
        moment.map_err(|reason| anyhow!("invalid value for {flag:?}: {reason}"))
    };
    let (since, until) = (moment("since")?, moment("until")?);
    let one = |flag| options::is_set(&matches, flag).then_some("1");
    let query = query(&[
        ("stdout", Some("1")),
        ("stderr", Some("1")),
        ("follow", one("follow")),
        ("timestamps", one("timestamps")),
        ("details", one("details")),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
        ("tail", options::text(&matches, "tail")),
    ]);
    let path = format!("/containers/{}/logs{query}", encode(name));
    let response = context.client().send(Method::GET, &path, None, empty()).await?;
    let kind = response.headers().get(CONTENT_TYPE);
    let raw = kind.is_some_and(|kind| kind.as_bytes() == RAW_STREAM.as_bytes());
    let (mut writer, reader) = tokio::io::duplex(64 << 10);
    let receive = async move {
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data()
                && writer.write_all(&data).await.is_err()
            {
                // Our own output ended first.
                break;
            }
        }
        anyhow::Ok(())
    };
    let (received, shown) = tokio::join!(receive, stream::receive(reader, raw));
    shown?;
    received?;
    Ok(ExitCode::SUCCESS)
}
