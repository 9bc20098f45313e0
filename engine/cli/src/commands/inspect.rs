//! `hull inspect` and its forms for one kind of object.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use http_body_util::BodyExt as _;
use hyper::Method;

use crate::app::{self, Context, Exit};
use crate::client::{ApiError, Client, empty, encode};
use crate::format::object::{self, ObjectTemplate};
use crate::registry::{self, Remote};
use crate::{options, out};

/// What can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Volume,
    /// What a registry says of an image.
    Remote,
}

const ALL: [Kind; 3] = [Kind::Container, Kind::Image, Kind::Volume];

impl Kind {
    fn path(self, name: &str, size: bool) -> String {
        let name = encode(name);
        match self {
            Self::Container if size => format!("/containers/{name}/json?size=1"),
            Self::Container => format!("/containers/{name}/json"),
            Self::Image => format!("/images/{name}/json"),
            Self::Volume => format!("/volumes/{name}"),
            Self::Remote => format!("/distribution/{name}/json"),
        }
    }
}

fn base(about: &'static str) -> Command {
    Command::new("inspect").about(about).args([
        options::value("format", Some('f'), "FORMAT", "Format output: 'json' or a Go template"),
        Arg::new("name").value_name("NAME|ID").num_args(1..).required(true),
    ])
}

fn size() -> Arg {
    options::switch("size", Some('s'), "Display total file sizes if the type is container")
}

pub(crate) fn command() -> Command {
    base("Return low-level information on objects").arg(size()).arg(options::value(
        "type",
        None,
        "KIND",
        "Only inspect objects of the given type",
    ))
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let size = options::is_set(&matches, "size");
    match options::text(&matches, "type") {
        None | Some("") => inspect(&context, &matches, &ALL, size).await,
        Some("container") => inspect(&context, &matches, &[Kind::Container], size).await,
        Some("image") => inspect(&context, &matches, &[Kind::Image], false).await,
        Some("volume") => inspect(&context, &matches, &[Kind::Volume], false).await,
        Some(other) => {
            bail!("unknown type: {other:?}: must be one of \"container\", \"image\", \"volume\"")
        }
    }
}

/// `hull container inspect`
pub(crate) mod container {
    use super::{ArgMatches, Command, Context, ExitCode, Kind, Result, options};

    pub(crate) fn command() -> Command {
        super::base("Display detailed information on one or more containers").arg(super::size())
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let size = options::is_set(&matches, "size");
        super::inspect(&context, &matches, &[Kind::Container], size).await
    }
}

/// `hull image inspect`
pub(crate) mod image {
    use super::{ArgMatches, Command, Context, ExitCode, Kind, Result, options};

    pub(crate) fn command() -> Command {
        super::base("Display detailed information on one or more images").args([options::switch(
            "remote",
            None,
            "Ask the registry: digest and platforms, without a pull",
        )])
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        let kind = if options::is_set(&matches, "remote") { Kind::Remote } else { Kind::Image };
        super::inspect(&context, &matches, &[kind], false).await
    }
}

/// `hull volume inspect`
pub(crate) mod volume {
    use super::{ArgMatches, Command, Context, ExitCode, Kind, Result};

    pub(crate) fn command() -> Command {
        super::base("Display detailed information on one or more volumes")
    }

    pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
        super::inspect(&context, &matches, &[Kind::Volume], false).await
    }
}

async fn inspect(
    context: &Context,
    matches: &ArgMatches,
    kinds: &[Kind],
    size: bool,
) -> Result<ExitCode> {
    let template = match options::text(matches, "format") {
        None | Some("") => None,
        Some(text) => {
            Some(ObjectTemplate::parse("", text).map_err(|error| Exit { error, code: 64 })?)
        }
    };
    let mut found = Vec::new();
    let mut failed: Option<anyhow::Error> = None;
    for name in options::texts(matches, "name") {
        match find(context.client(), kinds, &name, size).await {
            Ok(json) => found.push(json),
            Err(error) => {
                if let Some(before) = failed.replace(error) {
                    app::report(&before);
                }
            }
        }
    }
    match template {
        Some(template) => {
            if let Err(error) = render(&template, &found) {
                failed.get_or_insert(error);
            }
        }
        None => {
            let whole = [b"[".as_slice(), &found.join(&b","[..]), b"]"].concat();
            out::line(&String::from_utf8_lossy(&object::indent(&whole)));
        }
    }
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(error),
    }
}

fn render(template: &ObjectTemplate, found: &[Bytes]) -> Result<()> {
    let mut text = String::new();
    let result =
        found.iter().try_for_each(|json| template.render(&object::typed(json)?, &mut text));
    out::text(if text.is_empty() { "\n" } else { &text });
    result
}

/// The first kind of object that has this name, as it was sent.
async fn find(client: &Client, kinds: &[Kind], name: &str, size: bool) -> Result<Bytes> {
    for kind in kinds {
        let path = kind.path(name, size);
        let request = (Method::GET, path.as_str());
        let sent = if *kind == Kind::Remote {
            let image = registry::name(name)?.with_default_tag();
            let remote = Remote::of(&image).await;
            remote.send(client, request, None, empty()).await
        } else {
            client.send(request.0, request.1, None, empty()).await
        };
        match sent {
            Ok(response) => return Ok(response.into_body().collect().await?.to_bytes()),
            Err(error) => {
                let missing =
                    error.downcast_ref::<ApiError>().is_some_and(|refusal| refusal.status == 404);
                if kinds.len() == 1 || !missing {
                    return Err(error);
                }
            }
        }
    }
    Err(anyhow!("No such object: {name}"))
}
