//! `--check` and `--call`: what can be said of a Dockerfile alone.

use std::process::ExitCode;

use anyhow::{Result, bail};
use hull_api::build::BuildRequest;
use hull_builder::ignore::Ignore;
use hull_builder::instruction::Dockerfile;
use hull_builder::lint::Warning;
use hull_builder::outline::{self, Outline, Target};
use hull_builder::plan::{BaseImage, Options, Planner};
use hull_builder::{SourceError, parse};
use hull_oci::{ImageConfig, Platform};
use serde_json::json;

use super::context::{Files, Source, Text};
use super::options::{Call, Format};
use crate::format::table::align_at_least;
use crate::out;
use crate::screen::clean;

/// Says what was asked for; the exit code is 1 where a check found something.
///
/// # Errors
/// A Dockerfile that is not here, or that is none.
pub(crate) fn run(
    call: Call,
    format: Format,
    source: &Source,
    request: &BuildRequest,
) -> Result<ExitCode> {
    let Some(text) = &source.dockerfile else {
        let what = match source.files {
            Files::Remote(_) => "at another place",
            _ => "in an archive",
        };
        bail!("cannot check a Dockerfile {what}: name it with -f, or use its directory");
    };
    let parsed = parse(&text.bytes);
    match (call, parsed) {
        (Call::Check, parsed) => check(&parsed, format, text, source, request),
        (_, Err(error)) => Err(failure(&error, text)),
        (Call::Targets, Ok(file)) => {
            targets(&outline::targets(&file), format)?;
            Ok(ExitCode::SUCCESS)
        }
        (_, Ok(file)) => {
            let options = plan_options(source, request)?;
            let plan = planned(&file, options.clone()).and_then(Planner::finish);
            let outlined = plan.and_then(|plan| outline::outline(&file, &options, &plan));
            outlined_text(&outlined.map_err(|error| failure(&error, text))?, format)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What the plan of a build is told by the command line.
pub(crate) fn plan_options(source: &Source, request: &BuildRequest) -> Result<Options> {
    let ignore = match &source.ignore {
        Some(text) => Ignore::parse(&text.bytes)?,
        None => Ignore::default(),
    };
    let stage = |(name, value): (&String, &String)| {
        value.strip_prefix("target:").map(|stage| (name.clone(), stage.to_owned()))
    };
    let platform = request.platforms.first().map(|text| text.parse()).transpose()?;
    Ok(Options {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        target_platform: platform,
        named_contexts: request.contexts.keys().cloned().collect(),
        named_stages: request.contexts.iter().filter_map(stage).collect(),
        ignore,
        ..Options::default()
    })
}

/// A planner whose bases are all supplied, with configs of which nothing is known.
fn planned(file: &Dockerfile, options: Options) -> Result<Planner<'_>, SourceError> {
    let mut planner = Planner::new(file, options)?;
    while let [wanted, ..] = planner.wanted().as_slice() {
        let platform: Platform = wanted.platform.clone();
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            ..ImageConfig::default()
        };
        let stage = wanted.stage;
        planner.supply(
            stage,
            BaseImage { config, resolved: String::new(), is_known: false, is_files: false },
        )?;
    }
    Ok(planner)
}

/// An error with the lines it is about.
fn failure(error: &SourceError, text: &Text) -> anyhow::Error {
    let source = hull_builder::Source::new(&text.bytes);
    let excerpt = error.excerpt(&clean(&text.name), &source);
    if !excerpt.is_empty() {
        out::error(excerpt.trim_end());
    }
    anyhow::anyhow!("dockerfile parse error on {error}")
}

fn check(
    parsed: &Result<Dockerfile, SourceError>,
    format: Format,
    text: &Text,
    source: &Source,
    request: &BuildRequest,
) -> Result<ExitCode> {
    let (warnings, error) = match parsed {
        Err(error) => (Vec::new(), Some(error.clone())),
        Ok(file) => {
            // Without a target all of them are looked at.
            let options = plan_options(source, request)?;
            let options = Options { all_stages: options.target.is_none(), ..options };
            match planned(file, options).map(Planner::check) {
                Ok((warnings, outcome)) => (warnings, outcome.err()),
                Err(error) => (Vec::new(), Some(error)),
            }
        }
    };
    // That warnings are errors is no error of its own.
    let error = error.filter(|error| error.lines.is_some() || warnings.is_empty());
    match format {
        Format::Json => out::line(&json_of(&warnings, error.as_ref(), text).to_string()),
        Format::Text => print(&warnings, error.as_ref(), text),
    }
    let clean = warnings.is_empty() && error.is_none();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(warnings: &[Warning], error: Option<&SourceError>, text: &Text) {
    let source = hull_builder::Source::new(&text.bytes);
    let name = clean(&text.name);
    if error.is_none() {
        out::line(&match warnings.len() {
            0 => "Check complete, no warnings found.".to_owned(),
            1 => "Check complete, 1 warning has been found!".to_owned(),
            count => format!("Check complete, {count} warnings have been found!"),
        });
    }
    for warning in warnings {
        out::line(&format!("\nWARNING: {} - {}", warning.rule, warning.rule.url()));
        out::line(&clean(&warning.detail));
        out::text(&source.excerpt(&name, warning.lines, None));
    }
    if let Some(error) = error {
        out::line(&format!("\nERROR: {}", clean(&error.to_string())));
        out::text(&error.excerpt(&name, &source));
    }
}

/// In the shape of BuildKit's `lint` subrequest.
fn json_of(warnings: &[Warning], error: Option<&SourceError>, text: &Text) -> serde_json::Value {
    let location = |lines: hull_builder::Lines| {
        json!({"ranges": [{
            "start": {"line": lines.start},
            "end": {"line": lines.end},
        }]})
    };
    let mut result = json!({
        "warnings": warnings.iter().map(|warning| json!({
            "ruleName": warning.rule.name(),
            "description": warning.rule.description(),
            "url": warning.rule.url(),
            "detail": warning.detail,
            "location": location(warning.lines),
        })).collect::<Vec<_>>(),
        "sources": [{
            "filename": text.name,
            "language": "Dockerfile",
            "data": hull_api::build::base64::encode(&text.bytes),
        }],
    });
    if let Some(error) = error {
        result["buildError"] = json!({
            "message": error.to_string(),
            "location": error.lines.map(location),
        });
    }
    result
}

fn targets(targets: &[Target], format: Format) -> Result<()> {
    if format == Format::Json {
        out::line(&serde_json::to_string(&json!({"targets": targets}))?);
        return Ok(());
    }
    let mut text = "TARGET\tDESCRIPTION\n".to_owned();
    for target in targets {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            ("", false) => continue,
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        text.push_str(&format!("{name}\t{}\n", clean(&target.description)));
    }
    out::text(&align_at_least(&text, 0));
    Ok(())
}

fn outlined_text(outline: &Outline, format: Format) -> Result<()> {
    if format == Format::Json {
        out::line(&serde_json::to_string(outline)?);
        return Ok(());
    }
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        out::line(&format!("TARGET:      {name}"));
        if !outline.description.is_empty() {
            out::line(&format!("DESCRIPTION: {}", clean(&outline.description)));
        }
        out::line("");
    }
    if !outline.args.is_empty() {
        let mut text = "BUILD ARG\tVALUE\tDESCRIPTION\n".to_owned();
        for arg in &outline.args {
            let (value, description) = (clean(&arg.value), clean(&arg.description));
            text.push_str(&format!("{}\t{value}\t{description}\n", arg.name));
        }
        out::line(&align_at_least(&text, 0));
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if mounts.is_empty() {
            continue;
        }
        let mut text = format!("{title}\tREQUIRED\n");
        for mount in mounts {
            let required = if mount.required { "true" } else { "" };
            text.push_str(&format!("{}\t{required}\n", clean(&mount.name)));
        }
        out::line(&align_at_least(&text, 0));
    }
    Ok(())
}
