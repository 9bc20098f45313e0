//! Steps, expanded and ready to be executed.

use super::StageId;
use crate::Lines;
use crate::instruction::{Network, Security};
use crate::mode::Modes;
use crate::mount::Sharing;

/// One step of a stage: one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is to be done.
    pub action: Action,
    /// Where it is written; the `FROM` for a trigger of the base.
    pub lines: Lines,
    /// For display: `[build 2/5] RUN make`. Empty for [`Action::Config`].
    pub display: String,
    /// Index of its entry in the history of the stage's image; `None` for `ONBUILD`, which makes
    /// none. The entry's `empty_layer` says whether the step makes a layer.
    pub history: Option<usize>,
    /// Whether it is a trigger of the base.
    pub on_build: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a command; what it changes is a layer.
    Run(Box<RunStep>),
    /// Copies files into the tree: `COPY` and `ADD`; what it changes is a layer.
    Copy(Box<CopyStep>),
    /// Makes a directory; a layer, even if it was there.
    Workdir(WorkdirStep),
    /// Changed the image config only. Nothing is to be done.
    Config,
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    /// Program and arguments, the shell included.
    pub args: Vec<String>,
    /// A file that `args` execute: it is to be there, read-only, as `/dev/pipes/<name>` with mode
    /// 0755.
    pub script: Option<Script>,
    /// The whole environment from image and build arguments, in order, each name once.
    pub env: Vec<(String, String)>,
    /// Proxy variables from `--build-arg`, for the process's environment where `env` has no such
    /// name. They belong to no key, no history and no config.
    pub proxy: Vec<(String, String)>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `USER` as text, to be looked up in the stage's tree; empty is root.
    pub user: String,
    /// Mounts in order.
    pub mounts: Vec<RunMount>,
    /// The network.
    pub network: Network,
    /// The confinement.
    pub security: Security,
    /// `--device`, as written.
    pub devices: Vec<String>,
}

/// A heredoc that begins with `#!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its name: one path component.
    pub name: String,
    /// Its text.
    pub data: String,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The build context.
    Context,
    /// Another stage's tree, as it is at that stage's end.
    Stage(StageId),
    /// An image that is no stage, as written (not normalised), for the platform of the build.
    Image(String),
    /// A named context of the build.
    Named(String),
    /// An empty tree.
    Scratch,
}

/// A mount of a `RUN`. Targets are absolute and clean and never `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMount {
    /// A tree; what is written to it is discarded.
    Bind {
        /// Where from.
        from: Source,
        /// Path within it, absolute and clean: `/` is all of it.
        source: String,
        /// Where to.
        target: String,
        /// Whether it can be written to.
        writable: bool,
    },
    /// A directory that survives the build.
    Cache {
        /// Its identity: with the namespace of `BUILDKIT_CACHE_MOUNT_NS` before it, if there is one.
        id: String,
        /// What it begins with when it is new; `None` is empty.
        from: Option<Source>,
        /// Path within the cache (and within `from`), absolute and clean.
        source: String,
        /// Where to.
        target: String,
        /// Whether it cannot be written to.
        read_only: bool,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Mode of its root when it is made, 0755 if absent.
        mode: Option<u32>,
        /// Owner of its root when it is made.
        uid: Option<u32>,
        /// Group of its root when it is made.
        gid: Option<u32>,
    },
    /// Memory.
    Tmpfs {
        /// Where to.
        target: String,
        /// In bytes; `None` is the kernel's default.
        size: Option<u64>,
    },
    /// A secret, as a file, a variable or both.
    Secret {
        /// Which.
        id: String,
        /// The file; `None` if it is only a variable.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Whether the build fails if it was not given.
        required: bool,
        /// Mode of the file, 0400 if absent.
        mode: Option<u32>,
        /// Its owner.
        uid: Option<u32>,
        /// Its group.
        gid: Option<u32>,
    },
    /// The socket of an ssh agent; `SSH_AUTH_SOCK` names the first one.
    Ssh {
        /// Which agent, `default` unless said.
        id: String,
        /// The socket; `None`: `/run/buildkit/ssh_agent.N`, N counting from 0.
        target: Option<String>,
        /// Whether the build fails if it was not given.
        required: bool,
        /// Mode of the socket, 0600 if absent.
        mode: Option<u32>,
        /// Its owner.
        uid: Option<u32>,
        /// Its group.
        gid: Option<u32>,
    },
}

/// `COPY` or `ADD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStep {
    /// Whether it is `ADD`: local archives are unpacked unless `unpack` says otherwise.
    pub is_add: bool,
    /// What is copied, in order.
    pub sources: Vec<CopySource>,
    /// Where paths come from.
    pub from: Source,
    /// Where to: absolute; a trailing `/` says that it is a directory.
    pub destination: String,
    /// `--chown`: names or numbers, to be looked up in the stage's tree.
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<Modes>,
    /// `--link`: an independent layer.
    pub link: bool,
    /// `--parents`: the path of a source is kept, or what follows its `/./`.
    pub parents: bool,
    /// `--exclude`: patterns relative to the root of what is copied.
    pub exclude: Vec<String>,
    /// `--unpack`, if it is given.
    pub unpack: Option<bool>,
    /// `--keep-git-dir`
    pub keep_git_dir: bool,
    /// Whether the paths are of the build context (so `.dockerignore` counts).
    pub of_context: bool,
}

/// One source of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path within [`CopyStep::from`]: absolute and clean, perhaps with wildcards of Go's
    /// `filepath.Match`. With `--parents`, as written after expansion (`/./` counts).
    Path(String),
    /// A file at a URL. The name is that of the file where the destination is a directory.
    Url {
        /// `http://` or `https://`
        url: String,
        /// `--checksum`
        checksum: Option<String>,
    },
    /// A git repository.
    Git {
        /// With `#ref:directory` where it was given.
        remote: String,
        /// `--checksum`: the commit.
        checksum: Option<String>,
    },
    /// A file written in the Dockerfile, mode 0644.
    Inline {
        /// Its name.
        name: String,
        /// Its text, expanded unless its delimiter was quoted.
        data: String,
    },
}

/// `WORKDIR`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkdirStep {
    /// Absolute and clean, not `/`.
    pub path: String,
    /// Whose it becomes where it has to be made (all missing parents too): `USER` as text, empty is
    /// root.
    pub user: String,
}
