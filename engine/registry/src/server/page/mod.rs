//! A page for people: repositories, tags, platforms, sizes, layers, history, referrers, and the
//! command that pulls.
//!
//! It needs no script and nothing from elsewhere, and runs none: what an image says of itself is
//! hostile. Visitors see what they may pull, and nothing can be changed here.

mod html;

use std::collections::BTreeSet;
use std::time::SystemTime;

use bytes::Bytes;
use hull_oci::{Descriptor, ImageConfig, MAX_CONFIG_BYTES, media_type};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::access::Action;
use super::body::{self, Body};
use super::catalog::Catalog;
use super::handler::Call;
use super::refusal::Refusal;
use super::route::{RepositoryName, percent_encoded};
use super::summary::Summary;
use html::{Html, size};

const STYLE: &str = include_str!("style.css");

/// Entries of one list. Of the rest it is said how many there are.
const MOST: usize = 500;

/// Answers a visitor.
pub(super) async fn show(call: &Call, path: &str) -> Result<Response<Body>, Refusal> {
    if !call.shared.config.page || path != "/" {
        return Err(Refusal::nowhere(format!("nothing is at {path:?}")));
    }
    if call.query("login").is_some() {
        call.check_known()?;
    }
    let host = call.host();
    let text = match call.query("repository") {
        None => {
            let catalog = call.catalog();
            let names = call.blocking(move || Ok(catalog.storage.repositories()?)).await?;
            let names = names.iter().filter_map(|name| RepositoryName::parse(name).ok());
            let visible: Vec<_> = names.filter(|name| call.lists(name)).collect();
            let known = call.is_known();
            let catalog = call.catalog();
            call.blocking(move || index(&catalog, &host, &visible, known)).await?
        }
        Some(name) => {
            let name = RepositoryName::parse(name)?;
            call.check(&name, &[Action::Pull])?;
            let reference = call.query("reference").map(str::to_owned);
            let catalog = call.catalog();
            call.blocking(move || match reference {
                None => repository(&catalog, &host, &name),
                Some(reference) => manifest(&catalog, &host, &name, &reference),
            })
            .await?
        }
    };
    let mut response = Response::new(body::full(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn begin(title: &str, host: &str) -> Html {
    let mut page = Html::default();
    page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width\"><title>");
    page.text(title).raw("</title><style>").raw(STYLE).raw("</style></head><body>");
    page.raw("<header><a href=\"/\">").text(host).raw("</a></header><main>");
    page
}

fn end(mut page: Html) -> String {
    page.raw("</main></body></html>\n");
    page.finish()
}

fn index(
    catalog: &Catalog,
    host: &str,
    names: &[RepositoryName],
    known: bool,
) -> Result<String, Refusal> {
    let mut page = begin("Repositories", host);
    page.raw("<h1>Repositories</h1>");
    if !known {
        page.raw("<p><a href=\"/?login\">Sign in</a> to see what is not public.</p>");
    }
    if names.is_empty() {
        page.raw("<p>Nothing is here yet.</p><p>");
        page.copyable(&format!("docker push {host}/name:tag")).raw("</p>");
        return Ok(end(page));
    }
    page.raw("<table><thead><tr><th>Repository<th>Tags<th>Size<th>Changed</tr></thead><tbody>");
    for name in names.iter().take(MOST) {
        let tags = catalog.storage.tags(name.as_str())?;
        let mut changed = None;
        for tag in &tags {
            changed = changed.max(catalog.storage.tag_time(name.as_str(), tag)?);
        }
        page.raw("<tr>").link_cell(&to(name, None), name.as_str());
        page.cell(&tags.len().to_string()).cell(&size(catalog.size(name)?));
        page.cell(&changed.map_or_else(String::new, ago)).raw("</tr>");
    }
    page.raw("</tbody></table>");
    more(&mut page, names.len());
    Ok(end(page))
}

fn repository(catalog: &Catalog, host: &str, name: &RepositoryName) -> Result<String, Refusal> {
    if !catalog.exists(name)? {
        return Err(Refusal::name_unknown(format!("no repository {}", name.as_str())));
    }
    let storage = &catalog.storage;
    let mut tags = Vec::new();
    for tag in storage.tags(name.as_str())? {
        let target = storage.tag(name.as_str(), &tag)?;
        let time = storage.tag_time(name.as_str(), &tag)?;
        tags.extend(target.map(|target| (tag, target, time.unwrap_or(SystemTime::UNIX_EPOCH))));
    }
    tags.sort_by_key(|(_, _, time)| std::cmp::Reverse(*time));
    let mut page = begin(name.as_str(), host);
    page.raw("<h1>").text(name.as_str()).raw("</h1>");
    page.raw(
        "<table><thead><tr><th>Tag<th>Platforms<th>Size<th>Changed<th>Digest</tr></thead><tbody>",
    );
    for (tag, target, time) in tags.iter().take(MOST) {
        let summary = catalog.summaries.of(&**storage, &target.digest)?;
        let (platforms, bytes) = match &summary {
            Some(summary) => (platforms(catalog, summary)?, total(catalog, summary)?),
            None => Default::default(),
        };
        page.raw("<tr>").link_cell(&to(name, Some(tag)), tag);
        page.cell(&platforms).cell(&size(bytes)).cell(&ago(*time));
        page.raw("<td><code>").text(&target.digest.hex()[..12]).raw("</code></td></tr>");
    }
    page.raw("</tbody></table>");
    more(&mut page, tags.len());
    let tagged: BTreeSet<_> = tags.iter().map(|(_, target, _)| &target.digest).collect();
    let held = storage.manifests(name.as_str())?;
    let untagged: Vec<_> =
        held.iter().filter(|held| !tagged.contains(&held.descriptor.digest)).collect();
    if !untagged.is_empty() {
        page.raw("<details><summary>").text(&untagged.len().to_string());
        page.raw(" manifests without a tag</summary><ul>");
        for held in untagged.iter().take(MOST) {
            let digest = held.descriptor.digest.as_str();
            page.raw("<li><a href=\"").text(&to(name, Some(digest))).raw("\"><code>");
            page.text(digest).raw("</code></a></li>");
        }
        page.raw("</ul></details>");
    }
    Ok(end(page))
}

fn manifest(
    catalog: &Catalog,
    host: &str,
    name: &RepositoryName,
    reference: &str,
) -> Result<String, Refusal> {
    let found = catalog.manifest(name, reference)?;
    let unreadable = || Refusal::manifest_unknown("the manifest cannot be read");
    let summary = catalog.summaries.of(&*catalog.storage, &found.digest)?.ok_or_else(unreadable)?;
    let sign = if reference.contains(':') { '@' } else { ':' };
    let full = format!("{}{sign}{reference}", name.as_str());
    let mut page = begin(&full, host);
    page.raw("<p><a href=\"").text(&to(name, None)).raw("\">").text(name.as_str());
    page.raw("</a></p><h1>").text(&full).raw("</h1><p>");
    page.copyable(&format!("hull pull {host}/{full}")).raw("</p><p>");
    page.copyable(&format!("docker pull {host}/{full}")).raw("</p><dl>");
    for (term, value) in [
        ("Digest", found.digest.as_str()),
        ("Media type", &found.media_type),
        ("Size", &size(total(catalog, &summary)?)),
        ("Artifact type", artifact_type(&summary)),
    ] {
        fact(&mut page, term, value);
    }
    if let Some(subject) = &summary.subject {
        page.raw("<dt>About</dt><dd><a href=\"").text(&to(name, Some(subject.digest.as_str())));
        page.raw("\"><code>").text(subject.digest.as_str()).raw("</code></a></dd>");
    }
    for (key, value) in &summary.annotations {
        fact(&mut page, key, value);
    }
    page.raw("</dl>");
    match &summary.config {
        None => listed(&mut page, catalog, name, &summary)?,
        Some(config) => image(&mut page, catalog, config, &summary)?,
    }
    let referrers = catalog.referrers(name, &found.digest)?;
    if !referrers.is_empty() {
        page.raw("<h2>Referrers</h2><table><thead><tr><th>Type<th>Digest</tr></thead><tbody>");
        for one in referrers.iter().take(MOST) {
            page.raw("<tr>").cell(one.artifact_type.as_deref().unwrap_or_default());
            page.link_cell(&to(name, Some(one.digest.as_str())), one.digest.as_str()).raw("</tr>");
        }
        page.raw("</tbody></table>");
        more(&mut page, referrers.len());
    }
    Ok(end(page))
}

/// The type of what is no image.
fn artifact_type(summary: &Summary) -> &str {
    let kind = summary.artifact_type.as_deref().unwrap_or_default();
    if media_type::is_image_config(kind) { "" } else { kind }
}

/// The manifests of an index.
fn listed(
    page: &mut Html,
    catalog: &Catalog,
    name: &RepositoryName,
    summary: &Summary,
) -> Result<(), Refusal> {
    page.raw(
        "<h2>Platforms</h2><table><thead><tr><th>Platform<th>Size<th>Digest</tr></thead><tbody>",
    );
    for child in summary.listed().iter().take(MOST) {
        let bytes = match catalog.summaries.of(&*catalog.storage, &child.digest)? {
            Some(child) => size(total(catalog, &child)?),
            None => "not here".to_owned(),
        };
        page.raw("<tr>").cell(&platform(child)).cell(&bytes);
        let digest = child.digest.as_str();
        page.link_cell(&to(name, Some(digest)), digest).raw("</tr>");
    }
    page.raw("</tbody></table>");
    more(page, summary.listed().len());
    Ok(())
}

/// The config, the layers and the history of an image.
fn image(
    page: &mut Html,
    catalog: &Catalog,
    config: &Descriptor,
    summary: &Summary,
) -> Result<(), Refusal> {
    let read = match media_type::is_image_config(&config.media_type) {
        true => catalog.storage.read(&config.digest, MAX_CONFIG_BYTES)?,
        false => None,
    };
    let parsed = read.and_then(|bytes| ImageConfig::parse(&bytes).ok());
    if let Some(image) = &parsed {
        let runtime = image.runtime();
        page.raw("<h2>Image</h2><dl>");
        for (term, value) in [
            ("Platform", image.platform().to_string()),
            ("Created", image.created.clone().unwrap_or_default()),
            ("Author", image.author.clone()),
            ("User", runtime.user.clone()),
            ("Working directory", runtime.working_dir.clone()),
            ("Entrypoint", runtime.entrypoint.join(" ")),
            ("Command", runtime.cmd.join(" ")),
            ("Ports", runtime.exposed_ports.iter().cloned().collect::<Vec<_>>().join(", ")),
        ] {
            fact(page, term, &value);
        }
        for (key, value) in &runtime.labels {
            fact(page, key, value);
        }
        page.raw("</dl>");
    }
    page.raw(
        "<h2>Layers</h2><table><thead><tr><th>Size<th>Media type<th>Digest</tr></thead><tbody>",
    );
    for layer in summary.layers.iter().take(MOST) {
        page.raw("<tr>").cell(&size(layer.size)).cell(&layer.media_type);
        page.raw("<td><code>").text(layer.digest.as_str()).raw("</code></td></tr>");
    }
    page.raw("</tbody></table>");
    more(page, summary.layers.len());
    let history = parsed.map(|image| image.history).unwrap_or_default();
    if !history.is_empty() {
        page.raw("<h2>History</h2><ol>");
        for step in history.iter().take(MOST) {
            let text = if step.created_by.is_empty() { &step.comment } else { &step.created_by };
            page.raw(if step.empty_layer { "<li class=\"empty\"><code>" } else { "<li><code>" });
            page.text(text).raw("</code></li>");
        }
        page.raw("</ol>");
        more(page, history.len());
    }
    Ok(())
}

fn fact(page: &mut Html, term: &str, value: &str) {
    if !value.is_empty() {
        page.raw("<dt>").text(term).raw("</dt><dd>").text(value).raw("</dd>");
    }
}

fn more(page: &mut Html, count: usize) {
    if count > MOST {
        page.raw("<p>and ").text(&(count - MOST).to_string()).raw(" more</p>");
    }
}

fn platform(descriptor: &Descriptor) -> String {
    if descriptor.is_attestation() {
        return "attestation".to_owned();
    }
    descriptor.platform.as_ref().map_or_else(String::new, ToString::to_string)
}

/// The platforms of an image, or its type where it is none.
fn platforms(catalog: &Catalog, summary: &Summary) -> Result<String, Refusal> {
    let Some(config) = &summary.config else {
        let listed = summary.listed().iter().filter(|child| !child.is_attestation());
        let names: BTreeSet<_> = listed.map(platform).filter(|name| !name.is_empty()).collect();
        return Ok(names.into_iter().collect::<Vec<_>>().join(", "));
    };
    if !media_type::is_image_config(&config.media_type) {
        return Ok(summary.artifact_type.clone().unwrap_or_default());
    }
    let bytes = catalog.storage.read(&config.digest, MAX_CONFIG_BYTES)?.unwrap_or_default();
    let image = ImageConfig::parse(&bytes).ok();
    Ok(image.map_or_else(String::new, |image| image.platform().to_string()))
}

/// Bytes of a manifest and all below it, as far as it is here.
fn total(catalog: &Catalog, summary: &Summary) -> Result<u64, Refusal> {
    let mut bytes = summary.size + summary.blobs().map(|blob| blob.size).sum::<u64>();
    for child in summary.listed() {
        if let Some(child) = catalog.summaries.of(&*catalog.storage, &child.digest)? {
            bytes += child.size + child.blobs().map(|blob| blob.size).sum::<u64>();
        }
    }
    Ok(bytes)
}

fn to(name: &RepositoryName, reference: Option<&str>) -> String {
    let repository = percent_encoded(name.as_str());
    match reference {
        None => format!("/?repository={repository}"),
        Some(reference) => {
            format!("/?repository={repository}&reference={}", percent_encoded(reference))
        }
    }
}

fn ago(time: SystemTime) -> String {
    let seconds = time.elapsed().map_or(0, |age| age.as_secs());
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
