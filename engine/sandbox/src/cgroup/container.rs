//! A container's cgroups: made, entered, opened again.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sys::bpf::{attach_device_program, load_device_program};
use hull_sys::descriptor::{close_all, leave_to_exec};
use rustix::fs::{Mode, OFlags, mkdir, open};
use rustix::io::Errno;

use super::devices;
use super::limits;
use super::topology::{Hierarchy, Topology, Version};
use crate::error::{StartError, StartErrorKind, Step};
use crate::spec::Resources;

/// Everything of ours is beneath this cgroup.
const PARENT: &str = "hull";

/// The cgroups of one container, one in each hierarchy.
///
/// Only names: holding one keeps nothing open. Nothing is removed on drop.
#[derive(Debug, Clone)]
pub struct Cgroup {
    pub(super) topology: Topology,
    pub(super) name: String,
}

/// What a process needs to enter a container's cgroups.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Directory to be cloned into.
    pub unified: Option<OwnedFd>,
    /// `tasks` of each version 1 hierarchy, open for writing.
    pub tasks: Vec<OwnedFd>,
}

impl Cgroup {
    /// Names the cgroups of container `id`, whether they exist or not.
    ///
    /// # Errors
    /// When the kernel's list of hierarchies cannot be read.
    pub fn open(id: &str) -> io::Result<Self> {
        Ok(Self { topology: Topology::discover()?, name: format!("{PARENT}/{id}") })
    }

    /// As [`leave`], without asking the kernel again for what this process has already found.
    ///
    /// # Errors
    /// The first failure; the process may have moved in some hierarchies.
    pub fn leave_caller(&self) -> io::Result<()> {
        leave_by(&self.topology)
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Makes the directory in the version 2 hierarchy, if there is one, and opens it.
    pub(crate) fn create_unified(&self) -> Result<Option<OwnedFd>, StartError> {
        let Some(unified) = self.topology.unified() else { return Ok(None) };
        self.make(unified)?;
        self.open_unified().map(Some)
    }

    /// Makes the directories in the version 1 hierarchies and opens their `tasks`.
    pub(crate) fn create_v1(&self) -> Result<Vec<OwnedFd>, StartError> {
        self.v1()
            .map(|hierarchy| {
                self.make(hierarchy)?;
                self.open_tasks(hierarchy)
            })
            .collect()
    }

    /// Opens what an exec needs to join.
    pub(crate) fn entrance(&self) -> Result<Entrance, StartError> {
        let unified = match self.topology.unified() {
            Some(_) => Some(self.open_unified()?),
            None => None,
        };
        let tasks =
            self.v1().map(|hierarchy| self.open_tasks(hierarchy)).collect::<Result<_, _>>()?;
        Ok(Entrance { unified, tasks })
    }

    /// Sets the limits and, unless the container is privileged, the device rules.
    pub(crate) fn configure(
        &self,
        resources: &Resources,
        restrict_devices: bool,
    ) -> Result<(), StartError> {
        for write in limits::writes(&self.topology, resources)? {
            self.write_limit(&write)?;
        }
        if restrict_devices {
            self.restrict_devices()?;
        }
        Ok(())
    }

    /// Changes the limits that `resources` names, of a container that runs.
    ///
    /// # Errors
    /// `Invalid` for what the kernel refuses, `Unavailable` for what the host has no controller
    /// for; limits written before that hold.
    pub fn update(&self, resources: &Resources) -> Result<(), StartError> {
        let writes = limits::writes(&self.topology, resources)?;
        let mut refused = Vec::new();
        for write in &writes {
            if let Err(error) = self.write_limit(write) {
                refused.push((write, error));
            }
        }
        // Limits of memory, and of memory and swap, bound each other: which of the two can be
        // written first depends on those before.
        for (write, before) in refused {
            self.write_limit(write).map_err(|_| before)?;
        }
        Ok(())
    }

    fn write_limit(&self, write: &limits::Write) -> Result<(), StartError> {
        let Some(owner) = self.topology.owner(write.controller) else { return Ok(()) };
        let path = owner.directory(&self.name).join(write.file);
        let mut written = put(&path, &write.value);
        let is_missing = |written: &io::Result<()>| {
            written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if is_missing(&written) && owner.version == Version::V2 {
            // Whoever made `hull` a moment ago has not passed the controllers on yet, or could
            // not, or somebody took them away since.
            let parent = owner.directory(PARENT);
            delegate(&owner.mount, &parent)
                .step_with(|| format!("pass the cgroup controllers on to {}", parent.display()))?;
            written = put(&path, &write.value);
        }
        match written {
            // Without swap accounting there is no such file, and no swap to limit.
            Err(_) if is_missing(&written) && write.file.contains("sw") => Ok(()),
            Err(_) if is_missing(&written) && owner.version == Version::V2 => Err(StartError::new(
                StartErrorKind::Unavailable,
                format!(
                    "this host's cgroups have no {}, which a limit asks for ({})",
                    write.file, write.controller
                ),
            )),
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Err(StartError::invalid(format!(
                    "the kernel refuses {:?} as {} ({})",
                    write.value, write.file, write.controller
                )))
            }
            other => other.step_with(|| format!("write {:?} to {}", write.value, path.display())),
        }
    }

    fn restrict_devices(&self) -> Result<(), StartError> {
        let Some(owner) = self.topology.owner("devices") else { return Ok(()) };
        let directory = owner.directory(&self.name);
        let what = || format!("set the device rules of {}", directory.display());
        if let Some(unified) = self.topology.unified() {
            match load_device_program(&devices::v2_program()) {
                Ok(program) => {
                    // To be attached to, a cgroup must be open for reading.
                    let path = unified.directory(&self.name);
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let cgroup = open(&path, flags, Mode::empty()).step_with(what)?;
                    attach_device_program(cgroup.as_fd(), program.as_fd()).step_with(what)?;
                    close_all([cgroup, program]);
                    return Ok(());
                }
                // A kernel built without such programs has the controller of version 1.
                Err(error)
                    if owner.version == Version::V1
                        && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
                Err(error) => return Err(error).step_with(what),
            }
        }
        put(&directory.join("devices.deny"), "a").step_with(what)?;
        let path = directory.join("devices.allow");
        let mut allow = OpenOptions::new().write(true).open(path).step_with(what)?;
        devices::v1_lines().try_for_each(|line| allow.write_all(line.as_bytes())).step_with(what)
    }

    pub(super) fn v1(&self) -> impl Iterator<Item = &Hierarchy> {
        self.topology.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V1)
    }

    fn make(&self, hierarchy: &Hierarchy) -> Result<(), StartError> {
        let directory = hierarchy.directory(&self.name);
        let made = match mkdir(&directory, Mode::from_raw_mode(0o755)) {
            Err(Errno::NOENT) => {
                make_parent(hierarchy)?;
                mkdir(&directory, Mode::from_raw_mode(0o755))
            }
            other => other,
        };
        match made {
            Err(Errno::EXIST) => Err(StartError::new(
                StartErrorKind::Unavailable,
                format!("cgroup {} exists already", directory.display()),
            )),
            other => other.step_with(|| format!("make cgroup {}", directory.display())),
        }
    }

    fn open_unified(&self) -> Result<OwnedFd, StartError> {
        let directory = self
            .topology
            .unified()
            .map(|unified| unified.directory(&self.name))
            .unwrap_or_default();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(&directory, flags, Mode::empty())
            .step_with(|| format!("open cgroup {}", directory.display()))
    }

    fn open_tasks(&self, hierarchy: &Hierarchy) -> Result<OwnedFd, StartError> {
        let path = hierarchy.directory(&self.name).join("tasks");
        open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .step_with(|| format!("open {}", path.display()))
    }
}

/// Puts this process, which has one thread and is about to execute, where each of `tasks` is.
pub(crate) fn enter(tasks: Vec<OwnedFd>) -> Result<(), StartError> {
    for file in tasks {
        rustix::io::write(&file, b"0").step("enter the container's cgroups")?;
        leave_to_exec(file);
    }
    Ok(())
}

/// Moves this process, which must have one thread, to the cgroup `hull/shim` in every version 1
/// hierarchy whose root it is not in: out of reach of whoever kills its caller's cgroup.
///
/// # Errors
/// The first failure; the process may have moved in some hierarchies.
pub fn leave() -> io::Result<()> {
    leave_by(&Topology::discover()?)
}

fn leave_by(topology: &Topology) -> io::Result<()> {
    for hierarchy in topology.hierarchies.iter().filter(|hierarchy| hierarchy.own != "/") {
        let directory = hierarchy.directory(PARENT).join("shim");
        let file = directory.join(match hierarchy.version {
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        });
        match put(&file, "0") {
            // The first shim of this boot.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_shared(hierarchy, &directory)?;
                put(&file, "0")?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// Makes a directory in `hull` that may be there already.
fn make_shared(hierarchy: &Hierarchy, directory: &Path) -> io::Result<()> {
    let make = || match mkdir(directory, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    };
    match make() {
        Err(Errno::NOENT) => {
            make_parent(hierarchy).map_err(io::Error::other)?;
            Ok(make()?)
        }
        other => Ok(other?),
    }
}

/// Makes `hull` in a hierarchy. It appears complete: a cpuset without CPUs takes no process.
fn make_parent(hierarchy: &Hierarchy) -> Result<(), StartError> {
    let parent = hierarchy.directory(PARENT);
    let what = || format!("make cgroup {}", parent.display());
    let is_cpuset = hierarchy.controllers.iter().any(|controller| controller == "cpuset");
    if !is_cpuset {
        match mkdir(&parent, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step_with(what),
        }
        if hierarchy.version == Version::V2 {
            delegate(&hierarchy.mount, &parent).step_with(what)?;
        }
        return Ok(());
    }
    let draft = hierarchy.directory(&format!("{PARENT}.{}", rustix::process::getpid()));
    mkdir(&draft, Mode::from_raw_mode(0o755)).step_with(what)?;
    let published =
        fill_cpuset(&hierarchy.mount, &draft).and_then(|()| std::fs::rename(&draft, &parent));
    match published {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_dir(&draft);
            if parent.exists() { Ok(()) } else { Err(error).step_with(what) }
        }
    }
}

/// Gives a version 1 cpuset what its parent has, and tells it to do so for its children.
fn fill_cpuset(parent: &Path, directory: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = std::fs::read_to_string(parent.join(file))?;
        put(&directory.join(file), value.trim_end())?;
    }
    put(&directory.join("cgroup.clone_children"), "1")
}

/// Passes the controllers that version 2 owns here on to `hull` and to what is in it.
fn delegate(root: &Path, parent: &Path) -> io::Result<()> {
    let available = std::fs::read_to_string(root.join("cgroup.controllers"))?;
    let wanted: Vec<String> = available
        .split_ascii_whitespace()
        .filter(|controller| ["cpu", "cpuset", "io", "memory", "pids"].contains(controller))
        .map(|controller| format!("+{controller}"))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let wanted = wanted.join(" ");
    put(&root.join("cgroup.subtree_control"), &wanted)?;
    put(&parent.join("cgroup.subtree_control"), &wanted)
}

/// Writes to a file that is there; never makes one.
pub(super) fn put(path: &PathBuf, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}
