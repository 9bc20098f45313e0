//! `hull attach`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use hull_api::ContainerInspectResponse;

use crate::app::Context;
use crate::client::encode;
use crate::session::{self, Follow, Session};
use crate::signals::Signals;
use crate::stream::{End, Streams};
use crate::{options, terminal};

pub(crate) fn command() -> Command {
    Command::new("attach").about("Attach to a running container").args([
        options::value(
            "detach-keys",
            None,
            "KEYS",
            "Override the key sequence for detaching a container",
        ),
        options::switch("no-stdin", None, "Do not attach STDIN"),
        options::switch("sig-proxy", None, "Proxy received signals to the process (default true)"),
        Arg::new("container").value_name("CONTAINER").required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let client = context.client();
    let name = options::text(&matches, "container").unwrap_or_default();
    let container: ContainerInspectResponse =
        client.get(&format!("/containers/{}/json", encode(name))).await?;
    if !container.state.running {
        bail!("cannot attach to a stopped container, start it first");
    }
    if container.state.paused {
        bail!("cannot attach to a paused container, unpause it first");
    }
    let stdin = !options::is_set(&matches, "no-stdin") && container.config.open_stdin;
    let terminal = container.config.tty;
    if terminal && stdin && !terminal::stdin_is_terminal() {
        bail!("the input device is not a TTY");
    }
    let keys = options::text(&matches, "detach-keys");
    let session = Session {
        streams: Streams {
            stdin,
            terminal,
            detach_keys: session::detach_keys(keys, terminal && stdin)?,
        },
        stdout: true,
        stderr: true,
        detach_keys: keys.map(str::to_owned),
        forward_signals: matches.get_one::<bool>("sig-proxy").copied().unwrap_or(true) && !terminal,
    };
    let id = container.id.as_str();
    let signals = Signals::take()?;
    let waiting = session::begin_wait(client, id, "not-running").await?;
    let upgraded = session.attach(client, id, false).await?;
    let follow = Follow {
        client,
        object: &format!("/containers/{id}"),
        terminal,
        signals_to: session.forward_signals.then_some(id),
    };
    if session.stay(upgraded, &signals, &follow).await? == End::Detached {
        return Ok(ExitCode::SUCCESS);
    }
    session::exit_code(&follow.during(&signals, waiting.end()).await?)
}
