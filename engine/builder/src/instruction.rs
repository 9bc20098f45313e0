//! What a Dockerfile says: stages of instructions, before any variable is expanded.

use crate::Lines;

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dockerfile {
    /// The directives at its top.
    pub directives: Directives,
    /// `ARG` before the first `FROM`.
    pub global_args: Vec<Statement>,
    /// The stages, at least one.
    pub stages: Vec<Stage>,
    /// Lines of empty continuations, which are skipped.
    pub empty_continuations: Vec<Lines>,
    /// The text, for excerpts.
    pub source: crate::Source,
}

/// The directives at the very top of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: the frontend it was written for. Ours is built in; this is only reported.
    pub syntax: Option<String>,
    /// `# escape=`, a backslash if it is absent.
    pub escape: char,
    /// `# check=`, as written.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// From one `FROM` to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name behind `AS`, in lower case.
    pub name: Option<String>,
    /// The name as it was written.
    pub written_name: Option<String>,
    /// The word `AS` as it was written.
    pub written_as: Option<String>,
    /// The keyword `FROM` as it was written.
    pub keyword: String,
    /// What it begins with, before expansion.
    pub base: String,
    /// `--platform`, before expansion.
    pub platform: Option<String>,
    /// Where the `FROM` is.
    pub lines: Lines,
    /// The `FROM` line as written, continuations joined.
    pub text: String,
    /// Comments directly above the `FROM`, without `#`.
    pub comments: Vec<String>,
    /// The instructions of the stage.
    pub statements: Vec<Statement>,
}

/// One instruction and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub instruction: Instruction,
    /// The keyword as it was written.
    pub keyword: String,
    /// Its lines, heredocs included.
    pub lines: Lines,
    /// As written, continuations joined, without heredoc bodies.
    pub text: String,
    /// Comments directly above it, without `#`.
    pub comments: Vec<String>,
}

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD`
    Add(Copy),
    /// `ARG`
    Arg(Vec<Argument>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<Pair>),
    /// `EXPOSE`, its words
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(hull_oci::Healthcheck),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`, the instruction verbatim, heredoc bodies included
    Onbuild(String),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    Stopsignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

impl Instruction {
    /// Its keyword in capitals.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A command in either form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A JSON array.
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
}

/// `name=value`, or `name value` in the old form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name, before expansion.
    pub name: String,
    /// The value, before expansion, quotes included.
    pub value: String,
    /// Whether it was written without `=`.
    pub legacy: bool,
}

/// One name of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// The default, before expansion.
    pub default: Option<String>,
    /// The comment directly above that describes it.
    pub description: Option<String>,
}

/// A heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// Its delimiter, which is the name of the file.
    pub name: String,
    /// Its lines, each with its line end.
    pub data: String,
    /// Whether variables in it are expanded: the delimiter was not quoted.
    pub expand: bool,
    /// `<<-`: leading tabs go.
    pub chomp: bool,
    /// The descriptor before `<<`, if any.
    pub descriptor: Option<u32>,
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// Its heredocs in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, before expansion and parsing: their kind may be a variable.
    pub mounts: Vec<String>,
    /// `--network`
    pub network: Network,
    /// `--security`
    pub security: Security,
    /// `--device`, as written.
    pub devices: Vec<String>,
}

/// The network of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Network {
    /// What the build as a whole uses.
    #[default]
    Default,
    /// No network.
    None,
    /// The host's; needs to be granted.
    Host,
}

/// The confinement of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Security {
    /// As every container.
    #[default]
    Sandbox,
    /// Unconfined; needs to be granted.
    Insecure,
}

/// `COPY` and `ADD`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// Paths, URLs and (as `<<name`) heredocs, in order, before expansion.
    pub sources: Vec<String>,
    /// Heredocs among the sources, in order.
    pub heredocs: Vec<Heredoc>,
    /// Where to, before expansion.
    pub destination: String,
    /// `--from`
    pub from: Option<String>,
    /// `--chown`, before expansion.
    pub chown: Option<String>,
    /// `--chmod`, before expansion.
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// `--checksum`, before expansion.
    pub checksum: Option<String>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--unpack`
    pub unpack: Option<bool>,
}
