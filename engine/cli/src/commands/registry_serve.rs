//! `hull registry serve`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{ArgMatches, Command};
use hull_daemon::registry::{self, Options, Server};
use hull_daemon::server;
use nix::sys::signal::Signal;

use crate::app::Context;
use crate::options;
use crate::signals::Signals;

pub(crate) fn command() -> Command {
    let value = options::value;
    Command::new("serve").about("Serve images of this host as a registry, and take pushed ones").args([
        value("addr", None, "ADDRESS", "Address to listen on (default 127.0.0.1:5000)"),
        value(
            "name",
            None,
            "NAME",
            "Registry part of the served images' names: NAME/app is served as app (default the address)",
        ),
        value("tls-cert", None, "FILE", "Certificate chain (PEM)"),
        value("tls-key", None, "FILE", "Key of the certificate (PEM)"),
        value("htpasswd", None, "FILE", "Users, with bcrypt hashes of their passwords (htpasswd -B)"),
        value("config", None, "FILE", "Everything else: rules, quotas, limits (registry.toml)"),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let service = context.client().service().context("a registry serves its own engine")?.clone();
    let text = |name| options::text(&matches, name).map(str::to_owned);
    let path = |name| options::text(&matches, name).map(PathBuf::from);
    let options = Options {
        config: path("config"),
        addr: text("addr"),
        name: text("name"),
        tls_cert: path("tls-cert"),
        tls_key: path("tls-key"),
        htpasswd: path("htpasswd"),
    };
    let signals = Signals::take()?;
    let started = registry::start(service.engine(), options).await?;
    let address = started.server.address();
    tracing::info!(%address, name = started.name, "serving");
    server::ready();
    let stop = async {
        loop {
            match signals.next().await {
                Ok(Signal::SIGHUP) => reload(&started.server),
                Ok(Signal::SIGTERM | Signal::SIGINT) | Err(_) => return server::stopping(),
                Ok(other) => tracing::info!(signal = other.as_str(), "ignored"),
            }
        }
    };
    started.server.serve(stop).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Reads the certificates again; the users are read again whenever their file changes.
fn reload(server: &Server) {
    server::reloading();
    match server.reload() {
        Ok(()) => tracing::info!("reloaded: the certificates were read again"),
        Err(error) => {
            tracing::error!(error = %format!("{:#}", anyhow::Error::from(error)), "not reloaded");
        }
    }
    server::ready();
}
