//! A build by Hull's own engine.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::ArgMatches;
use http_body_util::BodyExt as _;
use hull_api::build::{BuildMessage, BuildRequest, BuildResult, Context, base64};
use hull_builder::ignore::Ignore;
use hull_builder::plan::{Base, Planner};
use hull_oci::Reference;
use hyper::body::Incoming;
use hyper::{Method, Response};
use tokio::time::{MissedTickBehavior, interval};

use super::archive::ContextTar;
use super::check;
use super::context::{Files, Source};
use super::display::{self, Display, Kind};
use super::options::is_stdout;
use crate::client::{Client, RequestBody, full};
use crate::credentials::{RegistryKey, Wanted};
use crate::options::{is_set, text};
use crate::progress::Lines;
use crate::{out, registry, upload};

/// Where builds are asked for.
const PATH: &str = "/hull/build";

/// Name of the header with credentials for several registries.
const CONFIG_HEADER: &str = "x-registry-config";

/// How often rows are drawn at most.
const FRAME: Duration = Duration::from_millis(100);

/// Builds, and says what was built.
///
/// # Errors
/// What went wrong; where it is the Dockerfile or one of its steps, that is shown already.
pub(crate) async fn build(
    client: &Client,
    matches: &ArgMatches,
    source: Source,
    request: BuildRequest,
) -> Result<ExitCode> {
    let quiet = is_set(matches, "quiet");
    let kind = Kind::choose(text(matches, "progress"), quiet)?;
    let credentials = credentials(&source, &request).await;
    let mut request = request;
    let archive = Archive::instead_of_stdout(&mut request)?;
    let body = body(client, source, request)?;
    let mut headers = vec![("content-type", "application/x-ndjson")];
    if let Some(value) = &credentials {
        headers.push((CONFIG_HEADER, value));
    }
    let response = client.send_with(Method::POST, PATH, &headers, body).await?;
    let result = follow(response, kind).await?;
    for (option, text) in [
        ("iidfile", result.image_id.clone()),
        ("metadata-file", format!("{}\n", serde_json::to_string_pretty(&result.metadata)?)),
    ] {
        if let Some(path) = text_of(matches, option) {
            std::fs::write(path, text).with_context(|| format!("cannot write {path}"))?;
        }
    }
    if let Some(archive) = archive {
        archive.write_out()?;
        return Ok(ExitCode::SUCCESS);
    }
    tell(&result, quiet, is_set(matches, "explain"));
    Ok(ExitCode::SUCCESS)
}

fn text_of<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    text(matches, name).filter(|path| !path.is_empty())
}

/// What came of it, for people: on stdout only what a script asks for with `-q`.
fn tell(result: &BuildResult, quiet: bool, explain: bool) {
    if quiet {
        if !result.image_id.is_empty() {
            out::line(&result.image_id);
        }
        return;
    }
    if explain {
        out::error("");
        if result.explanations.is_empty() {
            out::error("every step was in the cache");
        }
        for explanation in &result.explanations {
            let (step, reason) = (&explanation.step, &explanation.reason);
            out::error(&crate::screen::clean(&format!("{step}: {reason}")));
        }
    }
}

/// The request, and behind it the context where it is not to be found by the engine.
fn body(client: &Client, source: Source, request: BuildRequest) -> Result<RequestBody> {
    let utf8 = |bytes: Vec<u8>, name: &str| {
        String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{name} is not UTF-8"))
    };
    let ignore = source.ignore.as_ref().map(|text| Ignore::parse(&text.bytes)).transpose()?;
    let mut request = request;
    let mut tar: Option<Box<dyn Read + Send + Sync + Unpin>> = None;
    request.context = match source.files {
        Files::Nothing => Context::None,
        Files::Remote(url) => Context::Remote { url },
        Files::Tar(reader) => {
            tar = Some(reader);
            Context::Stream
        }
        Files::Directory(path) if client.service().is_some() => {
            let Some(path) = path.to_str() else {
                bail!("the context {} has a name that is not UTF-8", path.display());
            };
            Context::Directory { path: path.to_owned() }
        }
        Files::Directory(path) => {
            tar = Some(Box::new(ContextTar::new(&path, &ignore.unwrap_or_default(), &[])?));
            Context::Stream
        }
    };
    request.dockerfile = source.path;
    if let Some(text) = source.dockerfile {
        request.dockerfile_text = Some(utf8(text.bytes, &text.name)?);
        request.dockerfile = Some(text.name);
        let ignore = source.ignore.map(|text| utf8(text.bytes, &text.name)).transpose()?;
        request.ignore_text = Some(ignore.unwrap_or_default());
    }
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    Ok(match tar {
        Some(tar) => upload::body(io::Cursor::new(line).chain(tar)),
        None => full(line),
    })
}

/// Shows what happens until the end.
async fn follow(response: Response<Incoming>, kind: Kind) -> Result<BuildResult> {
    let mut body = response.into_body();
    let mut lines = Lines::default();
    let mut display = Display::new(kind);
    let mut clock = interval(FRAME);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let data: Bytes = tokio::select! {
            frame = body.frame() => match frame {
                Some(frame) => {
                    let frame = frame.context("the engine's answer broke off")?;
                    let Ok(data) = frame.into_data() else { continue };
                    data
                }
                None => {
                    display.finish();
                    bail!("the engine hung up before the build was done");
                }
            },
            _ = clock.tick(), if display.is_live() => {
                display.draw();
                continue;
            }
        };
        lines.push(&data);
        while let Some(line) = lines.next()? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let message = serde_json::from_slice(&line);
            match message.context("the engine's answer is not what was expected")? {
                BuildMessage::Status(status) => display.update(&status),
                BuildMessage::Result(result) => {
                    display.finish();
                    return Ok(result);
                }
                BuildMessage::Error(failure) => {
                    display.finish();
                    return Err(display::report(failure));
                }
            }
        }
    }
}

/// An output that goes to stdout by way of a file.
struct Archive(tempfile::NamedTempFile);

impl Archive {
    /// Puts a file in the place of `-`.
    fn instead_of_stdout(request: &mut BuildRequest) -> Result<Option<Self>> {
        let Some(output) = request.outputs.iter_mut().find(|output| is_stdout(output)) else {
            return Ok(None);
        };
        let file = tempfile::NamedTempFile::new().context("cannot make a file for the archive")?;
        let path = file.path().display().to_string();
        output.attributes.insert("dest".to_owned(), path);
        Ok(Some(Self(file)))
    }

    fn write_out(self) -> Result<()> {
        // The engine may have replaced the file.
        let mut file = std::fs::File::open(self.0.path()).context("the archive was not written")?;
        let mut stdout = io::stdout().lock();
        io::copy(&mut file, &mut stdout).context("cannot write the archive to stdout")?;
        Ok(stdout.flush()?)
    }
}

/// Credentials for the registries that the build may ask, as the header has them.
async fn credentials(source: &Source, request: &BuildRequest) -> Option<String> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for text in images(source, request) {
        let Ok(reference) = text.parse::<Reference>() else { continue };
        let Some(registry) = RegistryKey::parse(reference.registry()) else { continue };
        let repository = reference.repository().to_owned();
        if wanted.iter().all(|known| known.registry != registry) {
            wanted.push(Wanted { registry, repository });
        }
    }
    let mut found = BTreeMap::new();
    for wanted in wanted {
        // Who has no home has no credentials.
        let Ok(store) = registry::store() else { return None };
        let name = wanted.registry.server_address().to_owned();
        let task = tokio::task::spawn_blocking(move || store.find(&wanted)).await;
        match task.map_err(anyhow::Error::from).and_then(|found| found) {
            Ok(Some(auth)) => {
                found.insert(name, auth);
            }
            Ok(None) => {}
            Err(error) => out::error(&format!("WARNING: no credentials for {name}: {error:#}")),
        }
    }
    if found.is_empty() {
        return None;
    }
    let json = serde_json::to_vec(&found).ok()?;
    Some(base64::encode(&json).replace('+', "-").replace('/', "_"))
}

/// Images that the build may fetch or push.
fn images(source: &Source, request: &BuildRequest) -> Vec<String> {
    let mut images = Vec::new();
    if request.outputs.iter().any(|output| {
        output.kind == "registry"
            || output.attributes.get("push").is_some_and(|push| push == "true")
    }) {
        images.extend(request.tags.iter().cloned());
        let names = request.outputs.iter().filter_map(|output| output.attributes.get("name"));
        images.extend(names.flat_map(|names| names.split(',')).map(str::to_owned));
    }
    let caches = request.cache_from.iter().chain(&request.cache_to);
    images.extend(caches.filter_map(|cache| cache.get("ref").cloned()));
    let contexts = request.contexts.values();
    images.extend(
        contexts.filter_map(|name| name.strip_prefix("docker-image://")).map(str::to_owned),
    );
    let Some(file) =
        source.dockerfile.as_ref().and_then(|text| hull_builder::parse(&text.bytes).ok())
    else {
        return images;
    };
    let Ok(options) = check::plan_options(source, request) else { return images };
    if let Ok(planner) = Planner::new(&file, options) {
        images.extend(planner.wanted().into_iter().filter_map(|wanted| match wanted.base {
            Base::Image(name) => Some(name),
            _ => None,
        }));
        images.extend(planner.images());
    }
    images
}
