//! Which hierarchies there are, what each controls, and where this process is in them.

use std::io;
use std::path::{Path, PathBuf};

/// The cgroup hierarchies that are mounted and of use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// In the order of their mounts.
    pub hierarchies: Vec<Hierarchy>,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which interface it has.
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// What it controls: `memory`, `cpu` ..., or `name=systemd`. Empty for version 2, whose
    /// controllers are those no version 1 hierarchy owns.
    pub controllers: Vec<String>,
    /// The cgroup of this process, from the hierarchy's root: `/` or `/a/b`.
    pub own: String,
}

/// The kernel's two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each set of controllers.
    V1,
    /// The unified hierarchy.
    V2,
}

impl Topology {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When `/proc/self/mountinfo` or `/proc/self/cgroup` cannot be read.
    pub fn discover() -> io::Result<Self> {
        let mounts = crate::proc::read(c"/proc/self/mountinfo")?;
        let own = crate::proc::read_whole(c"/proc/self/cgroup")?;
        Ok(Self::parse(&mounts, &own))
    }

    /// Reads the text of proc_pid_mountinfo(5) and of `/proc/PID/cgroup` (cgroups(7)).
    pub fn parse(mounts: &str, own: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mounts.lines() {
            let Some(hierarchy) = parse_mount(line, own) else { continue };
            // A hierarchy mounted twice counts once, where it was mounted first.
            let known = hierarchies.iter().any(|other| {
                other.version == hierarchy.version && other.controllers == hierarchy.controllers
            });
            if !known {
                hierarchies.push(hierarchy);
            }
        }
        // Version 2 freezes without a controller.
        if hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V2) {
            hierarchies.retain(|hierarchy| hierarchy.controllers != ["freezer"]);
        }
        Self { hierarchies }
    }

    /// The version 2 hierarchy.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }

    /// The hierarchy that owns `controller`: its version 1 hierarchy or, without one, version 2.
    pub fn owner(&self, controller: &str) -> Option<&Hierarchy> {
        let owns = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|c| c == controller);
        self.hierarchies.iter().find(owns).or_else(|| self.unified())
    }
}

impl Hierarchy {
    /// The directory of the cgroup `name` (`hull/<id>`).
    pub fn directory(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// What its mount point is called: `memory`, `cpu,cpuacct`, `unified`.
    pub fn name(&self) -> &str {
        self.mount.file_name().and_then(|name| name.to_str()).unwrap_or("cgroup")
    }
}

/// `36 35 98:0 /root /mount/point options [tags] - type source super-options`
fn parse_mount(line: &str, own: &str) -> Option<Hierarchy> {
    let (place, kind) = line.split_once(" - ")?;
    let mount = unescape(place.split(' ').nth(4)?);
    let mut kind = kind.split(' ');
    match kind.next()? {
        "cgroup2" => Some(Hierarchy {
            version: Version::V2,
            mount,
            controllers: Vec::new(),
            own: own_path(own, "")?,
        }),
        "cgroup" => {
            // The super block's options hold its controllers between general ones; what this
            // process's list of cgroups names are the controllers.
            let options: Vec<&str> = kind.nth(1)?.split(',').collect();
            let (names, path) = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (names, path) = (fields.next()?, fields.next()?);
                let matches =
                    !names.is_empty() && names.split(',').all(|name| options.contains(&name));
                matches.then_some((names, path))
            })?;
            Some(Hierarchy {
                version: Version::V1,
                mount,
                controllers: names.split(',').map(str::to_owned).collect(),
                own: path.to_owned(),
            })
        }
        _ => None,
    }
}

fn own_path(own: &str, controllers: &str) -> Option<String> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        (fields.next()? == controllers).then(|| fields.next().map(str::to_owned)).flatten()
    })
}

/// mountinfo writes blanks, tabs, line ends and backslashes in octal.
fn unescape(text: &str) -> PathBuf {
    let plain = text
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\");
    Path::new(&plain).to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const V1: (&str, &str) = (
        "30 24 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
         31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
         32 24 0:28 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
         33 24 0:29 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
         34 24 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
         35 24 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
         36 24 0:32 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n",
        "9:name=systemd:/user.slice\n8:cpu,cpuacct:/\n7:memory:/a b\n6:devices:/\n5:pids:/\n4:cpuset:/\n3:freezer:/\n",
    );

    pub(crate) const V2: (&str, &str) = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
         30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        "0::/user.slice/session.scope\n",
    );

    pub(crate) const HYBRID: (&str, &str) = (
        "31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
         32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
         34 24 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n",
        "8:cpu:/\n7:memory:/\n6:freezer:/\n0::/\n",
    );

    pub(crate) fn topology((mounts, own): (&str, &str)) -> Topology {
        Topology::parse(mounts, own)
    }

    #[test]
    fn version_1_hierarchies_own_their_controllers() {
        let topology = topology(V1);
        assert_eq!(topology.hierarchies.len(), 7);
        assert!(topology.unified().is_none());
        let cpu = topology.owner("cpuacct").unwrap();
        assert_eq!((cpu.name(), &*cpu.own), ("cpu,cpuacct", "/"));
        assert_eq!(topology.owner("memory").unwrap().own, "/a b");
        assert_eq!(topology.owner("name=systemd").unwrap().own, "/user.slice");
        assert!(topology.owner("hugetlb").is_none());
    }

    #[test]
    fn version_2_owns_what_no_other_does() {
        let pure = topology(V2);
        assert_eq!(pure.hierarchies.len(), 1);
        assert_eq!(pure.owner("memory"), pure.unified());
        assert_eq!(pure.unified().unwrap().own, "/user.slice/session.scope");
        let hybrid = topology(HYBRID);
        assert_eq!(hybrid.owner("memory").unwrap().version, Version::V1);
        assert_eq!(hybrid.owner("hugetlb"), hybrid.unified());
        assert_eq!(hybrid.owner("freezer"), hybrid.unified());
        assert_eq!(
            hybrid.unified().unwrap().directory("hull/x"),
            Path::new("/sys/fs/cgroup/unified/hull/x")
        );
    }

    #[test]
    fn a_hierarchy_mounted_twice_counts_once() {
        let (mounts, own) = HYBRID;
        let twice = format!("{mounts}50 24 0:28 / /other\\040place rw - cgroup cgroup rw,memory\n");
        assert_eq!(Topology::parse(&twice, own).hierarchies.len(), 3);
        let only = "50 24 0:28 / /other\\040place rw - cgroup cgroup rw,memory\n";
        assert_eq!(Topology::parse(only, own).hierarchies[0].mount, Path::new("/other place"));
    }
}
