//! What one sandbox is made of, already resolved.
//!
//! A [`Spec`] knows nothing of images, names or the store: `hull-daemon` writes it, the shim
//! receives it as JSON and hands it to [`crate::start`]. Trees (layers, volumes, bind sources)
//! are not named here by path: they travel as descriptors beside it, see [`crate::Inputs`].

use serde::{Deserialize, Serialize};

/// Everything the sandbox of one container is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The container's id: names its cgroup.
    pub id: String,
    /// The first process.
    pub process: Process,
    /// UTS host name.
    pub hostname: String,
    /// NIS domain name, empty for none.
    #[serde(default)]
    pub domainname: String,
    /// How the root file system is put together.
    pub rootfs: Rootfs,
    /// Which user namespace the container lives in.
    pub userns: UserNamespace,
    /// Which network namespace the container lives in.
    pub network: Network,
    /// Mounts beyond the standard ones (proc, sys, dev, pts, shm, mqueue, cgroup), in order.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Small files the engine supplies (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`),
    /// each bound over its path in the container, writable by the container.
    #[serde(default)]
    pub files: Vec<SuppliedFile>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Full access: all host devices, writable `/sys` and cgroups, no masks. Implies the host's
    /// user namespace; capabilities and seccomp are stated in `process` all the same.
    #[serde(default)]
    pub privileged: bool,
    /// Paths hidden behind an empty directory or `/dev/null`, where they exist.
    #[serde(default)]
    pub masked_paths: Vec<String>,
    /// Paths made read-only, where they exist.
    #[serde(default)]
    pub readonly_paths: Vec<String>,
    /// cgroup limits.
    #[serde(default)]
    pub resources: Resources,
    /// Run a minimal init as pid 1 that reaps and forwards signals (`--init`).
    #[serde(default)]
    pub init: bool,
    /// Seccomp filter of the container and of every exec in it.
    pub seccomp: Seccomp,
    /// `oom_score_adj` of the first process, -1000..=1000.
    #[serde(default)]
    pub oom_score_adj: i32,
}

/// A process to run in a sandbox: the container's first, or an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; never empty. Without a slash, the program is searched in PATH of `env`.
    pub args: Vec<String>,
    /// `NAME=value`, in order. The sandbox adds HOME where it is missing.
    pub env: Vec<String>,
    /// Absolute working directory; created in the container where it is missing.
    pub cwd: String,
    /// `""`, `user`, `uid`, `user:group`, `uid:gid` ...: looked up in the container's own
    /// `/etc/passwd` and `/etc/group`. All digits is always a number, never a name.
    pub user: String,
    /// Groups (names or numbers) beside those of the user.
    #[serde(default)]
    pub additional_groups: Vec<String>,
    /// Whether the process gets a pseudo terminal as stdin, stdout and stderr.
    pub terminal: bool,
    /// Initial terminal size: columns, rows.
    #[serde(default)]
    pub terminal_size: Option<(u16, u16)>,
    /// Bounding set, by kernel name (`CAP_KILL`). For uid 0 also permitted and effective.
    pub capabilities: Vec<String>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// Resource limits.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Docker's name, lower case without `RLIMIT_`: `nofile`, `core`, `nproc` ...
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// The root file system: an overlay of [`crate::Inputs::layers`] and, unless read-only without
/// an upper, [`crate::Inputs::upper`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Mount the root read-only (`--read-only`).
    pub readonly: bool,
    /// The upper directory is thrown away with the container: mount with `volatile`.
    pub volatile: bool,
}

/// User namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserNamespace {
    /// A namespace of its own with a private range of at least `size` ids (>= 65536), chosen at
    /// start under a lock in `Inputs::id_ranges`.
    Private {
        /// Ids needed: all that the image's layers use.
        size: u32,
    },
    /// The host's.
    Host,
}

/// Network namespace of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A namespace of its own that holds only `lo`, up.
    None,
    /// The host's.
    Host,
}

/// One mount of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container; missing parts are created.
    pub destination: String,
    /// What is mounted.
    pub source: MountSource,
    /// Read-only (recursively for binds).
    pub readonly: bool,
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A tree that arrives as an `open_tree` clone: bind mounts and volumes.
    Tree {
        /// Index into [`crate::Inputs::trees`].
        tree: usize,
        /// Translate ids so that files keep their owner on the host. Trees of `/dev`, `/proc` and
        /// `/sys` cannot be translated; a file system that refuses fails the start.
        idmap: bool,
        /// The path on the host, for messages only.
        shown: String,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Size in bytes; the kernel's default where absent.
        size: Option<u64>,
        /// Mode of its root, e.g. 0o1777.
        mode: Option<u32>,
        /// Allow programs to run from it (Docker's `--tmpfs` default is noexec).
        exec: bool,
    },
}

/// A file whose content the engine supplies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppliedFile {
    /// Absolute path in the container.
    pub path: String,
    /// The content.
    pub content: String,
}

/// cgroup limits; absent means none. Units as in the Engine API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited swap.
    pub memory_swap: Option<i64>,
    /// Bytes, soft limit.
    pub memory_reservation: Option<u64>,
    /// CPU time in billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Microseconds of CPU time per period, -1 for none.
    pub cpu_quota: Option<i64>,
    /// Length of the period in microseconds.
    pub cpu_period: Option<u64>,
    /// Relative weight, v1 scale 2..=262144.
    pub cpu_shares: Option<u64>,
    /// CPU list such as `0-1,3`.
    pub cpuset_cpus: Option<String>,
    /// Memory node list.
    pub cpuset_mems: Option<String>,
    /// Number of processes; -1 is unlimited.
    pub pids_limit: Option<i64>,
}

/// Seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// The built-in profile, for the capabilities of the container's first process.
    Default,
    /// A profile in Docker's JSON format, as text.
    Profile(String),
    /// None.
    Unconfined,
}
