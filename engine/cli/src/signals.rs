//! Signals as events: blocked, and read from a descriptor.

use std::io;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::app::Exit;
use crate::stdio::events;

/// What is passed on to a container, or ends this program once the terminal is as it was.
const TAKEN: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Incoming signals. From its making on they do nothing else to this program. Threads made later
/// inherit that; programs it starts do not, because the standard library gives them an empty mask.
#[derive(Debug)]
pub(crate) struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// Takes the signals over. To be called before other threads exist.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn take() -> Result<Self> {
        let mut set: SigSet = TAKEN.into_iter().collect();
        set.add(Signal::SIGWINCH);
        set.thread_block().context("cannot block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&set, flags).context("cannot receive signals")?;
        Ok(Self(events(descriptor, Interest::READABLE)?))
    }

    /// The next signal.
    pub(crate) async fn next(&self) -> io::Result<Signal> {
        loop {
            let mut guard = self.0.readable().await?;
            match self.0.get_ref().read_signal()? {
                Some(info) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                    if let Ok(signal) = Signal::try_from(number) {
                        return Ok(signal);
                    }
                }
                None => guard.clear_ready(),
            }
        }
    }

    /// Does `work`, unless a signal ends it: then the program ends as one that was killed.
    ///
    /// # Errors
    /// Those of `work`, or the signal.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.until(work).await.unwrap_or_else(|signal| Err(killed(signal)))
    }

    /// Does `work`, unless a signal comes that ends programs.
    ///
    /// # Errors
    /// The signal.
    pub(crate) async fn until<T>(&self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            biased;
            signal = self.deadly() => Err(signal),
            result = work => Ok(result),
        }
    }

    async fn deadly(&self) -> Signal {
        loop {
            match self.next().await {
                Ok(Signal::SIGWINCH) => {}
                Ok(signal) => return signal,
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// A silent end with the exit code that a shell shows for `signal`.
pub(crate) fn killed(signal: Signal) -> anyhow::Error {
    let code = u8::try_from(128 + signal as i32).unwrap_or(u8::MAX);
    Exit { error: anyhow::anyhow!(""), code }.into()
}
