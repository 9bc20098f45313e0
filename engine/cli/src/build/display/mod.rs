//! What is shown while a build runs, made of the engine's events.

mod failure;
mod plain;
mod steps;
mod tty;

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, bail};
use hull_api::build::SolveStatus;

use crate::screen::{Live, Stream, clean};

pub(crate) use failure::report;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rows that are drawn again, on a terminal.
    Tty,
    /// A line for everything that happens.
    Plain,
    /// The events as they are, a line of JSON each.
    RawJson,
    /// Nothing.
    Quiet,
}

impl Kind {
    /// What `--progress`, or `BUILDKIT_PROGRESS`, and `--quiet` ask for.
    ///
    /// # Errors
    /// A kind that there is not.
    pub(crate) fn choose(option: Option<&str>, quiet: bool) -> Result<Self> {
        let variable = std::env::var("BUILDKIT_PROGRESS").ok().filter(|value| !value.is_empty());
        let watched = Stream::Stderr.is_watched();
        match option.map(str::to_owned).or(variable).as_deref() {
            Some("auto" | "plain" | "tty" | "rawjson") if quiet && option.is_some() => {
                bail!("conflicting options: --quiet and --progress")
            }
            _ if quiet => Ok(Self::Quiet),
            None | Some("auto") => Ok(if watched { Self::Tty } else { Self::Plain }),
            Some("tty") if !watched => bail!("--progress tty: stderr is no terminal"),
            Some("tty") => Ok(Self::Tty),
            Some("plain") => Ok(Self::Plain),
            Some("rawjson") => Ok(Self::RawJson),
            Some("quiet") => Ok(Self::Quiet),
            Some(other) => {
                bail!("invalid progress mode {other}: it is auto, plain, tty, quiet or rawjson")
            }
        }
    }
}

/// Shows events.
pub(crate) struct Display {
    how: How,
    /// Warnings of lint rules, for the end: rule and what, with its line.
    warnings: Vec<String>,
}

enum How {
    Tty { live: Live, screen: tty::Screen },
    Plain(plain::Printer),
    RawJson,
    Quiet,
}

impl Display {
    pub(crate) fn new(kind: Kind) -> Self {
        let plain = || How::Plain(plain::Printer::default());
        let how = match kind {
            Kind::Tty => match Live::on(Stream::Stderr) {
                Some(live) => How::Tty { live, screen: tty::Screen::new(Instant::now()) },
                None => plain(),
            },
            Kind::Plain => plain(),
            Kind::RawJson => How::RawJson,
            Kind::Quiet => How::Quiet,
        };
        Self { how, warnings: Vec::new() }
    }

    /// Whether time alone changes what is shown.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.how, How::Tty { .. })
    }

    /// Takes in what happened.
    pub(crate) fn update(&mut self, status: &SolveStatus) {
        for warning in &status.warnings {
            let text = clean(&String::from_utf8_lossy(&warning.short));
            let line = warning.lines.map(|(line, _)| format!(" (line {line})")).unwrap_or_default();
            self.warnings.push(format!("{text}{line}"));
        }
        match &mut self.how {
            How::Tty { screen, .. } => screen.update(status),
            How::Plain(printer) => write(&printer.update(status)),
            How::RawJson => {
                if let Ok(text) = serde_json::to_string(status) {
                    write(&format!("{text}\n"));
                }
            }
            How::Quiet => {}
        }
    }

    /// Draws what changes with time.
    pub(crate) fn draw(&mut self) {
        if let How::Tty { live, screen } = &mut self.how {
            live.draw(&screen.lines(live.room(), Instant::now(), false));
        }
    }

    /// Shows the end.
    pub(crate) fn finish(&mut self) {
        match &mut self.how {
            How::Tty { live, screen } => {
                live.draw(&screen.lines((live.room().0, usize::MAX), Instant::now(), true));
                live.leave();
            }
            How::Plain(printer) => write(&printer.finish()),
            How::RawJson | How::Quiet => return,
        }
        if self.warnings.is_empty() {
            return;
        }
        let mut text = match self.warnings.len() {
            1 => "\n 1 warning found (use --check for more):\n".to_owned(),
            count => format!("\n {count} warnings found (use --check for more):\n"),
        };
        for warning in &self.warnings {
            text.push_str(&format!(" - {warning}\n"));
        }
        write(&text);
    }
}

/// Writes to stderr; one that is gone is nothing to tell about.
fn write(text: &str) {
    if !text.is_empty() {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
