//! `hull manifest`: lists of manifests, drafted here and sent to a registry.

mod draft;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command};
use http_body_util::BodyExt as _;
use hull_api::registry::DistributionInspect;
use hull_oci::{Platform, Reference};
use hyper::body::Incoming;
use hyper::{Method, Response};

use crate::app::{self, Context};
use crate::client::{ApiError, Client, empty, encode, full, query};
use crate::format::object;
use crate::registry::{self, Remote};
use crate::{options, out};
use draft::{Draft, Drafts, ManifestPlatform};

/// The largest manifest that a registry takes, and so the largest that is read.
const MAX_MANIFEST: usize = 4 << 20;

fn insecure() -> Arg {
    options::switch("insecure", None, "Allow communication with an insecure registry")
}

/// A name with the tag that is meant.
fn name(text: &str) -> Result<Reference> {
    Ok(registry::name(text)?.with_default_tag())
}

/// A manifest or index of a registry.
struct Fetched {
    media_type: String,
    digest: String,
    bytes: Vec<u8>,
}

impl Fetched {
    fn is_list(&self) -> bool {
        draft::is_list(&self.media_type)
    }
}

/// Asks the engine for a manifest, byte for byte as the registry has it.
async fn fetch(context: &Context, name: &Reference, insecure: bool) -> Result<Fetched> {
    let remote = Remote::of(name).await;
    let path = manifest_path(name, &[("insecure", insecure.then_some("1"))]);
    let response = ask(context, &remote, (Method::GET, &path), None, &[]).await?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (media_type, digest) = (header("content-type"), header("docker-content-digest"));
    let body = http_body_util::Limited::new(response.into_body(), MAX_MANIFEST);
    let bytes = body.collect().await.map_err(|error| anyhow::anyhow!("{error}"));
    let bytes = bytes.with_context(|| format!("cannot read the manifest of {name}"))?.to_bytes();
    Ok(Fetched { media_type, digest, bytes: bytes.into() })
}

fn manifest_path(name: &Reference, pairs: &[(&str, Option<&str>)]) -> String {
    format!("/distribution/{}/manifest{}", encode(&name.to_string()), query(pairs))
}

/// Asks the engine that was named; if it is one that has no manifests, the one in this process.
async fn ask(
    context: &Context,
    remote: &Remote,
    request: (Method, &str),
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Response<Incoming>> {
    let send = async |client: &Client| {
        let body = if body.is_empty() { empty() } else { full(body.to_vec()) };
        remote.send(client, request.clone(), content_type, body).await
    };
    match (send(context.client()).await, context.own()) {
        (Err(error), Some(own)) if is_unknown_address(&error) => send(own).await,
        (result, _) => result.map_err(no_such_endpoint),
    }
}

fn is_unknown_address(error: &anyhow::Error) -> bool {
    let unknown =
        |refusal: &ApiError| refusal.status == 404 && refusal.message.contains("page not found");
    error.downcast_ref().is_some_and(unknown)
}

/// Says that the engine is of another kind, where that is why it refuses.
fn no_such_endpoint(error: anyhow::Error) -> anyhow::Error {
    if !is_unknown_address(&error) {
        return error;
    }
    let message = "the engine has no way to read and write manifests".to_owned();
    let hint = "only Hull's has: run it as root to use the one in this process";
    ApiError { status: 404, message, hint: Some(hint.to_owned()), kind: None }.into()
}

/// Fetches one image's manifest and what it is for.
async fn image(context: &Context, name: &Reference, insecure: bool) -> Result<Draft> {
    let fetched = fetch(context, name, insecure).await?;
    if fetched.is_list() {
        bail!("{name} is a manifest list");
    }
    let remote = Remote::of(name).await;
    let insecure = query(&[("insecure", insecure.then_some("1"))]);
    let path = format!("/distribution/{}/json{insecure}", encode(&name.to_string()));
    let response = ask(context, &remote, (Method::GET, &path), None, &[]).await?;
    let bytes = response.into_body().collect().await?.to_bytes();
    let seen: DistributionInspect =
        serde_json::from_slice(&bytes).context("the engine's answer is not what was expected")?;
    let platform = seen.platforms.first().map(ManifestPlatform::of).unwrap_or_default();
    Draft::new(name, fetched.media_type, &fetched.digest, fetched.bytes, platform)
}

/// `hull manifest inspect`
pub(crate) mod inspect {
    use super::*;

    pub(crate) fn command() -> Command {
        Command::new("inspect").about("Display an image manifest, or manifest list").args([
            insecure(),
            options::switch(
                "verbose",
                Some('v'),
                "Output additional info including layers and platform",
            ),
            Arg::new("name").value_name("[MANIFEST_LIST] MANIFEST").num_args(1..=2).required(true),
        ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let verbose = options::is_set(&matches, "verbose");
        let insecure = options::is_set(&matches, "insecure");
        let drafts = Drafts::of_user()?;
        let names = options::texts(&matches, "name");
        let names = names.iter().map(|text| name(text)).collect::<Result<Vec<_>>>()?;
        match names.as_slice() {
            [list, manifest] => show(&drafts.get(list, manifest)?, verbose),
            [only] => {
                let local = drafts.all(only)?;
                if !local.is_empty() {
                    return show_list(&local, verbose);
                }
                let fetched = fetch(&context, only, insecure).await?;
                match (fetched.is_list(), verbose) {
                    (_, false) => print(&fetched.bytes, "   "),
                    (false, true) => show(&image(&context, only, insecure).await?, true),
                    (true, true) => {
                        show_list(&members(&context, only, &fetched, insecure).await?, true)
                    }
                }
            }
            _ => bail!("one name or two are needed"),
        }
    }

    /// Every manifest that a registry's list names.
    async fn members(
        context: &Context,
        list: &Reference,
        fetched: &Fetched,
        insecure: bool,
    ) -> Result<Vec<Draft>> {
        let mut members = Vec::new();
        for descriptor in draft::list_members(&fetched.bytes)? {
            let name = list.with_digest(descriptor.digest.clone());
            let member = fetch(context, &name, insecure).await?;
            let platform = descriptor.platform.unwrap_or_default();
            members.push(Draft::new(
                &name,
                member.media_type,
                &member.digest,
                member.bytes,
                platform,
            )?);
        }
        Ok(members)
    }

    fn show(draft: &Draft, verbose: bool) -> Result<ExitCode> {
        if verbose { print(&draft.display()?, "\t") } else { print(&draft.raw, "\t") }
    }

    fn show_list(drafts: &[Draft], verbose: bool) -> Result<ExitCode> {
        if !verbose {
            let descriptors = drafts.iter().map(|draft| draft.descriptor.clone()).collect();
            return print(&draft::list(descriptors).1, "   ");
        }
        let shown = drafts.iter().map(Draft::display).collect::<Result<Vec<_>>>()?;
        print(&[b"[", &*shown.join(&b","[..]), b"]"].concat(), "\t")
    }

    fn print(json: &[u8], step: &str) -> Result<ExitCode> {
        out::line(&String::from_utf8_lossy(&object::indent_by(json, step)));
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull manifest create`
pub(crate) mod create {
    use super::*;

    pub(crate) fn command() -> Command {
        Command::new("create")
            .about("Create a local manifest list for annotating and pushing to a registry")
            .args([
                options::switch("amend", Some('a'), "Amend an existing manifest list"),
                insecure(),
                Arg::new("name")
                    .value_names(["MANIFEST_LIST", "MANIFEST"])
                    .num_args(2..)
                    .required(true)
                    .trailing_var_arg(true),
            ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let words = options::texts(&matches, "name");
        let Some((list, manifests)) = words.split_first() else { bail!("no list is named") };
        let list = name(list)?;
        let drafts = Drafts::of_user()?;
        let amend = options::is_set(&matches, "amend");
        if !amend && !drafts.all(&list)?.is_empty() {
            bail!("refusing to amend an existing manifest list with no --amend flag");
        }
        let insecure = options::is_set(&matches, "insecure");
        let mut members = Vec::new();
        for text in manifests {
            let manifest = name(text)?;
            members.push((image(&context, &manifest, insecure).await?, manifest));
        }
        for (draft, manifest) in &members {
            drafts.save(&list, manifest, draft)?;
        }
        out::line(&format!("Created manifest list {list}"));
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull manifest annotate`
pub(crate) mod annotate {
    use super::*;

    pub(crate) fn command() -> Command {
        Command::new("annotate").about("Add additional information to a local image manifest").args(
            [
                options::value("arch", None, "ARCHITECTURE", "Set architecture"),
                options::value("os", None, "SYSTEM", "Set operating system"),
                options::list("os-features", None, "FEATURE", "Set operating system feature"),
                options::value("os-version", None, "VERSION", "Set operating system version"),
                options::value("variant", None, "VARIANT", "Set architecture variant"),
                Arg::new("list").value_name("MANIFEST_LIST").required(true),
                Arg::new("manifest").value_name("MANIFEST").required(true),
            ],
        )
    }

    pub(crate) async fn run(_: Context, matches: ArgMatches) -> Result<ExitCode> {
        let text = |id| options::text(&matches, id).unwrap_or_default().to_owned();
        let (list, manifest) = (name(&text("list"))?, name(&text("manifest"))?);
        let drafts = Drafts::of_user()?;
        let mut draft = drafts.get(&list, &manifest)?;
        let mut platform = draft.descriptor.platform.take().unwrap_or_default();
        let set = |field: &mut String, id| {
            if !text(id).is_empty() {
                *field = text(id);
            }
        };
        set(&mut platform.architecture, "arch");
        set(&mut platform.os, "os");
        set(&mut platform.os_version, "os-version");
        set(&mut platform.variant, "variant");
        for feature in options::texts(&matches, "os-features").iter().flat_map(|f| f.split(',')) {
            if !platform.os_features.iter().any(|known| known == feature) {
                platform.os_features.push(feature.to_owned());
            }
        }
        if !platform.is_known() {
            let (os, architecture) = (&platform.os, &platform.architecture);
            bail!(
                "manifest entry for image has unsupported os/arch combination: {os}/{architecture}"
            );
        }
        draft.descriptor.platform = Some(platform);
        drafts.save(&list, &manifest, &draft)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `hull manifest push`
pub(crate) mod push {
    use super::*;

    pub(crate) fn command() -> Command {
        Command::new("push").about("Push a manifest list to a repository").args([
            insecure(),
            options::switch("purge", Some('p'), "Remove the local manifest list after push"),
            Arg::new("list").value_name("MANIFEST_LIST").required(true),
        ])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let list = name(options::text(&matches, "list").unwrap_or_default())?;
        let drafts = Drafts::of_user()?;
        let members = drafts.all(&list)?;
        if members.is_empty() {
            bail!("{list} not found");
        }
        check(&list, &members)?;
        let insecure = options::is_set(&matches, "insecure").then_some("1");
        let remote = Remote::of(&list).await;
        for draft in &members {
            let target = list.with_digest(draft.descriptor.digest.clone());
            let source: Reference = draft.reference.parse()?;
            let from = (source.repository() != list.repository()).then(|| source.repository());
            let path = manifest_path(&target, &[("from", from), ("insecure", insecure)]);
            put(&context, &remote, &path, &draft.descriptor.media_type, &draft.raw).await?;
            let digest = &draft.descriptor.digest;
            out::line(&format!("Pushed ref {target} with digest: {digest}"));
        }
        let descriptors = members.iter().map(|draft| draft.descriptor.clone()).collect();
        let (media_type, bytes) = draft::list(descriptors);
        let digest = hull_oci::Digest::sha256(&bytes);
        let path = manifest_path(&list, &[("insecure", insecure)]);
        put(&context, &remote, &path, media_type, &bytes).await?;
        if options::is_set(&matches, "purge") {
            drafts.remove(&list)?;
        }
        out::line(&digest.to_string());
        Ok(ExitCode::SUCCESS)
    }

    /// Whether what was drafted can be sent.
    fn check(list: &Reference, members: &[Draft]) -> Result<()> {
        for draft in members {
            let name: Reference = draft.reference.parse()?;
            if name.registry() != list.registry() {
                bail!(
                    "cannot use source images from a different registry than the target image: {} != {}",
                    name.registry(),
                    list.registry()
                );
            }
            let platform = draft.descriptor.platform.clone().unwrap_or_default();
            if platform.os.is_empty() || platform.architecture.is_empty() {
                bail!(
                    "manifest {name} must have an OS and Architecture to be pushed to a registry"
                );
            }
        }
        Ok(())
    }

    async fn put(
        context: &Context,
        remote: &Remote,
        path: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let sent = ask(context, remote, (Method::PUT, path), Some(media_type), bytes).await?;
        sent.into_body().collect().await?;
        Ok(())
    }
}

/// `hull manifest rm`
pub(crate) mod rm {
    use super::*;

    pub(crate) fn command() -> Command {
        Command::new("rm")
            .about("Delete one or more manifest lists from local storage")
            .arg(Arg::new("list").value_name("MANIFEST_LIST").num_args(1..).required(true))
    }

    pub(crate) async fn run(_: Context, matches: ArgMatches) -> Result<ExitCode> {
        let drafts = Drafts::of_user()?;
        let mut failed: Option<anyhow::Error> = None;
        for text in options::texts(&matches, "list") {
            let removed = name(&text).and_then(|list| {
                if drafts.all(&list)?.is_empty() {
                    bail!("No such manifest: {list}");
                }
                drafts.remove(&list)
            });
            if let Err(error) = removed
                && let Some(before) = failed.replace(error)
            {
                app::report(&before);
            }
        }
        failed.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

impl ManifestPlatform {
    fn of(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
            ..Self::default()
        }
    }
}
