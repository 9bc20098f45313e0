//! Further processes in a running container.

use crate::null;
use serde::{Deserialize, Serialize};

/// Body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecCreateBody {
    /// Connect the client's input.
    pub attach_stdin: bool,
    /// Connect standard output.
    pub attach_stdout: bool,
    /// Connect standard error.
    pub attach_stderr: bool,
    /// Keys that end the attachment, such as `ctrl-p,ctrl-q`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detach_keys: Option<String>,
    /// Give the process a terminal.
    pub tty: bool,
    /// Variables beside the container's, `NAME=value`.
    #[serde(deserialize_with = "null::or_default")]
    pub env: Vec<String>,
    /// Program and arguments.
    #[serde(deserialize_with = "null::or_default")]
    pub cmd: Vec<String>,
    /// Full capabilities.
    pub privileged: bool,
    /// `user[:group]`; empty for the container's.
    pub user: String,
    /// Working directory; empty for the container's.
    pub working_dir: String,
    /// Terminal size: rows, columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u16; 2]>,
}

/// Body of `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecStartBody {
    /// Do not connect; answer once the process runs.
    pub detach: bool,
    /// As in [`ExecCreateBody::tty`].
    pub tty: bool,
    /// Terminal size: rows, columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u16; 2]>,
}

/// Answer of `POST /containers/{id}/exec`: the id of the exec (and of a commit).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdResponse {
    /// The new object's id.
    pub id: String,
}

/// Answer of `GET /exec/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecInspectResponse {
    /// The exec's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether the process runs.
    #[serde(rename = "Running")]
    pub running: bool,
    /// Exit code once it ended.
    #[serde(rename = "ExitCode")]
    pub exit_code: Option<i64>,
    /// What it runs.
    #[serde(rename = "ProcessConfig")]
    pub process_config: ExecProcessConfig,
    /// Input is connected.
    #[serde(rename = "OpenStdin")]
    pub open_stdin: bool,
    /// Standard error is connected.
    #[serde(rename = "OpenStderr")]
    pub open_stderr: bool,
    /// Standard output is connected.
    #[serde(rename = "OpenStdout")]
    pub open_stdout: bool,
    /// Whether it may still be removed.
    #[serde(rename = "CanRemove")]
    pub can_remove: bool,
    /// Id of the container.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Its keys for detaching.
    #[serde(rename = "DetachKeys")]
    pub detach_keys: String,
    /// Process id on the host; 0 before the start.
    #[serde(rename = "Pid")]
    pub pid: i64,
}

/// The process of an exec, as inspection shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecProcessConfig {
    /// Has a terminal.
    pub tty: bool,
    /// Program.
    pub entrypoint: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Full capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// The user it was asked to run as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}
