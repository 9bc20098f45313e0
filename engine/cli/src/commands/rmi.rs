//! `hull rmi`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};
use hull_api::image::ImageDeleted;

use crate::app::Context;
use crate::client::{ApiError, encode, query};
use crate::{app, options, out};

pub(crate) fn command() -> Command {
    Command::new("rmi").about("Remove one or more images").args([
        options::switch("force", Some('f'), "Force removal of the image"),
        options::switch("no-prune", None, "Do not delete untagged parents"),
        options::list("platform", None, "PLATFORM", "Remove only the given platform variant"),
        Arg::new("image").value_name("IMAGE").num_args(1..).required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let force = options::is_set(&matches, "force");
    let one = |on: bool| on.then_some("1");
    let query =
        query(&[("force", one(force)), ("noprune", one(options::is_set(&matches, "no-prune")))]);
    super::each(&options::texts(&matches, "image"), async |name| {
        let path = format!("/images/{}{query}", encode(name));
        let deleted: Vec<ImageDeleted> = match context.client().delete(&path).await {
            Ok(deleted) => deleted,
            Err(error) if force && is_missing(&error) => {
                app::report(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        print(&deleted);
        Ok(())
    })
    .await
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|refusal| refusal.status == 404)
}

/// `Untagged: ...` and `Deleted: ...`, a line each.
pub(super) fn print(deleted: &[ImageDeleted]) {
    for item in deleted {
        if let Some(digest) = &item.deleted {
            out::line(&format!("Deleted: {digest}"));
        }
        if let Some(name) = &item.untagged {
            out::line(&format!("Untagged: {name}"));
        }
    }
}
