//! `hull logout`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command};

use super::login::server;
use crate::app::Context;
use crate::credentials::Wanted;
use crate::{options, out, registry};

pub(crate) fn command() -> Command {
    Command::new("logout")
        .about("Log out from a registry")
        .arg(Arg::new("server").value_name("SERVER").num_args(0..=1))
}

pub(crate) async fn run(_: Context, matches: ArgMatches) -> Result<ExitCode> {
    let registry = server(options::text(&matches, "server"))?;
    let store = registry::store()?;
    out::line(&format!("Removing login credentials for {}", registry.server_address()));
    store.erase(&registry)?;
    if let Ok(Some(_)) = store.find(&Wanted::registry(registry.clone())) {
        out::error(&format!(
            "WARNING: there are more credentials for {registry}, in a file or variable that login \
             does not change"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
