//! `hull daemon`

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Arg, ArgMatches, Command};
use hull_daemon::server::{self, Listener};
use nix::sys::signal::Signal;

use crate::app::Context;
use crate::signals::Signals;
use crate::{host, options};

pub(crate) fn command() -> Command {
    Command::new("daemon").about("Serve the engine on a unix socket").args([
        Arg::new("host").short('H').long("host").value_name("ADDRESS").num_args(1).help(
            "Socket to listen on: unix:///path.sock, or fd:// for one that systemd hands over \
             (default unix:///run/hull/hull.sock)",
        ),
        options::value("group", Some('G'), "GROUP", "Group that may use the socket (default hull)"),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let service = context.client().service().context("a daemon serves its own engine")?.clone();
    let exec_root = service.engine().config().exec_root.clone();
    let exec_root = std::path::absolute(exec_root).context("cannot locate the exec root")?;
    let address = options::text(&matches, "host")
        .map_or_else(|| host::default_address(&exec_root), str::to_owned);
    let signals = Signals::take()?;
    let listener = Listener::bind(&address, options::text(&matches, "group"), &exec_root)?;
    service.prepare().await?;
    tracing::info!(address = listener.address(), "serving");
    server::ready();
    let stop = async {
        loop {
            match signals.next().await {
                Ok(Signal::SIGHUP) => reload(&listener),
                Ok(Signal::SIGTERM | Signal::SIGINT) | Err(_) => return server::stopping(),
                Ok(other) => tracing::info!(signal = other.as_str(), "ignored"),
            }
        }
    };
    server::serve(service, &listener, stop).await.context("cannot listen")?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Reads again what was read at the start: the group of the socket. There is no settings file.
fn reload(listener: &Listener) {
    server::reloading();
    match listener.reload() {
        Ok(()) => tracing::info!("reloaded: the socket's group was looked up again"),
        Err(error) => {
            tracing::error!(error = %format!("{:#}", anyhow::Error::from(error)), "not reloaded")
        }
    }
    server::ready();
}
