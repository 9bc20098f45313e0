//! `state.json`: what became of a container, written by its shim alone.
//!
//! ```text
//! (no file) ──start──► running ──exit──► exited ──start──► running ...
//!     └─start failed─► created  │ ▲      (shim killed: exited, by `recover`)
//!                          exit ▼ │ after the back-off, by its policy
//!                          restarting ──stop──► exited
//! ```
//!
//! The file is replaced by rename, never synced: a container does not survive the host, and what
//! a crash leaves is a state that `recover` turns into `exited`.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::protocol::{Exit, Removal};

/// Name of the file in the container's directory.
pub const FILE: &str = "state.json";

/// What the state of a container says whose shim was killed.
pub(crate) const LOST: &str = "supervisor lost";

const TEMPORARY: &str = "state.json.new";

/// The content of `state.json`. No file means: created, never started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Where in its life the container is.
    pub status: Status,
    /// The first process, in the pid namespace of the shim; 0 unless running.
    pub pid: u32,
    /// The shim; 0 unless running.
    pub shim_pid: u32,
    /// The boot during which it was started; empty where nobody will ask, for with auto-remove
    /// no record is left.
    pub boot_id: String,
    /// When it last started, RFC 3339 with nanoseconds, UTC.
    pub started_at: Option<String>,
    /// When it last ended, as above.
    pub finished_at: Option<String>,
    /// Exit code of its last run; of a failed start 125, 126 or 127.
    pub exit_code: i32,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// Why it could not be started, or was lost; empty otherwise.
    pub error: String,
    /// What to remove when it ends.
    #[serde(default)]
    pub auto_remove: Option<Removal>,
    /// Its processes are stopped where they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// Somebody ended it: `unless-stopped` leaves it so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub manually_stopped: bool,
    /// How often its policy has started it since somebody did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_count: u32,
    /// What its probes found; none without probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What a container's probes found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is to be thought of it.
    pub status: HealthStatus,
    /// Probes that have failed in a row.
    pub failing_streak: u32,
    /// The last few, the oldest first.
    pub log: Vec<Probe>,
}

/// Whether a container is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// The last probe that counts succeeded.
    Healthy,
    /// Too many failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began, as [`now`].
    pub start: String,
    /// When it ended.
    pub end: String,
    /// Its exit code; -1 if it could not be run or took too long.
    pub exit_code: i32,
    /// The beginning of what it printed, or why it has no exit code.
    pub output: String,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Never ran; the last attempt to start it failed.
    Created,
    /// Its first process runs, if its shim does.
    Running,
    /// It ended, and its shim waits to start it again.
    Restarting,
    /// It ended.
    Exited,
}

/// `state.json` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It could not be read.
    #[error("cannot read {FILE} of container")]
    Read(#[source] io::Error),
    /// It is not what a shim writes.
    #[error("{FILE} of container is damaged")]
    Damaged(#[source] serde_json::Error),
    /// It could not be written.
    #[error("cannot write {FILE} of container")]
    Write(#[source] io::Error),
}

impl ContainerState {
    /// The state of a container that has just been started.
    #[must_use]
    pub fn running(pid: u32, auto_remove: Option<Removal>) -> Self {
        Self {
            status: Status::Running,
            pid,
            shim_pid: std::process::id(),
            boot_id: if auto_remove.is_some() { String::new() } else { boot_id() },
            started_at: Some(now()),
            finished_at: None,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            auto_remove,
            paused: false,
            manually_stopped: false,
            restart_count: 0,
            health: None,
        }
    }

    /// Whether a shim holds the container, if that shim lives: it runs, or will again.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.status, Status::Running | Status::Restarting)
    }

    /// Whether it ended because its shim was killed, which could not apply its policy then.
    #[must_use]
    pub fn has_lost_its_shim(&self) -> bool {
        self.status == Status::Exited && self.error == LOST
    }

    /// Whether it last ran before the host was started.
    #[must_use]
    pub fn is_of_an_earlier_boot(&self) -> bool {
        self.started_at.is_some() && !self.is_held() && self.boot_id != boot_id()
    }

    /// The state after a start that failed before the first process ran.
    #[must_use]
    pub fn not_started(before: Option<Self>, exit_code: i32, error: String) -> Self {
        let before = before.unwrap_or_else(|| Self {
            status: Status::Created,
            started_at: None,
            ..Self::running(0, None)
        });
        Self { pid: 0, shim_pid: 0, exit_code, error, ..before }
    }

    /// The state after a further start by the container's policy.
    #[must_use]
    pub fn started_again(self, pid: u32) -> Self {
        let Self { manually_stopped, restart_count, auto_remove, finished_at, .. } = self;
        Self { manually_stopped, restart_count, finished_at, ..Self::running(pid, auto_remove) }
    }

    /// The state after an end that is to be followed by a start.
    #[must_use]
    pub fn restarting(self, exit: &Exit) -> Self {
        let restart_count = self.restart_count.saturating_add(1);
        let Self { shim_pid, .. } = self;
        Self { status: Status::Restarting, shim_pid, restart_count, ..self.exited(exit) }
    }

    /// The state after the first process ended.
    #[must_use]
    pub fn exited(self, exit: &Exit) -> Self {
        Self {
            status: Status::Exited,
            pid: 0,
            shim_pid: 0,
            finished_at: Some(now()),
            exit_code: exit.code,
            oom_killed: exit.oom_killed,
            error: exit.error.clone(),
            paused: false,
            ..self
        }
    }

    /// Reads the state from the container's directory; `None` for a container never started.
    ///
    /// # Errors
    /// `Read` if the file is there but cannot be read, `Damaged` if it cannot be parsed.
    pub fn read(container: BorrowedFd<'_>) -> Result<Option<Self>, StateError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(container, FILE, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other.map_err(|error| StateError::Read(error.into()))?,
        };
        let mut bytes = Vec::with_capacity(1024);
        std::fs::File::from(file).read_to_end(&mut bytes).map_err(StateError::Read)?;
        serde_json::from_slice(&bytes).map(Some).map_err(StateError::Damaged)
    }

    /// Replaces the state in the container's directory. Only the holder of `shim.lock` may.
    ///
    /// # Errors
    /// `Write` if it fails; the old state is then still there.
    pub fn write(&self, container: BorrowedFd<'_>) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(self).map_err(|error| StateError::Write(error.into()))?;
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let file = rustix::fs::openat(container, TEMPORARY, flags, mode)?;
            std::fs::File::from(file).write_all(&bytes)?;
            Ok(rustix::fs::renameat(container, TEMPORARY, container, FILE)?)
        };
        write().map_err(StateError::Write)
    }
}

/// The current time as it is written in states and logs.
#[must_use]
pub fn now() -> String {
    Timestamp::now().to_string()
}

/// The kernel's id of this boot; empty if it cannot be read.
#[must_use]
pub fn boot_id() -> String {
    // Not `read_to_string`: that takes twice as many system calls, on the way of every start.
    let mut id = [0; 64];
    let file = std::fs::File::open("/proc/sys/kernel/random/boot_id");
    let length = file.and_then(|mut file| file.read(&mut id)).unwrap_or(0);
    String::from_utf8_lossy(&id[..length]).trim_end().to_owned()
}
