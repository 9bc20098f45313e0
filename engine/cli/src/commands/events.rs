//! `hull events`

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{ArgMatches, Command};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::app::Context;
use crate::client::query;
use crate::format::object::{self, ObjectTemplate};
use crate::format::{filters, time};
use crate::{options, out};

/// The most bytes of one event: no engine sends more.
const MAX_LINE: usize = 1 << 20;

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Option<BTreeMap<String, String>>,
}

enum Format {
    Text,
    Json,
    Template(ObjectTemplate),
}

pub(crate) fn command() -> Command {
    Command::new("events").about("Get real time events from the server").args([
        filters::argument(),
        options::value(
            "format",
            None,
            "FORMAT",
            "Format output using a custom template: 'json' or a Go template",
        ),
        options::value("since", None, "TIME", "Show all events created since timestamp"),
        options::value("until", None, "TIME", "Stream events until this timestamp"),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let moment = |flag: &str| {
        let text = options::text(&matches, flag).filter(|text| !text.is_empty());
        let moment = text.map(time::parse_moment).transpose();
        moment.map_err(|reason| anyhow!("invalid value for {flag:?}: {reason}"))
    };
    let (since, until) = (moment("since")?, moment("until")?);
    let format = match options::text(&matches, "format") {
        None | Some("") => Format::Text,
        Some("json" | "{{json .}}") => Format::Json,
        Some(text) => Format::Template(ObjectTemplate::parse("", text)?),
    };
    let filters = filters::query(&matches)?;
    let query = query(&[
        ("filters", filters.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
    ]);
    let mut body = context.client().get_stream(&format!("/events{query}")).await?.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        rest.extend_from_slice(&data);
        let end = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        let mut text = String::new();
        for line in rest[..end].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            show(line, &format, &mut text)?;
        }
        out::text(&text);
        rest.drain(..end);
        if rest.len() > MAX_LINE {
            return Err(anyhow!("the engine sent an event without an end"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(line: &[u8], format: &Format, out: &mut String) -> Result<()> {
    match format {
        Format::Text => out.push_str(&text(&serde_json::from_slice(line)?)),
        Format::Json => out.push_str(String::from_utf8_lossy(line).trim()),
        Format::Template(template) => return template.render(&object::typed(line)?, out),
    }
    out.push('\n');
    Ok(())
}

fn text(event: &Event) -> String {
    let at = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = at.to_zoned_datetime(TimeZone::system());
    let offset = if at.offset().is_zero() { "Z" } else { "%:z" };
    let at = at.strftime(&format!("%Y-%m-%dT%H:%M:%S.%9f{offset}")).to_string();
    let mut text = format!("{at} {} {} {}", event.kind, event.action, event.actor.id);
    let attributes = event.actor.attributes.iter().flatten();
    let pairs: Vec<_> = attributes.map(|(name, value)| format!("{name}={value}")).collect();
    if !pairs.is_empty() {
        text.push_str(" (");
        text.push_str(&pairs.join(", "));
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"status":"die","id":"c0ffee","from":"web","Type":"container",
        "Action":"die","Actor":{"ID":"c0ffee","Attributes":{"name":"shop","exitCode":"3",
        "image":"web"}},"scope":"local","time":1700000000,"timeNano":1700000000000000012}"#;

    #[test]
    fn lines_are_dockers() {
        let shown = |format: Format| {
            let mut out = String::new();
            show(LINE, &format, &mut out).unwrap();
            out
        };
        let line = shown(Format::Text);
        assert!(line.contains(".000000012"), "{line}");
        assert!(line.ends_with(" container die c0ffee (exitCode=3, image=web, name=shop)\n"));
        let template = ObjectTemplate::parse("", "{{.Type}} {{.Actor.Attributes.exitCode}}");
        assert_eq!(shown(Format::Template(template.unwrap())), "container 3\n");
    }
}
