//! Probes: a process that is run in the container now and then to find out whether it is well.
//!
//! Nothing here waits. A probe is started without waiting for its program to execute, has a
//! deadline from its first moment, and is killed when that is over; the next one begins only when
//! the last one's process is gone, so that those the kernel cannot end do not pile up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use hull_sandbox::{ExecStarting, Progress, Running, Stdio};
use hull_shim::protocol::HealthCheck;
use hull_shim::state::{Health, HealthStatus, Probe, now};
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use crate::exit::exit_code;
use crate::interest::Interest;

/// Bytes of output that are kept of a probe.
const MAX_OUTPUT: usize = 4096;

/// Probes that are remembered.
const REMEMBERED: usize = 5;

/// A pipe holds this much: more is not left of a probe that ended.
const MAX_LEFT: usize = 64 << 10;

/// The probes of one run of a container.
#[derive(Debug)]
pub(crate) struct Monitor {
    check: HealthCheck,
    started: Instant,
    /// When the next probe begins, if none is under way.
    due: Instant,
    suspended: bool,
    running: Option<Attempt>,
}

/// One probe under way.
#[derive(Debug)]
struct Attempt {
    stage: Stage,
    output: Option<OwnedFd>,
    text: Vec<u8>,
    cut: bool,
    start: String,
    began: Instant,
}

#[derive(Debug)]
enum Stage {
    /// Its program does not execute yet.
    Starting(ExecStarting),
    Running(OwnedFd),
    /// It was killed, and its result is known or of no interest.
    Killed(OwnedFd),
    /// Being moved from one to the other.
    Changing,
}

/// What happened to a probe.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token {
    Process,
    Output,
}

impl Monitor {
    /// Probes of a container that has just been started.
    pub(crate) fn new(check: HealthCheck) -> Self {
        let started = Instant::now();
        let mut monitor = Self { check, started, due: started, suspended: false, running: None };
        monitor.schedule(HealthStatus::Starting);
        monitor
    }

    /// Adds what to wait for.
    pub(crate) fn interest<'a, T: Copy>(
        &'a self,
        all: &mut Interest<'a, T>,
        token: impl Fn(Token) -> T,
    ) {
        let Some(attempt) = &self.running else {
            all.until((!self.suspended).then_some(self.due));
            return;
        };
        if let Some(output) = &attempt.output {
            all.add(output.as_fd(), PollFlags::IN, token(Token::Output));
        }
        match &attempt.stage {
            Stage::Starting(starting) => {
                all.add(starting.as_fd(), PollFlags::IN, token(Token::Process));
            }
            Stage::Running(pidfd) | Stage::Killed(pidfd) => {
                all.add(pidfd.as_fd(), PollFlags::IN, token(Token::Process));
            }
            Stage::Changing => {}
        }
        if !matches!(attempt.stage, Stage::Killed(_)) {
            all.until(Some(self.deadline(attempt)));
        }
    }

    /// Deals with what happened; a probe that ended by it.
    pub(crate) fn handle(&mut self, token: Token, health: &Health) -> Option<Probe> {
        let attempt = self.running.as_mut()?;
        if matches!(token, Token::Output) {
            attempt.read(MAX_OUTPUT);
            return None;
        }
        match std::mem::replace(&mut attempt.stage, Stage::Changing) {
            Stage::Starting(starting) => match starting.advance() {
                Ok(Progress::Starting(starting)) => {
                    attempt.stage = Stage::Starting(starting);
                    None
                }
                Ok(Progress::Started(process)) => {
                    attempt.stage = Stage::Running(process.pidfd);
                    None
                }
                Err(error) => self.end(-1, Some(error.message), health.status),
            },
            Stage::Running(pidfd) => {
                let code = exit_code(pidfd.as_fd());
                attempt.read(MAX_LEFT);
                self.end(code, None, health.status)
            }
            Stage::Killed(pidfd) => {
                exit_code(pidfd.as_fd());
                self.running = None;
                self.schedule(health.status);
                None
            }
            Stage::Changing => None,
        }
    }

    /// Does what is due: begins a probe, or gives up on one. A probe that ended by it.
    pub(crate) fn tick(&mut self, sandbox: &Running, health: &Health) -> Option<Probe> {
        let moment = Instant::now();
        let Some(attempt) = &self.running else {
            if self.suspended || moment < self.due {
                return None;
            }
            return match begin(sandbox, &self.check) {
                Ok(attempt) => {
                    self.running = Some(attempt);
                    None
                }
                Err(output) => {
                    self.schedule(health.status);
                    let time = now();
                    Some(Probe { start: time.clone(), end: time, exit_code: -1, output })
                }
            };
        };
        if matches!(attempt.stage, Stage::Killed(_)) || moment < self.deadline(attempt) {
            return None;
        }
        let timeout = go_duration(self.check.timeout);
        let attempt = self.kill()?;
        let mut output = format!("Health check exceeded timeout ({timeout})");
        if !attempt.text.is_empty() {
            output.push_str(": ");
            output.push_str(&attempt.shown());
        }
        let start = attempt.start.clone();
        Some(Probe { start, end: now(), exit_code: -1, output })
    }

    /// No probes for now: the container is paused.
    pub(crate) fn suspend(&mut self) {
        self.suspended = true;
        self.kill();
    }

    /// Probes again.
    pub(crate) fn resume(&mut self, health: &Health) {
        self.suspended = false;
        if self.running.is_none() {
            self.schedule(health.status);
        }
    }

    /// Enters a probe into what is known. Whether the container's status is another one now.
    pub(crate) fn record(&self, health: &mut Health, probe: Probe) -> bool {
        let before = health.status;
        if probe.exit_code == 0 {
            health.failing_streak = 0;
            health.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || !self.is_in_start_period() {
            health.failing_streak = health.failing_streak.saturating_add(1);
            if health.failing_streak >= self.check.retries {
                health.status = HealthStatus::Unhealthy;
            }
        }
        health.log.push(probe);
        health.log.drain(..health.log.len().saturating_sub(REMEMBERED));
        health.status != before
    }

    /// Kills the probe under way, if it is not killed already.
    fn kill(&mut self) -> Option<&Attempt> {
        let attempt = self.running.as_mut()?;
        attempt.read(MAX_OUTPUT);
        let pidfd = match std::mem::replace(&mut attempt.stage, Stage::Changing) {
            Stage::Starting(starting) => starting.kill(),
            Stage::Running(pidfd) => {
                // If it is gone already, that is as good.
                let _gone = pidfd_send_signal(&pidfd, Signal::KILL);
                pidfd
            }
            other => {
                attempt.stage = other;
                return None;
            }
        };
        attempt.stage = Stage::Killed(pidfd);
        attempt.output = None;
        Some(attempt)
    }

    fn end(&mut self, code: i32, error: Option<String>, status: HealthStatus) -> Option<Probe> {
        let attempt = self.running.take()?;
        self.schedule(status);
        let output = error.unwrap_or_else(|| attempt.shown());
        let Attempt { start, .. } = attempt;
        Some(Probe { start, end: now(), exit_code: code, output })
    }

    fn schedule(&mut self, status: HealthStatus) {
        let starting = status == HealthStatus::Starting && self.is_in_start_period();
        let wait = if starting { self.check.start_interval } else { self.check.interval };
        self.due = Instant::now() + wait;
    }

    fn is_in_start_period(&self) -> bool {
        self.started.elapsed() < self.check.start_period
    }

    fn deadline(&self, attempt: &Attempt) -> Instant {
        attempt.began + self.check.timeout
    }
}

fn begin(sandbox: &Running, check: &HealthCheck) -> Result<Attempt, String> {
    let no_pipe = |error: io::Error| format!("cannot make a pipe for the health check: {error}");
    let (read, write) = pipe().map_err(no_pipe)?;
    let second = write.try_clone().map_err(no_pipe)?;
    let stdio = Stdio { stdin: None, stdout: Some(write), stderr: Some(second) };
    let (start, began) = (now(), Instant::now());
    let starting = sandbox.begin_exec(&check.process, stdio).map_err(|error| error.message)?;
    let (output, text) = (Some(read), Vec::new());
    Ok(Attempt { stage: Stage::Starting(starting), output, text, cut: false, start, began })
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok((read, write))
}

impl Attempt {
    /// Reads what there is, at most about `most` bytes; keeps the beginning.
    fn read(&mut self, most: usize) {
        let mut buffer = [0; 4096];
        let mut left = most;
        while left > 0 {
            let Some(output) = &self.output else { return };
            match rustix::io::read(output, &mut buffer) {
                Ok(length @ 1..) => {
                    left = left.saturating_sub(length);
                    let room = MAX_OUTPUT - self.text.len();
                    self.cut |= length > room;
                    self.text.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Ok(0) | Err(_) => self.output = None,
            }
        }
    }

    fn shown(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if self.cut {
            text.push_str("...");
        }
        text
    }
}

/// As Go writes a duration: `1m30s`, `500ms`, `1.5s`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    if duration.as_secs() == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", f64::from(nanos) / 1e3),
            _ => format!("{}ms", f64::from(nanos) / 1e6),
        };
    }
    let (hours, rest) = (duration.as_secs() / 3600, duration.as_secs() % 3600);
    let (minutes, seconds) = (rest / 60, rest % 60);
    let fraction =
        if nanos == 0 { String::new() } else { format!("{:.9}", f64::from(nanos) / 1e9) };
    let fraction = fraction.trim_start_matches('0').trim_end_matches('0');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1.5s"),
            (30_000, "30s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    fn monitor(retries: u32, start_period: Duration) -> Monitor {
        let second = Duration::from_secs(1);
        let process = hull_sandbox::spec::Process {
            args: vec!["/probe".into()],
            env: vec![],
            cwd: "/".into(),
            user: String::new(),
            additional_groups: vec![],
            terminal: false,
            terminal_size: None,
            capabilities: vec![],
            no_new_privileges: true,
            rlimits: vec![],
        };
        Monitor::new(HealthCheck {
            process,
            interval: second,
            timeout: second,
            retries,
            start_period,
            start_interval: second / 2,
        })
    }

    fn results(monitor: &Monitor, codes: &[i32]) -> (Health, usize) {
        let mut health = Health::default();
        let changes = codes.iter().filter(|&&exit_code| {
            monitor.record(&mut health, Probe { exit_code, ..Probe::default() })
        });
        let changes = changes.count();
        (health, changes)
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let of = |codes: &[i32]| {
            let (health, changes) = results(&monitor(2, Duration::ZERO), codes);
            (health.status, health.failing_streak, changes, health.log.len())
        };
        use HealthStatus::{Healthy, Starting, Unhealthy};
        assert_eq!(of(&[1]), (Starting, 1, 0, 1));
        assert_eq!(of(&[1, 1]), (Unhealthy, 2, 1, 2));
        assert_eq!(of(&[1, 0, 1]), (Healthy, 1, 1, 3));
        assert_eq!(of(&[1, -1, 7, 0, 0, 0]), (Healthy, 0, 2, 5));
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_before_the_first_success() {
        let minute = Duration::from_secs(60);
        let (health, _) = results(&monitor(1, minute), &[1, 1, 1]);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        let (health, _) = results(&monitor(1, minute), &[0, 1]);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Unhealthy, 1));
    }
}
