//! `RUN --mount`.

/// One `--mount` of a `RUN`. Texts are as written; the plan expands them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: Kind,
    /// Where; `None` where the kind has a default.
    pub target: Option<String>,
    /// `from`: stage, image or named context.
    pub from: Option<String>,
    /// `source`: path within `from`, or within the build context.
    pub source: Option<String>,
    /// `id` of a cache, secret or ssh agent.
    pub id: Option<String>,
    /// Whether the mount cannot be written to.
    pub read_only: bool,
    /// `sharing` of a cache.
    pub sharing: Sharing,
    /// `required` of a secret or ssh agent.
    pub required: bool,
    /// `env` of a secret: the variable that gets it.
    pub env: Option<String>,
    /// `mode`, permission bits.
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `size` of a tmpfs in bytes.
    pub size: Option<u64>,
}

/// Kinds of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A tree of the context, a stage or an image.
    Bind,
    /// A directory that survives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file that no layer and no key contains.
    Secret,
    /// The socket of an ssh agent.
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One at a time; others get a new one.
    Private,
    /// One at a time; others wait.
    Locked,
}
