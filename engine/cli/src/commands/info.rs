//! `hull info`

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use http_body_util::BodyExt as _;
use hull_api::SystemInfo;
use hyper::Method;

use crate::app::{Context, Exit};
use crate::client::empty;
use crate::format::object::{self, ObjectTemplate};
use crate::format::units;
use crate::{options, out};

pub(crate) fn command() -> Command {
    Command::new("info").about("Display system-wide information").arg(options::value(
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
            Some(ObjectTemplate::parse("", text).map_err(|error| Exit { error, code: 64 })?)
        }
    };
    let response = context.client().send(Method::GET, "/info", None, empty()).await?;
    let json = response.into_body().collect().await?.to_bytes();
    if let Some(template) = template {
        let mut text = String::new();
        template.render(&object::typed(&json)?, &mut text)?;
        out::text(&text);
        return Ok(ExitCode::SUCCESS);
    }
    let info: SystemInfo = serde_json::from_slice(&json)?;
    out::text(&plain(&info));
    for warning in &info.warnings {
        out::error(warning);
    }
    Ok(ExitCode::SUCCESS)
}

fn plain(info: &SystemInfo) -> String {
    let mut text = format!("Client:\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    // Writing to a string does not fail.
    let mut say = |name: &str, value: &str| {
        let _ = writeln!(text, " {name}: {value}");
    };
    say("Containers", &info.containers.to_string());
    say(" Running", &info.containers_running.to_string());
    say(" Paused", &info.containers_paused.to_string());
    say(" Stopped", &info.containers_stopped.to_string());
    say("Images", &info.images.to_string());
    say("Server Version", &info.server_version);
    say("Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        say(&format!(" {name}"), value);
    }
    say("Logging Driver", &info.logging_driver);
    say("Cgroup Driver", &info.cgroup_driver);
    say("Cgroup Version", &info.cgroup_version);
    let _ = writeln!(text, " Plugins:");
    let plugins = &info.plugins;
    for (kind, names) in
        [("Volume", &plugins.volume), ("Network", &plugins.network), ("Log", &plugins.log)]
    {
        let _ = writeln!(text, "  {kind}: {}", names.join(" "));
    }
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    let _ = writeln!(text, " Runtimes: {}", runtimes.join(" "));
    let _ = writeln!(text, " Default Runtime: {}", info.default_runtime);
    if !info.init_binary.is_empty() {
        let _ = writeln!(text, " Init Binary: {}", info.init_binary);
    }
    security(&mut text, &info.security_options);
    let mut say = |name: &str, value: &str| {
        let _ = writeln!(text, " {name}: {value}");
    };
    say("Kernel Version", &info.kernel_version);
    say("Operating System", &info.operating_system);
    say("OSType", &info.os_type);
    say("Architecture", &info.architecture);
    say("CPUs", &info.ncpu.to_string());
    say("Total Memory", &units::binary_size(info.mem_total));
    say("Name", &info.name);
    say("ID", &info.id);
    say("Docker Root Dir", &info.docker_root_dir);
    say("Debug Mode", &info.debug.to_string());
    say("Experimental", &info.experimental_build.to_string());
    say("Live Restore Enabled", &info.live_restore_enabled.to_string());
    text
}

/// `name=seccomp,profile=builtin` as a name and, below it, its options.
fn security(text: &mut String, options: &[String]) {
    if options.is_empty() {
        return;
    }
    text.push_str(" Security Options:\n");
    for option in options {
        for (index, pair) in option.split(',').enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or(("name", pair));
            if name == "name" {
                let _ = writeln!(text, "  {value}");
            } else if index > 0 {
                let mut letters = name.chars();
                let first = letters.next().map(|c| c.to_ascii_uppercase()).into_iter();
                let title: String = first.chain(letters).collect();
                let _ = writeln!(text, "   {title}: {value}");
            }
        }
    }
}
