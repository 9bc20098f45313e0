//! `hull build`

use std::process::ExitCode;

use anyhow::Result;
use clap::ArgMatches;
use hull_api::SystemVersion;

use crate::app::Context;
use crate::build::context::Source;
use crate::build::options::{self, Call};
use crate::build::{check, classic, engine, proxies};
use crate::registry;
use crate::signals::Signals;

pub(crate) use crate::build::options::command;

/// Whether it asks no engine.
pub(crate) fn is_pure(matches: &ArgMatches) -> bool {
    // What is wrong with the option is said later.
    options::call(matches).is_ok_and(|(call, _)| call != Call::Build)
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let (call, format) = options::call(&matches)?;
    let mut request = options::request(&matches)?;
    let source = Source::find(&matches)?;
    if call != Call::Build {
        return check::run(call, format, &source, &request);
    }
    let signals = Signals::take()?;
    let client = context.client();
    // Who has no home has no proxies.
    if let Ok(store) = registry::store() {
        let host = client.socket().map(|path| format!("unix://{}", path.display()));
        proxies::add(store.folder(), host.as_deref(), &mut request.build_args)?;
    }
    let work = async {
        if client.service().is_some() {
            return engine::build(client, &matches, source, request).await;
        }
        let version: SystemVersion = client.get("/version").await?;
        if version.platform.name == "Hull" {
            return engine::build(client, &matches, source, request).await;
        }
        classic::build(client, &matches, source, &request).await
    };
    signals.unless(work).await
}
