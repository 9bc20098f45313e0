//! The messages between the engine and a shim.
//!
//! All are JSON, length-prefixed, with descriptors beside them (`hull_sys::message`). A shim gets
//! one [`StartRequest`] on the socket that is its stdin and answers it there with
//! [`Reply::Started`] or [`Reply::Failed`]; when the container exits, [`Reply::Exited`] follows on
//! the same socket. Later each connection to `shim.sock` carries one [`Control`] and its replies.
//!
//! Containers outlive engines, so an engine talks to shims older than itself: requests carry
//! [`VERSION`], fields are only ever added with a default, and a shim answers a request that it
//! does not know with [`FailureKind::Invalid`].

use std::collections::BTreeMap;
use std::time::Duration;

use hull_sandbox::spec::{Process, Spec};
use hull_sandbox::{StartError, StartErrorKind};
use serde::{Deserialize, Serialize};

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// The most bytes a request may have: a seccomp profile and supplied files travel in one.
pub const MAX_START_BYTES: usize = 32 << 20;

/// The most bytes an answer may have.
pub const MAX_CONTROL_BYTES: usize = 1 << 20;

/// The control socket's name in the container's run directory.
pub const SOCKET: &str = "shim.sock";

/// The file in the container's run directory that a living shim holds locked (`flock`).
pub const LOCK: &str = "shim.lock";

/// Starts a container.
///
/// Descriptors come with it in this order: the container's directory, its run directory, the data
/// root, the directory of id range locks; `layers` layers, top first; the upper and the work
/// directory if `upper`; `trees` trees; one stream for each of `attaches`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRequest {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The sandbox to build; `spec.id` is the container's id.
    pub spec: Spec,
    /// How the log file is kept.
    #[serde(default)]
    pub log: LogConfig,
    /// Remove the container when it ends, and this with it (`--rm`).
    #[serde(default)]
    pub auto_remove: Option<Removal>,
    /// Whether to start it again when it ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How to find out whether it is well.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Give the container a stdin that clients can write to (`-i`); otherwise it reads as empty.
    #[serde(default)]
    pub open_stdin: bool,
    /// Close the container's stdin when the first client that attached to it is done writing.
    #[serde(default)]
    pub stdin_once: bool,
    /// Number of layer descriptors.
    pub layers: usize,
    /// Whether an upper and a work directory follow the layers.
    pub upper: bool,
    /// Number of tree descriptors, see `Spec::mounts`.
    #[serde(default)]
    pub trees: usize,
    /// What events of this container say of it: its name, image and labels. `None`: the shim
    /// writes no events.
    #[serde(default)]
    pub events: Option<BTreeMap<String, String>>,
    /// Volumes that are mounted in it, told of with each of its starts and ends.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// Streams that were attached before the start; they see every byte of output.
    #[serde(default)]
    pub attaches: Vec<AttachOptions>,
    /// A step of a build. Nothing of it is recorded on disk; the two streams attached are the
    /// process's stdout and stderr themselves; what still runs when the process ends is killed;
    /// [`Reply::Exited`] comes when the root file system is no longer used. The step ends with
    /// the connection. Further steps may follow on it, one at a time.
    #[serde(default)]
    pub step: bool,
}

/// What an event says of a volume that is mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume.
    pub name: String,
    /// Absolute path in the container.
    pub destination: String,
    /// The container may write to it.
    pub writable: bool,
}

/// Whether a container that ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whenever it ends by itself.
    Always,
    /// The same; the difference is for who starts containers when the host has started.
    UnlessStopped,
    /// When its exit code is not 0.
    OnFailure {
        /// How often at most; 0 is without end.
        most: u32,
    },
}

/// How to find out whether a container is well: a process that is run in it now and then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The process; exit code 0 means well.
    pub process: Process,
    /// From the end of one probe to the next.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Probes that must fail in a row, at least 1.
    pub retries: u32,
    /// How long after the start failures do not count, unless one probe has succeeded.
    pub start_period: Duration,
    /// The interval for as long as that, and until one has succeeded.
    pub start_interval: Duration,
}

/// How the log file is kept: `logs/container.log`, then `.1`, `.2` ... with the oldest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Bytes after which a new file begins; `None` never does.
    pub max_size: Option<u64>,
    /// Files kept, at least 1.
    pub max_file: u32,
    /// Keep none at all.
    #[serde(default)]
    pub disabled: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { max_size: Some(10 << 20), max_file: 3, disabled: false }
    }
}

/// What goes with a container that removes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The container's name; removed only if it still belongs to this container.
    pub name: String,
    /// Names of its anonymous volumes.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// What an attached stream is connected to.
///
/// From the shim it carries frames of `[stream, 0, 0, 0, big-endian u32 length]` and that many
/// bytes, where stream is 1 (stdout) or 2 (stderr); with a terminal plain bytes. To the shim it
/// carries plain bytes for stdin, and a half-close ends them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachOptions {
    /// Bytes from the client go to the process's stdin.
    pub stdin: bool,
    /// stdout (or the terminal's output) goes to the client.
    pub stdout: bool,
    /// stderr goes to the client; nothing with a terminal.
    pub stderr: bool,
    /// Bytes which, typed in a row on a terminal, detach the client. Empty for none.
    #[serde(default = "default_detach_keys")]
    pub detach_keys: Vec<u8>,
}

/// Docker's: ctrl-p, ctrl-q.
#[must_use]
pub fn default_detach_keys() -> Vec<u8> {
    vec![0x10, 0x11]
}

/// One request on the control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What is wanted.
    pub request: Request,
}

/// What a shim can be asked while its container runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Reply [`Reply::Done`], then this connection is the attached stream.
    Attach(AttachOptions),
    /// Run another process. Replies [`Reply::Started`], then at its end [`Reply::Exited`]. If
    /// `attach` is set, one descriptor comes with the request: the attached stream.
    Exec(ExecRequest),
    /// Keep an exec that any process may start later, see [`Request::ExecStart`]. Reply
    /// [`Reply::Done`]. The shim keeps the last 64 that were not started.
    ExecCreate(ExecRequest),
    /// Start an exec that was kept; from here on as [`Request::Exec`].
    ExecStart {
        /// Its id.
        id: String,
        /// Whether a stream comes with the request; its options are those it was made with.
        attach: bool,
        /// Columns and rows of its terminal, instead of those it was made with.
        #[serde(default)]
        size: Option<(u16, u16)>,
    },
    /// Send a signal to the first process. Reply [`Reply::Done`].
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The same, and what it asks for is the container's end: it is not started again, and its
    /// state remembers that somebody stopped it. One that waits to be started again ends now, one
    /// that is paused runs on. Reply [`Reply::Done`].
    Stop {
        /// The signal's number.
        signal: i32,
        /// Keep the container at this end even if it was to remove itself: it is to be started
        /// again.
        #[serde(default)]
        keep: bool,
    },
    /// Stop all processes where they are. Reply [`Reply::Done`]; until all have stopped may take
    /// a moment longer.
    Pause,
    /// Let them run again. Reply [`Reply::Done`].
    Unpause,
    /// Start the container by this from the next time on; its limits are written to the cgroup
    /// by the sender. Descriptors as with [`StartRequest`]. Reply [`Reply::Done`].
    Renew(Box<StartRequest>),
    /// Set the size of a terminal. Reply [`Reply::Done`].
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
        /// Of this exec; otherwise of the first process.
        #[serde(default)]
        exec: Option<String>,
    },
    /// Reply [`Reply::Exited`] when the container exits.
    Wait,
    /// Reply [`Reply::Exited`] when this exec ends, at once if it has.
    ExecWait {
        /// Id of the exec.
        id: String,
    },
    /// Reply [`Reply::Exec`].
    ExecInspect {
        /// Id of the exec.
        id: String,
    },
}

/// A further process in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Its id, chosen by the engine.
    pub id: String,
    /// What to run.
    pub process: Process,
    /// What its stream is connected to; `None` runs it detached, its output goes nowhere.
    #[serde(default)]
    pub attach: Option<AttachOptions>,
    /// What the engine wants to be told with the exec's state; the shim does not read it.
    #[serde(default)]
    pub about: String,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The container or the exec runs.
    Started {
        /// Process id in the engine's pid namespace.
        pid: u32,
    },
    /// It was done.
    Done,
    /// The container or the exec ended.
    Exited(Exit),
    /// State of an exec.
    Exec(ExecState),
    /// It was not done.
    Failed(Failure),
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, or 128 and the signal that ended it.
    pub code: i32,
    /// Whether the kernel killed something in the container for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// What went wrong in supervising it; empty if nothing did.
    #[serde(default)]
    pub error: String,
}

/// State of an exec. Those of the last 64 that ended are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Process id in the engine's pid namespace.
    pub pid: u32,
    /// `None` before its end.
    pub exit_code: Option<i32>,
    /// It was kept and not started yet.
    #[serde(default)]
    pub made: bool,
    /// [`ExecRequest::about`].
    #[serde(default)]
    pub about: String,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// One line: what, on what.
    pub message: String,
    /// What the user could do about it.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Kinds of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No such program in the container (exit code 127), or no such exec.
    NotFound,
    /// The program cannot be run: permission, a directory, another architecture, no interpreter
    /// (exit code 126).
    NotExecutable,
    /// The request makes no sense.
    Invalid,
    /// It cannot be done now, or not on this host.
    Unavailable,
    /// It cannot be done in the state the container is in.
    Precondition,
    /// It is not allowed.
    Denied,
    /// Anything else.
    Internal,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The exit code that Docker gives a container that could not be started for this reason.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self.kind {
            FailureKind::NotFound => 127,
            FailureKind::NotExecutable => 126,
            _ => 125,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let kind = match error.kind {
            StartErrorKind::NotFound => FailureKind::NotFound,
            StartErrorKind::NotExecutable => FailureKind::NotExecutable,
            StartErrorKind::Invalid => FailureKind::Invalid,
            StartErrorKind::Unavailable => FailureKind::Unavailable,
            StartErrorKind::Denied => FailureKind::Denied,
            StartErrorKind::Internal => FailureKind::Internal,
        };
        Self { kind, message: error.message, hint: error.hint }
    }
}
