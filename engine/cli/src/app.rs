//! From the words of a command line to a command and its exit code.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::{Result, bail};

use hull_daemon::{Clients, Config};

use crate::client::{ApiError, Client};
use crate::commands::{self, Entry};
use crate::{host, usage};

/// What every command may use.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    client: Client,
    /// The engine of this process, where another was named and it may be asked too.
    own: Option<Client>,
}

/// A command at work.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<ExitCode>>>>;

impl Context {
    /// The engine that the command line names.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The engine of this process, for what Docker's client does without an engine.
    pub(crate) fn own(&self) -> Option<&Client> {
        self.own.as_ref()
    }
}

/// A failure that has its own exit code.
#[derive(Debug)]
pub(crate) struct Exit {
    /// Printed, with its sources, where there is one.
    pub(crate) error: anyhow::Error,
    /// The exit code.
    pub(crate) code: u8,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:#}", self.error)
    }
}

impl std::error::Error for Exit {}

/// Options before the command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Globals {
    host: Option<String>,
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    log_level: Option<String>,
    version: bool,
    help: bool,
}

/// Runs the command line `words`, without the program's own name.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let outcome = parse_globals(words).and_then(|(globals, rest)| dispatch(globals, rest));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            if is_broken_pipe(&error) {
                return ExitCode::from(BROKEN_PIPE);
            }
            ExitCode::from(error.downcast_ref::<Exit>().map_or(1, |exit| exit.code))
        }
    }
}

fn dispatch(globals: Globals, rest: &[String]) -> Result<ExitCode> {
    if globals.version {
        crate::out::line(&format!("Hull version {}", env!("CARGO_PKG_VERSION")));
        return Ok(ExitCode::SUCCESS);
    }
    if globals.help || rest.is_empty() || rest == ["help"] {
        crate::out::line(commands::overview().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let (entry, words) = match commands::find(rest) {
        Ok(found) => found,
        Err(text) => {
            let code = u8::from(!text.starts_with("Usage:"));
            if code == 0 {
                crate::out::line(text.trim_end());
                return Ok(ExitCode::SUCCESS);
            }
            return Err(Exit { error: anyhow::anyhow!(text), code }.into());
        }
    };
    let mut command = (entry.command)().no_binary_name(true);
    let matches = match command.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            crate::out::text(&usage::help(entry, &command));
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(usage::complaint(entry, &command, &error, words).into()),
    };
    let level = globals.log_level.clone().or_else(|| entry.is_daemon().then(|| "info".to_owned()));
    if let Some(level) = level {
        log_to_stderr(&level, entry.logs_lines_of_json())?;
    }
    let context = context(globals, entry, entry.needs_root(&matches))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Never dropped: threads that still work are not waited for, and the end of the program
    // closes everything at once.
    let runtime = std::mem::ManuallyDrop::new(runtime);
    runtime.block_on((entry.run)(context, matches))
}

/// The engine that was named, or this process's own.
fn context(globals: Globals, entry: &Entry, needs_root: bool) -> Result<Context> {
    let folder = |given: Option<PathBuf>, name: &str, default: &str| {
        given
            .or_else(|| variable(name).map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(default))
    };
    let is_root = rustix::process::geteuid().is_root();
    let exec_root = folder(globals.exec_root, "HULL_EXEC_ROOT", "/run/hull");
    let mut named = None;
    if !entry.is_daemon() {
        if let Some(host) = globals.host.or_else(|| variable("HULL_HOST")) {
            named = Some(Client::at(host::socket(&host, variable)?));
        }
    } else if globals.host.is_some() {
        bail!(
            "--host is for clients: what to serve on is said after the command, see hull {} --help",
            entry.path
        );
    }
    if let Some(client) = named.take_if(|_| !(is_root && entry.is_for_registries_alone())) {
        return Ok(Context { client, own: None });
    }
    if named.is_none() && needs_root && !is_root {
        if let Some(path) = host::default_daemon(&exec_root).filter(|_| !entry.is_daemon()) {
            return Ok(Context { client: Client::at(path), own: None });
        }
        let code = if entry.starts_container() { 125 } else { 1 };
        let error = anyhow::anyhow!(
            "not root, and no engine to reach: run it as root, or name an engine's socket with --host unix:///path.sock"
        );
        return Err(Exit { error, code }.into());
    }
    let own = Client::own(Config {
        data_root: folder(globals.data_root, "HULL_DATA_ROOT", "/var/lib/hull"),
        exec_root,
        helpers: None,
        layer_mode: layer_mode()?,
        clients: if entry.is_daemon() { Clients::Many } else { Clients::Own },
    });
    Ok(match named {
        Some(client) => Context { client, own: Some(own) },
        None => Context { client: own, own: None },
    })
}

/// How layers are kept, where the user does not leave it to the host's abilities.
fn layer_mode() -> Result<Option<hull_daemon::LayerMode>> {
    match variable("HULL_LAYER_MODE").as_deref() {
        None => Ok(None),
        Some("erofs") => Ok(Some(hull_daemon::LayerMode::Erofs)),
        Some("unpack") => Ok(Some(hull_daemon::LayerMode::Unpack)),
        Some(other) => bail!("HULL_LAYER_MODE is {other:?}: it may be erofs or unpack"),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `json` where nobody reads along: then every line is one object.
fn log_to_stderr(level: &str, json: bool) -> Result<()> {
    let level = match level {
        "error" | "fatal" => "error",
        level @ ("warn" | "info" | "debug" | "trace") => level,
        _ => bail!("unable to parse logging level: {level}"),
    };
    let filter = tracing_subscriber::EnvFilter::try_new(level)?;
    let terminal = rustix::termios::isatty(std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json && !terminal {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(variable("NO_COLOR").is_none() && terminal).init();
    }
    Ok(())
}

/// Takes the options before the command off `words`.
fn parse_globals(words: &[String]) -> Result<(Globals, &[String])> {
    let mut globals = Globals::default();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        if !word.starts_with('-') || word == "-" {
            break;
        }
        rest = after;
        let (name, mut inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = || -> Result<String> {
            if let Some(value) = inline.take() {
                return Ok(value);
            }
            let Some((value, after)) = rest.split_first() else {
                bail!("flag needs an argument: {word}")
            };
            rest = after;
            Ok(value.clone())
        };
        match name {
            "-H" | "--host" => globals.host = Some(value()?),
            "--data-root" => globals.data_root = Some(value()?.into()),
            "--exec-root" => globals.exec_root = Some(value()?.into()),
            "-l" | "--log-level" => globals.log_level = Some(value()?),
            "-D" | "--debug" => globals.log_level = Some("debug".to_owned()),
            "-v" | "--version" => globals.version = true,
            "-h" | "--help" => globals.help = true,
            _ => {
                let error = anyhow::anyhow!(
                    "unknown flag: {word}\n\nRun 'hull --help' for more information"
                );
                return Err(Exit { error, code: 125 }.into());
            }
        }
    }
    Ok((globals, rest))
}

/// Prints an error: what happened, then advice if there is any.
pub(crate) fn report(error: &anyhow::Error) {
    if is_broken_pipe(error) {
        return;
    }
    let text = match error.downcast_ref::<Exit>() {
        Some(exit) => exit.to_string(),
        None => format!("{error:#}"),
    };
    if !text.is_empty() {
        crate::out::error(&format!("hull: {text}"));
    }
    let inner = error.downcast_ref::<Exit>().map_or(error, |exit| &exit.error);
    let hint = inner.chain().find_map(|cause| cause.downcast_ref::<ApiError>()?.hint.clone());
    if let Some(hint) = hint {
        crate::out::error(&format!("hint: {hint}"));
    }
}

/// The exit code that a shell shows for SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

/// Whoever read our output has enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<(Globals, Vec<String>)> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse_globals(&words).map(|(globals, rest)| (globals, rest.to_vec()))
    }

    #[test]
    fn options_before_the_command_are_the_programs() {
        let (globals, rest) =
            parse(&["-H", "unix:///a", "--data-root=/d", "--exec-root", "/e", "run", "-H", "x"])
                .unwrap();
        assert_eq!(globals.host.as_deref(), Some("unix:///a"));
        assert_eq!(globals.data_root, Some("/d".into()));
        assert_eq!(globals.exec_root, Some("/e".into()));
        assert_eq!(rest, ["run", "-H", "x"]);
    }

    #[test]
    fn wrong_ones_are_named() {
        assert!(parse(&["--host"]).unwrap_err().to_string().contains("--host"));
        assert!(parse(&["--colour", "run"]).unwrap_err().to_string().contains("--colour"));
    }
}
