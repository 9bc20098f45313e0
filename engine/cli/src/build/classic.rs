//! A build by another engine, through `POST /build`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::ArgMatches;
use http_body_util::BodyExt as _;
use hull_api::build::BuildRequest;
use hull_builder::ignore::Ignore;
use hyper::Method;
use serde::Deserialize;

use super::archive::ContextTar;
use super::context::{Files, Source};
use crate::client::{ApiError, Client, RequestBody, empty, encode};
use crate::options::{is_set, text};
use crate::progress::Lines;
use crate::screen::clean;
use crate::{out, upload};

/// Name in the context of a Dockerfile that came from elsewhere.
const DOCKERFILE: &str = ".hull-build.dockerfile";

/// One line of the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    stream: Option<String>,
    status: Option<String>,
    error: Option<String>,
    aux: Option<Aux>,
}

#[derive(Debug, Default, Deserialize)]
struct Aux {
    #[serde(rename = "ID", default)]
    id: String,
}

/// Builds, and shows what the engine says.
///
/// # Errors
/// An option that this way of building does not have, and what the engine says went wrong.
pub(crate) async fn build(
    client: &Client,
    matches: &ArgMatches,
    source: Source,
    request: &BuildRequest,
) -> Result<ExitCode> {
    check(matches, request)?;
    let quiet = is_set(matches, "quiet");
    let (body, dockerfile, remote) = body(source)?;
    let path = format!("/build{}", query(request, &dockerfile, remote.as_deref())?);
    let content_type = Some("application/x-tar");
    let response = client.send(Method::POST, &path, content_type, body).await?;
    let mut body = response.into_body();
    let mut lines = Lines::default();
    let mut id = String::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the engine's answer broke off")?.into_data() else {
            continue;
        };
        lines.push(&data);
        while let Some(line) = lines.next()? {
            take(&line, quiet, &mut id)?;
        }
    }
    take(&lines.rest(), quiet, &mut id)?;
    if let Some(path) = text(matches, "iidfile").filter(|path| !path.is_empty()) {
        std::fs::write(path, &id).with_context(|| format!("cannot write {path}"))?;
    }
    if quiet {
        out::line(&id);
    }
    Ok(ExitCode::SUCCESS)
}

fn take(line: &[u8], quiet: bool, id: &mut String) -> Result<()> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let message: Message =
        serde_json::from_slice(line).context("the engine's answer is not what was expected")?;
    if let Some(message) = message.error {
        return Err(
            ApiError { status: 200, message: clean(&message), hint: None, kind: None }.into()
        );
    }
    if let Some(aux) = message.aux.filter(|aux| !aux.id.is_empty()) {
        *id = aux.id;
    }
    if !quiet {
        for text in [message.stream, message.status].into_iter().flatten() {
            let shown = text.lines().map(clean);
            shown.filter(|line| !line.is_empty()).for_each(|line| out::line(&line));
        }
    }
    Ok(())
}

/// What only Hull, or BuildKit with its own client, can do.
fn check(matches: &ArgMatches, request: &BuildRequest) -> Result<()> {
    let wanted = [
        ("build-context", !request.contexts.is_empty()),
        ("secret", !request.secrets.is_empty()),
        ("ssh", !request.ssh.is_empty()),
        ("output", !request.outputs.is_empty()),
        ("cache-to", !request.cache_to.is_empty()),
        // Its endpoint takes names of images.
        (
            "cache-from type=local",
            request.cache_from.iter().any(|cache| !cache.contains_key("ref")),
        ),
        ("annotation", !request.annotations.is_empty()),
        ("no-cache-filter", !request.no_cache_filter.is_empty()),
        ("allow", request.allow.iter().any(|word| word != "network.host")),
        ("explain", request.explain),
        ("metadata-file", text(matches, "metadata-file").is_some()),
        ("platform", request.platforms.len() > 1),
    ];
    if let Some((name, _)) = wanted.into_iter().find(|(_, wanted)| *wanted) {
        bail!(
            "--{name} is for builds by Hull's engine: leave --host out, or use that engine's own client"
        );
    }
    Ok(())
}

/// The context, the Dockerfile's place in it, and the address where the engine is to fetch it.
fn body(source: Source) -> Result<(RequestBody, String, Option<String>)> {
    let found = |path: Option<String>| path.unwrap_or_else(|| "Dockerfile".to_owned());
    match source.files {
        Files::Remote(url) => {
            if source.dockerfile.is_some() {
                bail!("a Dockerfile from stdin and a context from {url} do not go together here");
            }
            Ok((empty(), found(source.path), Some(url)))
        }
        Files::Tar(reader) => Ok((upload::body(reader), found(source.path), None)),
        Files::Nothing => {
            let directory = tempfile::tempdir().context("cannot make an empty context")?;
            let tar = ContextTar::new(directory.path(), &Ignore::default(), &[])?;
            let text = source.dockerfile.context("there is no Dockerfile")?;
            let tar = tar.with_file("Dockerfile", &text.bytes)?;
            // All that it holds is in memory by now.
            Ok((upload::body(tar), "Dockerfile".to_owned(), None))
        }
        Files::Directory(path) => {
            let ignore =
                source.ignore.as_ref().map(|text| Ignore::parse(&text.bytes)).transpose()?;
            let tar = ContextTar::new(&path, &ignore.unwrap_or_default(), &[])?;
            let text = source.dockerfile.context("there is no Dockerfile")?;
            let tar = tar.with_file(DOCKERFILE, &text.bytes)?;
            Ok((upload::body(tar), DOCKERFILE.to_owned(), None))
        }
    }
}

fn query(request: &BuildRequest, dockerfile: &str, remote: Option<&str>) -> Result<String> {
    let mut pairs: Vec<(&str, String)> = vec![
        ("version", "1".to_owned()),
        ("rm", "1".to_owned()),
        ("dockerfile", dockerfile.to_owned()),
    ];
    pairs.extend(remote.map(|url| ("remote", url.to_owned())));
    pairs.extend(request.tags.iter().map(|tag| ("t", tag.clone())));
    pairs.extend(request.target.iter().map(|target| ("target", target.clone())));
    pairs.extend(request.platforms.first().map(|platform| ("platform", platform.clone())));
    pairs.extend(request.add_hosts.iter().map(|host| ("extrahosts", host.clone())));
    if !request.network.is_empty() {
        pairs.push(("networkmode", request.network.clone()));
    }
    if request.shm_size > 0 {
        pairs.push(("shmsize", request.shm_size.to_string()));
    }
    for (name, wanted) in [("nocache", request.no_cache), ("pull", request.pull)] {
        if wanted {
            pairs.push((name, "1".to_owned()));
        }
    }
    let json = |map: &BTreeMap<String, String>| serde_json::to_string(map);
    if !request.build_args.is_empty() {
        pairs.push(("buildargs", json(&request.build_args)?));
    }
    if !request.labels.is_empty() {
        pairs.push(("labels", json(&request.labels)?));
    }
    if !request.ulimits.is_empty() {
        pairs.push(("ulimits", serde_json::to_string(&request.ulimits)?));
    }
    let caches: Vec<&String> =
        request.cache_from.iter().filter_map(|cache| cache.get("ref")).collect();
    if !caches.is_empty() {
        pairs.push(("cachefrom", serde_json::to_string(&caches)?));
    }
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    Ok(format!("?{}", pairs.collect::<Vec<_>>().join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_in_the_query() {
        let request = BuildRequest {
            tags: vec!["a:1".into(), "b".into()],
            build_args: [("x".to_owned(), "y z".to_owned())].into(),
            network: "host".to_owned(),
            pull: true,
            ..BuildRequest::default()
        };
        assert_eq!(
            query(&request, "d/Dockerfile", None).unwrap(),
            "?version=1&rm=1&dockerfile=d%2FDockerfile&t=a%3A1&t=b&networkmode=host&pull=1&buildargs=%7B%22x%22%3A%22y%20z%22%7D"
        );
    }

    #[test]
    fn the_answer_says_the_id_or_what_is_wrong() {
        let mut id = String::new();
        for line in
            ["", "{\"stream\":\"Step 1/1 : FROM scratch\\n\"}", "{\"aux\":{\"ID\":\"sha256:ab\"}}"]
        {
            take(line.as_bytes(), true, &mut id).unwrap();
        }
        assert_eq!(id, "sha256:ab");
        let error = take(b"{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}", true, &mut id);
        assert_eq!(error.unwrap_err().to_string(), "no");
        assert!(take(b"what", true, &mut id).is_err());
    }
}
