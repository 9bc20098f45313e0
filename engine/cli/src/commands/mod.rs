//! The commands: which there are, and a file for each.

mod attach;
mod build;
mod commit;
mod cp;
mod create;
mod daemon;
mod diff;
mod events;
mod exec;
mod export;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod manifest;
mod pause;
mod prune;
mod ps;
mod pull;
mod push;
mod registry_serve;
mod rename;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod start;
mod stats;
mod stop;
mod system_check;
mod system_df;
mod tag;
mod top;
mod update;
mod version;
mod volume;
mod wait;

use std::fmt::Write as _;

use clap::{ArgMatches, Command};

use crate::app::{Context, Running};

/// One command.
pub(crate) struct Entry {
    /// Its words: `run`, `container ls`.
    pub(crate) path: &'static str,
    /// Other words for it.
    aliases: &'static [&'static str],
    /// One line for the overview.
    about: &'static str,
    /// Its options and arguments.
    pub(crate) command: fn() -> Command,
    /// Does it.
    pub(crate) run: fn(Context, ArgMatches) -> Running,
    needs_root: bool,
}

impl Entry {
    /// The same, where it asks no engine.
    const fn for_everybody(self) -> Self {
        Self { needs_root: false, ..self }
    }

    /// One line that says what it does.
    pub(crate) fn about(&self) -> &'static str {
        self.about
    }

    /// All its words.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.path).chain(self.aliases.iter().copied())
    }

    /// Whether the engine in this process can only do it as root, with these options.
    pub(crate) fn needs_root(&self, matches: &ArgMatches) -> bool {
        self.needs_root && !(self.path == "build" && build::is_pure(matches))
    }

    /// Whether it is the engine for others instead of asking one.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self.path, "daemon" | "registry serve")
    }

    /// Whether its log is for programs where it does not go to a terminal.
    pub(crate) fn logs_lines_of_json(&self) -> bool {
        self.path == "registry serve"
    }

    /// Whether it has to do with a registry and with nothing that an engine keeps.
    pub(crate) fn is_for_registries_alone(&self) -> bool {
        self.path.starts_with("manifest ")
    }

    /// Whether its exit codes are those of a container.
    pub(crate) fn starts_container(&self) -> bool {
        matches!(self.path, "run" | "create" | "start" | "exec")
    }
}

/// One line of the table below.
macro_rules! entry {
    ($path:literal, [$($alias:literal),*], $($module:ident)::+, $about:literal) => {
        Entry {
            path: $path,
            aliases: &[$($alias),*],
            about: $about,
            command: $($module)::+::command,
            run: |context, matches| Box::pin($($module)::+::run(context, matches)),
            needs_root: true,
        }
    };
}

/// Every command, in the order of the overview.
static COMMANDS: &[Entry] = &[
    entry!(
        "build",
        ["image build", "builder build", "buildx build"],
        build,
        "Build an image from a Dockerfile"
    ),
    entry!("run", ["container run"], run, "Create and run a new container from an image"),
    entry!("create", ["container create"], create, "Create a new container"),
    entry!("start", ["container start"], start, "Start one or more stopped containers"),
    entry!("stop", ["container stop"], stop, "Stop one or more running containers"),
    entry!("restart", ["container restart"], stop::restart, "Restart one or more containers"),
    entry!(
        "pause",
        ["container pause"],
        pause,
        "Pause all processes within one or more containers"
    ),
    entry!(
        "unpause",
        ["container unpause"],
        pause::unpause,
        "Unpause all processes within one or more containers"
    ),
    entry!(
        "update",
        ["container update"],
        update,
        "Update configuration of one or more containers"
    ),
    entry!("top", ["container top"], top, "Display the running processes of a container"),
    entry!(
        "stats",
        ["container stats"],
        stats,
        "Display a live stream of container(s) resource usage statistics"
    ),
    entry!("rename", ["container rename"], rename, "Rename a container"),
    entry!("kill", ["container kill"], kill, "Kill one or more running containers"),
    entry!(
        "wait",
        ["container wait"],
        wait,
        "Block until containers stop, then print their exit codes"
    ),
    entry!("rm", ["container rm", "container remove"], rm, "Remove one or more containers"),
    entry!("exec", ["container exec"], exec, "Execute a command in a running container"),
    entry!("attach", ["container attach"], attach, "Attach to a running container"),
    entry!("ps", ["container ls", "container list", "container ps"], ps, "List containers"),
    entry!("events", ["system events"], events, "Get real time events from the server"),
    entry!("logs", ["container logs"], logs, "Fetch the logs of a container"),
    entry!(
        "cp",
        ["container cp"],
        cp,
        "Copy files/folders between a container and the local filesystem"
    ),
    entry!(
        "diff",
        ["container diff"],
        diff,
        "Inspect changes to files or directories on a container's filesystem"
    ),
    entry!(
        "export",
        ["container export"],
        export,
        "Export a container's filesystem as a tar archive"
    ),
    entry!("commit", ["container commit"], commit, "Create a new image from a container's changes"),
    entry!("inspect", [], inspect, "Return low-level information on objects"),
    entry!(
        "container inspect",
        [],
        inspect::container,
        "Display detailed information on one or more containers"
    ),
    entry!("container prune", [], prune::container, "Remove all stopped containers"),
    entry!("builder prune", ["buildx prune"], prune::builder, "Remove build cache"),
    entry!("images", ["image ls", "image list"], images, "List images"),
    entry!("pull", ["image pull"], pull, "Download an image from a registry"),
    entry!("push", ["image push"], push, "Upload an image to a registry"),
    entry!(
        "load",
        ["image load"],
        load,
        "Load an image from a tar archive, an OCI layout directory or STDIN"
    ),
    entry!(
        "import",
        ["image import"],
        import,
        "Import the contents from a tarball to create a filesystem image"
    ),
    entry!(
        "save",
        ["image save"],
        save,
        "Save one or more images to a tar archive (streamed to STDOUT by default)"
    ),
    entry!("tag", ["image tag"], tag, "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    entry!("rmi", ["image rm", "image remove"], rmi, "Remove one or more images"),
    entry!("history", ["image history"], history, "Show the history of an image"),
    entry!(
        "image inspect",
        [],
        inspect::image,
        "Display detailed information on one or more images"
    ),
    entry!("image prune", [], prune::image, "Remove unused images"),
    entry!("search", [], search, "Search a registry for images"),
    entry!("login", [], login, "Authenticate to a registry"),
    entry!("logout", [], logout, "Log out from a registry").for_everybody(),
    entry!(
        "manifest create",
        [],
        manifest::create,
        "Create a local manifest list for annotating and pushing to a registry"
    ),
    entry!(
        "manifest annotate",
        [],
        manifest::annotate,
        "Add additional information to a local image manifest"
    )
    .for_everybody(),
    entry!(
        "manifest inspect",
        [],
        manifest::inspect,
        "Display an image manifest, or manifest list"
    ),
    entry!("manifest push", [], manifest::push, "Push a manifest list to a repository"),
    entry!("manifest rm", [], manifest::rm, "Delete one or more manifest lists from local storage")
        .for_everybody(),
    entry!("volume ls", ["volume list"], volume::ls, "List volumes"),
    entry!("volume create", [], volume::create, "Create a volume"),
    entry!(
        "volume inspect",
        [],
        inspect::volume,
        "Display detailed information on one or more volumes"
    ),
    entry!("volume rm", ["volume remove"], volume::rm, "Remove one or more volumes"),
    entry!("volume prune", [], prune::volume, "Remove unused local volumes"),
    entry!("daemon", [], daemon, "Serve the engine on a unix socket"),
    entry!(
        "registry serve",
        [],
        registry_serve,
        "Serve images of this host as a registry, and take pushed ones"
    ),
    entry!("version", [], version, "Show version information"),
    entry!("info", ["system info"], info, "Display system-wide information"),
    entry!("system df", [], system_df, "Show disk usage"),
    entry!("system check", [], system_check, "Verify everything the engine keeps on disk"),
    entry!("system prune", [], prune::system, "Remove unused data"),
];

/// What commands of two words begin with.
static GROUPS: &[(&str, &str)] = &[
    ("builder", "Manage builds"),
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("manifest", "Manage image manifests and manifest lists"),
    ("system", "Manage the engine's state"),
    ("volume", "Manage volumes"),
];

/// The command that `words` begin with, and its own words. Otherwise the text that says why not;
/// one that begins with `Usage:` is what was asked for.
pub(crate) fn find(words: &[String]) -> Result<(&'static Entry, &[String]), String> {
    for length in [2, 1] {
        let Some((head, rest)) = words.split_at_checked(length) else { continue };
        let path = head.join(" ");
        let named = |entry: &&Entry| entry.path == path || entry.aliases.contains(&path.as_str());
        if let Some(entry) = COMMANDS.iter().find(named) {
            return Ok((entry, rest));
        }
    }
    let first = words.first().map_or("", String::as_str);
    let group = group(first);
    if group.is_empty() {
        return Err(format!(
            "unknown command: hull {first}\n\nRun 'hull --help' for more information"
        ));
    }
    match words.get(1).map(String::as_str) {
        None | Some("--help" | "-h") => {
            Err(format!("Usage:  hull {first} COMMAND\n\nCommands:\n{group}"))
        }
        Some(word) => Err(format!(
            "unknown command: hull {first} {word}\n\nRun 'hull {first} --help' for more information"
        )),
    }
}

/// The commands `first ...`, a line each.
fn group(first: &str) -> String {
    let mut text = String::new();
    for entry in COMMANDS {
        let paths = std::iter::once(&entry.path).chain(entry.aliases);
        for path in paths.filter_map(|path| path.strip_prefix(first)?.strip_prefix(' ')) {
            let _ = writeln!(text, "  {path:<12} {}", entry.about);
        }
    }
    text
}

/// `hull --help`.
pub(crate) fn overview() -> String {
    let mut text = String::from(
        "Usage:  hull [OPTIONS] COMMAND\n\nA container engine: hardened, daemonless, without helper programs\n\nManagement Commands:\n",
    );
    for (group, about) in GROUPS {
        let _ = writeln!(text, "  {group:<11} {about}");
    }
    text.push_str("\nCommands:\n");
    for entry in COMMANDS.iter().filter(|entry| !entry.path.contains(' ')) {
        let _ = writeln!(text, "  {:<11} {}", entry.path, entry.about);
    }
    text.push_str(
        "
Options:
      --data-root DIR      State that outlives a boot (HULL_DATA_ROOT; /var/lib/hull)
      --exec-root DIR      State that does not (HULL_EXEC_ROOT; /run/hull)
  -H, --host SOCKET        Engine to speak to: unix:///path, or docker for the one that
                           DOCKER_HOST names (HULL_HOST; this process itself)
  -D, --debug              Log what happens to stderr
  -l, --log-level LEVEL    error, warn, info, debug or trace
  -v, --version            Print version information

Run 'hull COMMAND --help' for more information on a command.
",
    );
    text
}

/// Does `work` for every name; goes on after a failure and ends with it.
///
/// # Errors
/// The last failure; those before it are printed.
pub(crate) async fn each(
    names: &[String],
    work: impl AsyncFn(&String) -> anyhow::Result<()>,
) -> anyhow::Result<std::process::ExitCode> {
    let mut failed: Option<anyhow::Error> = None;
    for name in names {
        if let Err(error) = work(name).await
            && let Some(before) = failed.replace(error)
        {
            crate::app::report(&before);
        }
    }
    match failed {
        None => Ok(std::process::ExitCode::SUCCESS),
        Some(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_is_well_formed_and_has_one_name() {
        let mut names = std::collections::HashSet::new();
        for entry in super::COMMANDS {
            (entry.command)().debug_assert();
            for name in entry.names() {
                assert!(names.insert(name), "{name} is there twice");
            }
        }
    }
}
