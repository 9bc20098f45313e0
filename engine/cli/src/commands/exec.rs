//! `hull exec`

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use hull_api::{ExecCreateBody, ExecInspectResponse, ExecStartBody, IdResponse};

use crate::app::{Context, Exit};
use crate::client::{Client, encode};
use crate::session::{self, Follow, Session};
use crate::signals::Signals;
use crate::stream::{End, Streams};
use crate::{options, terminal};

pub(crate) fn command() -> Command {
    Command::new("exec")
        .about("Execute a command in a running container")
        .disable_help_flag(true)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print usage"))
        .args([
            options::switch("detach", Some('d'), "Detached mode: run command in the background"),
            options::value(
                "detach-keys",
                None,
                "KEYS",
                "Override the key sequence for detaching a container",
            ),
            options::list("env", Some('e'), "NAME=VALUE", "Set environment variables"),
            options::list("env-file", None, "FILE", "Read in a file of environment variables"),
            options::switch("interactive", Some('i'), "Keep STDIN open even if not attached"),
            options::switch("privileged", None, "Give extended privileges to the command"),
            options::switch("tty", Some('t'), "Allocate a pseudo-TTY"),
            options::value("user", Some('u'), "USER[:GROUP]", "User and group, by name or number"),
            options::value("workdir", Some('w'), "PATH", "Working directory inside the container"),
            Arg::new("words")
                .value_names(["CONTAINER", "COMMAND"])
                .help("The container, then the command and its arguments")
                .num_args(2..)
                .required(true)
                .trailing_var_arg(true),
        ])
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let client = context.client();
    let mut words = options::texts(&matches, "words").into_iter();
    let name = words.next().context("no container is named")?;
    let cmd: Vec<String> = words.collect();
    let detach = options::is_set(&matches, "detach");
    let terminal = options::is_set(&matches, "tty");
    let stdin = options::is_set(&matches, "interactive") && !detach;
    if terminal && stdin && !terminal::stdin_is_terminal() {
        bail!("the input device is not a TTY");
    }
    let keys = options::text(&matches, "detach-keys");
    let console_size =
        if terminal { terminal::size().map(|(columns, rows)| [rows, columns]) } else { None };
    let owned = |name| options::text(&matches, name).unwrap_or_default().to_owned();
    let body = ExecCreateBody {
        attach_stdin: stdin,
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach_keys: keys.map(str::to_owned),
        tty: terminal,
        env: options::environment(
            &options::texts(&matches, "env-file"),
            &options::texts(&matches, "env"),
        )?,
        cmd,
        privileged: options::is_set(&matches, "privileged"),
        user: owned("user"),
        working_dir: owned("workdir"),
        console_size,
    };
    let created: IdResponse =
        client.post(&format!("/containers/{}/exec", encode(&name)), &body).await?;
    let start = ExecStartBody { detach, tty: terminal, console_size };
    // Docker's engine knows no `refuse`, and tells a failure in the stream.
    let path = format!("/exec/{}/start?refuse=1", created.id);
    let failed = |error: anyhow::Error| {
        let code = session::code_of(&error);
        // Not a failure to run the command: a failure of the engine, which is 1 for exec.
        Exit { error, code: if code == 125 { 1 } else { code } }
    };
    if detach {
        let _: serde_json::Value = client.post(&path, &start).await.map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let signals = Signals::take()?;
    let upgraded = client.hijack(&path, &start).await.map_err(failed)?;
    let session = Session {
        streams: Streams {
            stdin,
            terminal,
            detach_keys: session::detach_keys(keys, terminal && stdin)?,
        },
        stdout: true,
        stderr: true,
        detach_keys: None,
        forward_signals: false,
    };
    let follow =
        Follow { client, object: &format!("/exec/{}", created.id), terminal, signals_to: None };
    if session.stay(upgraded, &signals, &follow).await? == End::Detached {
        return Ok(ExitCode::SUCCESS);
    }
    exit_code(client, &created.id).await
}

async fn exit_code(client: &Client, id: &str) -> Result<ExitCode> {
    let exec: ExecInspectResponse = client.get(&format!("/exec/{id}/json")).await?;
    let code = exec.exit_code.unwrap_or(0) & 0xff;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
