//! `hull version`

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use hull_api::{ComponentVersion, SystemVersion};
use serde::Serialize;

use crate::app::{Context, Exit};
use crate::format::object::{self, ObjectTemplate};
use crate::{options, out};

/// What the client is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ClientVersion {
    version: &'static str,
    api_version: &'static str,
    #[serde(rename = "DefaultAPIVersion")]
    default_api_version: &'static str,
    git_commit: &'static str,
    os: &'static str,
    arch: &'static str,
    build_time: &'static str,
    context: &'static str,
}

/// What a template sees.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions<'a> {
    client: ClientVersion,
    server: Option<&'a SystemVersion>,
}

pub(crate) fn command() -> Command {
    Command::new("version").about("Show version information").arg(options::value(
        "format",
        Some('f'),
        "FORMAT",
        "Format output: 'json' or a Go template",
    ))
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let template = match options::text(&matches, "format") {
        None | Some("") => None,
        Some(text) => {
            Some(ObjectTemplate::parse("version", text).map_err(|error| Exit { error, code: 64 })?)
        }
    };
    let server = context.client().get::<SystemVersion>("/version").await;
    let versions = Versions { client: client(), server: server.as_ref().ok() };
    match template {
        Some(template) => {
            let mut text = String::new();
            let value = object::typed(&serde_json::to_vec(&versions)?)?;
            template.render(&value, &mut text)?;
            out::text(&text);
        }
        None => out::text(&plain(&versions)),
    }
    server.map(|_| ExitCode::SUCCESS)
}

/// The architecture in Go's word.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn client() -> ClientVersion {
    ClientVersion {
        version: env!("CARGO_PKG_VERSION"),
        api_version: hull_api::API_VERSION,
        default_api_version: hull_api::API_VERSION,
        git_commit: option_env!("HULL_GIT_COMMIT").unwrap_or_default(),
        os: "linux",
        arch: arch(),
        build_time: option_env!("HULL_BUILD_TIME").unwrap_or_default(),
        context: "default",
    }
}

fn entry(text: &mut String, indent: usize, name: &str, value: &str) {
    if !value.is_empty() {
        let name = format!("{name}:");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:indent$}{name:<19}{value}", "");
    }
}

fn plain(versions: &Versions<'_>) -> String {
    let mut text = "Client:\n".to_owned();
    let client = &versions.client;
    entry(&mut text, 1, "Version", client.version);
    entry(&mut text, 1, "API version", client.api_version);
    entry(&mut text, 1, "Git commit", client.git_commit);
    entry(&mut text, 1, "Built", client.build_time);
    entry(&mut text, 1, "OS/Arch", &format!("{}/{}", client.os, client.arch));
    if let Some(server) = versions.server {
        text.push_str(&match server.platform.name.as_str() {
            "" => "\nServer:\n".to_owned(),
            name => format!("\nServer: {name}\n"),
        });
        let whole = [ComponentVersion { name: "Engine".to_owned(), ..ComponentVersion::default() }];
        let components = if server.components.is_empty() { &whole } else { &server.components[..] };
        for component in components {
            let _ = writeln!(text, " {}:", component.name);
            if component.name == "Engine" {
                engine(&mut text, server);
            } else {
                entry(&mut text, 2, "Version", &component.version);
                for (name, value) in &component.details {
                    entry(&mut text, 2, name, value);
                }
            }
        }
    }
    text
}

fn engine(text: &mut String, server: &SystemVersion) {
    let api = format!("{} (minimum version {})", server.api_version, server.min_api_version);
    entry(text, 2, "Version", &server.version);
    entry(text, 2, "API version", &api);
    entry(
        text,
        2,
        "Go version",
        server.go_version.strip_prefix("rust").map_or(&server.go_version, |_| ""),
    );
    entry(text, 2, "Git commit", &server.git_commit);
    entry(text, 2, "Built", &server.build_time);
    entry(text, 2, "OS/Arch", &format!("{}/{}", server.os, server.arch));
    entry(text, 2, "Kernel", &server.kernel_version);
}
