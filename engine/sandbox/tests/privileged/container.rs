//! One container of a test: a directory layer with the probe in it, and everything else default.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_sandbox::spec::*;
use hull_sandbox::{ExecProcess, Inputs, Running, StartError, Stdio, start};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{WaitId, WaitIdOptions, waitid};

pub(crate) struct Container {
    pub(crate) spec: Spec,
    pub(crate) trees: Vec<OwnedFd>,
    folder: tempfile::TempDir,
    id_ranges: PathBuf,
}

/// What a process said and how it ended: its exit code, or 128 and the signal.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) output: String,
    pub(crate) code: i32,
}

impl Container {
    /// A container that runs the probe with `words`.
    pub(crate) fn new(words: &[&str]) -> Self {
        let parent = std::env::var("HULL_SANDBOX_FOLDER").unwrap_or_else(|_| "/tmp".to_owned());
        let folder = tempfile::Builder::new().prefix("hull-sandbox-").tempdir_in(parent).unwrap();
        for name in ["layer/etc", "rw", "work", "ids"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let root = folder.path().join("layer");
        let exe = crate::program();
        if std::fs::hard_link(&exe, root.join("probe")).is_err() {
            std::fs::copy(&exe, root.join("probe")).unwrap();
        }
        std::fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\njoe:x:1000:\nextra:x:7:joe\n").unwrap();
        let id = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let id_ranges = folder.path().join("ids");
        Self { spec: spec(id, words), trees: Vec::new(), folder, id_ranges }
    }

    /// Takes ids from where `other` does.
    pub(crate) fn share_id_ranges(&mut self, other: &Self) {
        self.id_ranges.clone_from(&other.id_ranges);
    }

    /// A path in the image.
    pub(crate) fn image(&self, path: &str) -> PathBuf {
        self.folder.path().join("layer").join(path.trim_start_matches('/'))
    }

    /// A path in the container's writable layer.
    pub(crate) fn upper(&self, path: &str) -> PathBuf {
        self.folder.path().join("rw").join(path.trim_start_matches('/'))
    }

    /// A directory of the host's, beside the container's own.
    pub(crate) fn host(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Mounts a tree of the host's.
    pub(crate) fn bind(&mut self, source: &Path, destination: &str, readonly: bool, idmap: bool) {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        self.trees.push(open_tree(rustix::fs::CWD, source, flags).unwrap());
        self.spec.mounts.push(Mount {
            destination: destination.to_owned(),
            source: MountSource::Tree {
                tree: self.trees.len() - 1,
                idmap,
                shown: source.display().to_string(),
            },
            readonly,
        });
    }

    pub(crate) fn start(&mut self, stdio: Stdio) -> Result<Running, StartError> {
        // The kernel does not take a volatile upper a second time.
        let work = self.folder.path().join("work");
        std::fs::remove_dir_all(&work).unwrap();
        std::fs::create_dir(&work).unwrap();
        let open =
            |name: &str| -> OwnedFd { File::open(self.folder.path().join(name)).unwrap().into() };
        let inputs = Inputs {
            layers: vec![open("layer")],
            upper: Some((open("rw"), open("work"))),
            trees: std::mem::take(&mut self.trees),
            id_ranges: File::open(&self.id_ranges).unwrap().into(),
        };
        start(&self.spec, inputs, stdio)
    }

    /// Starts, waits for the end, removes the cgroup.
    pub(crate) fn run(&mut self) -> Result<Ended, StartError> {
        let (reader, stdio) = capture();
        let running = self.start(stdio)?;
        let ended = finish(reader, running.pidfd.as_fd());
        running.cgroup.remove().unwrap();
        Ok(ended)
    }

    /// What the probe says, which must end well.
    pub(crate) fn output(&mut self) -> String {
        let ended = self.run().unwrap();
        assert_eq!(ended.code, 0, "{}", ended.output);
        ended.output
    }

    /// A start that fails, and leaves no cgroup.
    pub(crate) fn error(&mut self) -> StartError {
        let error = self.start(Stdio::default()).unwrap_err();
        self.assert_gone();
        error
    }

    pub(crate) fn assert_gone(&self) {
        for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let left = entry.path().join("hull").join(&self.spec.id);
            assert!(!left.exists(), "{} is left", left.display());
        }
    }
}

impl Drop for Container {
    /// For tests that fail: whatever still runs ends, and no cgroup stays.
    fn drop(&mut self) {
        if let Ok(cgroup) = hull_sandbox::Cgroup::open(&self.spec.id) {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}

/// Runs an exec to its end.
pub(crate) fn exec(running: &Running, process: &Process) -> Result<Ended, StartError> {
    let (reader, stdio) = capture();
    let ExecProcess { pidfd, .. } = running.exec(process, stdio)?;
    Ok(finish(reader, pidfd.as_fd()))
}

/// Kills a container and takes its cgroup away.
pub(crate) fn stop(running: &Running) {
    running.cgroup.kill().unwrap();
    wait(running.pidfd.as_fd());
    running.cgroup.remove().unwrap();
}

/// A process that runs the probe with `words`.
pub(crate) fn process(words: &[&str]) -> Process {
    let args = std::iter::once("/probe").chain(words.iter().copied()).map(str::to_owned).collect();
    let capabilities =
        hull_sandbox::capability::DEFAULT.iter().map(|c| c.name().to_owned()).collect();
    Process {
        args,
        env: vec!["PATH=/bin:/".to_owned()],
        cwd: "/".to_owned(),
        user: String::new(),
        additional_groups: Vec::new(),
        terminal: false,
        terminal_size: None,
        capabilities,
        no_new_privileges: true,
        rlimits: Vec::new(),
    }
}

fn spec(id: String, words: &[&str]) -> Spec {
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let mut masked_paths = paths(hull_sandbox::DEFAULT_MASKED_PATHS);
    masked_paths.extend(hull_sandbox::thermal_throttle_paths());
    Spec {
        id,
        process: process(words),
        hostname: "box".to_owned(),
        domainname: String::new(),
        rootfs: Rootfs { readonly: false, volatile: true },
        userns: UserNamespace::Private { size: 65536 },
        network: Network::None,
        mounts: Vec::new(),
        files: Vec::new(),
        shm_size: 64 << 20,
        privileged: false,
        masked_paths,
        readonly_paths: paths(hull_sandbox::DEFAULT_READONLY_PATHS),
        resources: Resources::default(),
        init: false,
        seccomp: Seccomp::Default,
        oom_score_adj: 0,
    }
}

/// A pipe for stdout and stderr.
pub(crate) fn capture() -> (File, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    let again = writer.try_clone().unwrap();
    (
        File::from(OwnedFd::from(reader)),
        Stdio { stdin: None, stdout: Some(writer.into()), stderr: Some(again.into()) },
    )
}

fn finish(mut reader: File, pidfd: std::os::fd::BorrowedFd<'_>) -> Ended {
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    Ended { output, code: wait(pidfd) }
}

pub(crate) fn wait(pidfd: std::os::fd::BorrowedFd<'_>) -> i32 {
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap()
}
