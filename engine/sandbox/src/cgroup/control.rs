//! A container's cgroups while it runs and after.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::container::{Cgroup, put};
use super::topology::{Hierarchy, Version};

/// How long freezing or killing may take before it is called failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// An operation on a container's cgroups that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file could not be read or written.
    #[error("cannot {action} cgroup {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It did not happen in time.
    #[error("cgroup {name} has not become {state} after {} s", PATIENCE.as_secs())]
    TimedOut {
        /// The cgroup.
        name: String,
        /// What it should have become.
        state: &'static str,
    },
}

impl Cgroup {
    /// Kills every process in the container, also those that appear meanwhile, and waits until
    /// none is left. Nothing to do when the cgroups are gone.
    ///
    /// # Errors
    /// `TimedOut` when a process does not die (it hangs in the kernel).
    pub fn kill(&self) -> Result<(), CgroupError> {
        let Some(hierarchy) = self.freezer() else { return Ok(()) };
        let directory = hierarchy.directory(&self.name);
        if hierarchy.version == Version::V2 && put(&directory.join("cgroup.kill"), "1").is_ok() {
            return self.wait(&directory, "empty", |directory| {
                pids(directory).is_ok_and(|pids| pids.is_empty())
            });
        }
        // A frozen process keeps its number, so the numbers read are still theirs when signalled.
        self.freeze()?;
        let killed = pids(&directory).map_err(|source| io_error("list", &directory, source));
        for pid in killed.into_iter().flatten() {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.thaw()?;
        self.wait(&directory, "empty", |directory| {
            let pids = pids(directory).unwrap_or_default();
            for pid in &pids {
                let _ = kill_process(*pid, Signal::KILL);
            }
            pids.is_empty()
        })
    }

    /// Stops every process of the container until [`Cgroup::thaw`].
    ///
    /// # Errors
    /// `TimedOut` when the kernel cannot stop them all.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.begin_freeze()?;
        self.wait_frozen()
    }

    /// Asks for what [`Cgroup::freeze`] does, and waits for nothing.
    ///
    /// # Errors
    /// When the kernel does not take the request.
    pub fn begin_freeze(&self) -> Result<(), CgroupError> {
        let Some(hierarchy) = self.freezer() else { return Ok(()) };
        let directory = hierarchy.directory(&self.name);
        match hierarchy.version {
            Version::V1 => write(&directory.join("freezer.state"), "FROZEN"),
            Version::V2 => write(&directory.join("cgroup.freeze"), "1"),
        }
    }

    /// Waits until every process of the container has stopped.
    ///
    /// # Errors
    /// `TimedOut` when the kernel cannot stop them all.
    pub fn wait_frozen(&self) -> Result<(), CgroupError> {
        let Some(hierarchy) = self.freezer() else { return Ok(()) };
        let directory = hierarchy.directory(&self.name);
        match hierarchy.version {
            Version::V1 => self.wait(&directory, "frozen", |directory| {
                std::fs::read_to_string(directory.join("freezer.state"))
                    .is_ok_and(|state| state.trim_end() == "FROZEN")
            }),
            Version::V2 => self.wait(&directory, "frozen", |directory| {
                value(&directory.join("cgroup.events"), "frozen") == Some(1)
            }),
        }
    }

    /// Lets the container's processes run again.
    ///
    /// # Errors
    /// When the kernel does not take the request.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        let Some(hierarchy) = self.freezer() else { return Ok(()) };
        let directory = hierarchy.directory(&self.name);
        match hierarchy.version {
            Version::V1 => write(&directory.join("freezer.state"), "THAWED"),
            Version::V2 => write(&directory.join("cgroup.freeze"), "0"),
        }
    }

    /// Removes the container's cgroups; fine when some or all are gone. None of its processes
    /// may be left.
    ///
    /// # Errors
    /// The first that could not be removed; the others are removed all the same.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut first = Ok(());
        for hierarchy in &self.topology.hierarchies {
            let directory = hierarchy.directory(&self.name);
            if let Err(source) = remove_tree(&directory) {
                first = first.and(Err(io_error("remove", &directory, source)));
            }
        }
        first
    }

    /// The ids of the container's processes, as this process's pid namespace numbers them.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn pids(&self) -> Result<Vec<Pid>, CgroupError> {
        let Some(hierarchy) = self.freezer() else { return Ok(Vec::new()) };
        let directory = hierarchy.directory(&self.name);
        pids(&directory).map_err(|source| io_error("list", &directory, source))
    }

    /// How many processes of the container were killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let Some((directory, version)) = self.place("memory") else { return 0 };
        let events = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        value(&directory.join(events), "oom_kill").unwrap_or(0)
    }

    pub(super) fn place(&self, controller: &str) -> Option<(PathBuf, Version)> {
        let hierarchy = self.topology.owner(controller)?;
        Some((hierarchy.directory(&self.name), hierarchy.version))
    }

    /// The hierarchy to freeze and kill in: version 2 can do both without any controller.
    fn freezer(&self) -> Option<&Hierarchy> {
        let hierarchy = self.topology.unified().or_else(|| self.topology.owner("freezer"))?;
        hierarchy.directory(&self.name).exists().then_some(hierarchy)
    }

    fn wait(
        &self,
        directory: &Path,
        state: &'static str,
        reached: impl Fn(&Path) -> bool,
    ) -> Result<(), CgroupError> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        while !reached(directory) {
            if !directory.exists() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(CgroupError::TimedOut { name: self.name.clone(), state });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Removes `directory` and the cgroups a container made in it. An exited process leaves a moment
/// after its exit was reported, so "busy" is tried again for a while.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match std::fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let mut nested = false;
                for entry in std::fs::read_dir(directory)?.flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        nested = true;
                        remove_tree(&entry.path())?;
                    }
                }
                if !nested {
                    if start.elapsed() > Duration::from_millis(500) {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            other => return other,
        }
    }
}

fn pids(directory: &Path) -> io::Result<Vec<Pid>> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect())
}

fn write(path: &PathBuf, value: &str) -> Result<(), CgroupError> {
    put(path, value).map_err(|source| io_error("write to", path, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io { action, path: path.to_owned(), source }
}

pub(super) fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// The number behind `key` in a file of "key number" lines.
pub(super) fn value(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}
