//! `hull start`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Arg, ArgMatches, Command};
use hull_api::ContainerInspectResponse;

use crate::app::Context;
use crate::client::{Client, encode};
use crate::session::{self, Follow, Session};
use crate::signals::Signals;
use crate::stream::{End, Streams};
use crate::{options, out, terminal};

pub(crate) fn command() -> Command {
    Command::new("start").about("Start one or more stopped containers").args([
        options::switch("attach", Some('a'), "Attach STDOUT/STDERR and forward signals"),
        options::switch("interactive", Some('i'), "Attach container's STDIN"),
        options::value(
            "detach-keys",
            None,
            "KEYS",
            "Override the key sequence for detaching a container",
        ),
        Arg::new("container").value_name("CONTAINER").num_args(1..).required(true),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let client = context.client();
    let names = options::texts(&matches, "container");
    let interactive = options::is_set(&matches, "interactive");
    if options::is_set(&matches, "attach") || interactive {
        let [name] = names.as_slice() else {
            bail!("you cannot start and attach multiple containers at once");
        };
        return attached(client, name, interactive, options::text(&matches, "detach-keys")).await;
    }
    super::each(&names, async |name| {
        client.act(&format!("/containers/{}/start", encode(name))).await?;
        out::line(name);
        Ok(())
    })
    .await
}

async fn attached(
    client: &Client,
    name: &str,
    interactive: bool,
    keys: Option<&str>,
) -> Result<ExitCode> {
    let container: ContainerInspectResponse =
        client.get(&format!("/containers/{}/json", encode(name))).await?;
    let stdin = interactive && container.config.open_stdin;
    let terminal = container.config.tty;
    if terminal && stdin && !terminal::stdin_is_terminal() {
        bail!("the input device is not a TTY");
    }
    let session = Session {
        streams: Streams {
            stdin,
            terminal,
            detach_keys: session::detach_keys(keys, terminal && stdin)?,
        },
        stdout: true,
        stderr: true,
        detach_keys: keys.map(str::to_owned),
        forward_signals: !terminal,
    };
    let id = container.id.as_str();
    let signals = Signals::take()?;
    let upgraded = session.attach(client, id, false).await?;
    let condition = if container.host_config.auto_remove { "removed" } else { "next-exit" };
    let waiting = session::begin_wait(client, id, condition).await?;
    client.act(&format!("/containers/{id}/start")).await?;
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
