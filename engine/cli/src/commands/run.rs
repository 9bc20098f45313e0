//! `hull run`

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use hull_api::{ContainerCreateBody, ContainerWaitResponse};

use super::create;
use crate::app::{Context, Exit};
use crate::client::Client;
use crate::session::{self, Follow, Session};
use crate::signals::Signals;
use crate::stream::{End, Streams};
use crate::{options, out, terminal};

pub(crate) fn command() -> Command {
    options::with_container_options(
        Command::new("run").about("Create and run a new container from an image"),
    )
    .args([
        options::switch("detach", Some('d'), "Run container in background and print container ID"),
        options::value(
            "detach-keys",
            None,
            "KEYS",
            "Override the key sequence for detaching a container",
        ),
        options::switch("sig-proxy", None, "Proxy received signals to the process (default true)"),
    ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let client = context.client();
    let body = create::body(&matches)?;
    let detach = options::is_set(&matches, "detach");
    if detach
        || !(body.config.attach_stdin || body.config.attach_stdout || body.config.attach_stderr)
    {
        let signals = Signals::take()?;
        let created = create::create(client, &signals, &matches, &body).await?;
        signals.unless(session::start(client, &created.id)).await?;
        out::line(&created.id);
        return Ok(ExitCode::SUCCESS);
    }
    let session = session(&matches, &body)?;
    let signals = Signals::take()?;
    let created = create::create(client, &signals, &matches, &body).await?;
    let auto_remove = body.host_config.auto_remove;
    attached(client, &created.id, session, &signals, auto_remove).await
}

/// How this command is connected to the container.
fn session(matches: &ArgMatches, body: &ContainerCreateBody) -> Result<Session> {
    let config = &body.config;
    let failed = |error| Exit { error, code: 125 };
    let terminal = config.tty;
    if terminal && config.attach_stdin && !terminal::stdin_is_terminal() {
        return Err(failed(anyhow::anyhow!("the input device is not a TTY")).into());
    }
    let detach_keys = options::text(matches, "detach-keys");
    Ok(Session {
        streams: Streams {
            stdin: config.attach_stdin,
            terminal,
            detach_keys: session::detach_keys(detach_keys, terminal && config.attach_stdin)
                .map_err(failed)?,
        },
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        detach_keys: detach_keys.map(str::to_owned),
        forward_signals: matches.get_one::<bool>("sig-proxy").copied().unwrap_or(true),
    })
}

/// Attaches and waits before the start, so that nothing is missed, then stays until the end.
async fn attached(
    client: &Client,
    id: &str,
    session: Session,
    signals: &Signals,
    auto_remove: bool,
) -> Result<ExitCode> {
    let upgraded =
        session.attach(client, id, false).await.map_err(|error| Exit { error, code: 125 })?;
    let condition = if auto_remove { "removed" } else { "next-exit" };
    let waiting = session::begin_wait(client, id, condition).await?;
    if let Err(error) = session::start(client, id).await {
        // What the container could not write, nobody waits for.
        drop(upgraded);
        return Err(error);
    }
    let follow = Follow {
        client,
        object: &format!("/containers/{id}"),
        terminal: session.streams.terminal,
        signals_to: session.forward_signals.then_some(id),
    };
    if session.stay(upgraded, signals, &follow).await? == End::Detached {
        return Ok(ExitCode::SUCCESS);
    }
    let ended: ContainerWaitResponse = follow.during(signals, waiting.end()).await?;
    session::exit_code(&ended)
}
