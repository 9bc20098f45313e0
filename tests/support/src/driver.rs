//! One Hull of its own per test.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::busybox::{busybox_image, probe_image};
use crate::image::Image;
use crate::{leaks, needs};

/// A Hull with its own state in a temporary folder.
///
/// Made by [`Hull::new`]; ended by [`Hull::finish`], which fails the test if anything is left.
/// A test that panics before cleans up without judging.
#[derive(Debug)]
pub struct Hull {
    folder: TempDir,
    programs: PathBuf,
    /// Containers that were seen, to look for their cgroups at the end.
    seen: RefCell<BTreeSet<String>>,
    extra: Vec<(String, String)>,
}

/// What a command ended with.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code, 128 + signal if it was killed.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Hull {
    /// A new one, or `None` (and said so) where this machine cannot run containers.
    pub fn new() -> Option<Self> {
        if !needs::root() {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("hull-test-").tempdir().unwrap();
        Some(Self::at(folder))
    }

    /// A new one with an image `probe`, which holds nothing but the probe.
    pub fn with_probe() -> Option<Self> {
        let hull = Self::new()?;
        hull.load(&probe_image(), "probe");
        Some(hull)
    }

    /// A new one with an image `busybox`, if the machine has a static one.
    pub fn with_busybox() -> Option<Self> {
        let hull = Self::new()?;
        hull.load(&busybox_image()?, "busybox");
        Some(hull)
    }

    /// The same with a state folder of the caller's choice (for example on a small disk).
    pub fn at(folder: TempDir) -> Self {
        let programs = needs::programs();
        assert!(programs.join("hull").exists(), "no program hull in {}", programs.display());
        Self { folder, programs, seen: RefCell::default(), extra: Vec::new() }
    }

    /// Sets an environment variable for every command.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder that holds everything of this test; files a test makes belong here too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `--data-root`.
    pub fn data_root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `--exec-root`.
    pub fn exec_root(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The folder with the programs under test.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// A command that is ready to start. Its environment holds nothing of the tester's.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(self.programs.join("hull"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.folder.path())
            .env("HULL_DATA_ROOT", self.data_root())
            .env("HULL_EXEC_ROOT", self.exec_root())
            .envs(self.extra.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, at most two minutes.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        self.run_with_input(arguments, b"")
    }

    /// The same with `input` as standard input.
    pub fn run_with_input<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: &[S],
        input: &[u8],
    ) -> Output {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().expect("hull starts");
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            std::thread::spawn(move || {
                // The program may end before it has read everything.
                let _ = std::io::Write::write_all(&mut stdin, &input);
            });
        }
        let words: Vec<_> =
            arguments.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
        let output = wait(child, &words.join(" "));
        self.remember();
        output
    }

    /// Runs a command that must succeed; returns its standard output without the last newline.
    #[track_caller]
    pub fn ok<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(&self, arguments: &[S]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.code, 0, "hull {arguments:?}\n{}{}", output.stdout, output.stderr);
        output.stdout.trim_end_matches('\n').to_owned()
    }

    /// Runs a command that must fail with `code` and say something that contains `text`, in one
    /// line (and perhaps one line of advice).
    #[track_caller]
    pub fn fails<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(
        &self,
        arguments: &[S],
        code: i32,
        text: &str,
    ) -> Output {
        let output = self.run(arguments);
        let said = &output.stderr;
        assert_eq!(output.code, code, "hull {arguments:?}\n{}{said}", output.stdout);
        assert!(said.contains(text), "hull {arguments:?} must say {text:?}, said:\n{said}");
        let lines = said.lines().filter(|line| !line.is_empty() && !line.starts_with("hint:"));
        let lines = lines.filter(|line| !line.starts_with("Run 'hull")).count();
        assert_eq!(lines, 1, "hull {arguments:?} must say one line, said:\n{said}");
        output
    }

    /// Runs a command that must succeed and reads its output as JSON.
    #[track_caller]
    pub fn json<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(&self, arguments: &[S]) -> Value {
        let text = self.ok(arguments);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("hull {arguments:?}: {e}\n{text}"))
    }

    /// Writes a file into the test's folder and returns its path.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Loads an image under `tag`.
    #[track_caller]
    pub fn load(&self, image: &Image, tag: &str) {
        let path = self.file("image.tar", &image.docker_archive(&[tag]));
        self.ok(&["load", "-q", "-i", &path]);
        std::fs::remove_file(path).unwrap();
    }

    /// What the probe prints, run with `arguments` before the image `probe`.
    #[track_caller]
    pub fn view(&self, arguments: &[&str]) -> Value {
        let mut words = vec!["run", "--rm"];
        words.extend(arguments);
        words.extend(["probe", "/probe", "view"]);
        self.json(&words)
    }

    /// Waits until `inspect` with this template prints this.
    #[track_caller]
    pub fn becomes(&self, container: &str, template: &str, expected: &str) {
        let mut last = String::new();
        let so = eventually(Duration::from_secs(20), || {
            last = self.inspect(container, template);
            last == expected
        });
        assert!(so, "{template} of {container} is {last:?}, not {expected:?}");
    }

    /// One field of `inspect`, by template.
    #[track_caller]
    pub fn inspect(&self, container: &str, template: &str) -> String {
        self.ok(&["inspect", "--format", template, container])
    }

    /// Waits until a container's logs contain `text`, at most a minute.
    #[track_caller]
    pub fn wait_for_log(&self, container: &str, text: &str) {
        let mut last = String::new();
        let found = eventually(Duration::from_secs(60), || {
            let output = self.run(&["logs", container]);
            last = format!("{}{}", output.stdout, output.stderr);
            last.contains(text)
        });
        assert!(found, "no {text:?} in the logs of {container}:\n{last}");
    }

    /// Pid of the shim that holds a container, by the lock it keeps: the only process with a
    /// descriptor on `shim.lock`.
    #[track_caller]
    pub fn shim_pid(&self, id: &str) -> i32 {
        let lock = self.exec_root().join("containers").join(id).join("shim.lock");
        let holders = leaks::processes_with_open(&lock);
        assert_eq!(holders.len(), 1, "processes that hold {}: {holders:?}", lock.display());
        holders[0]
    }

    /// Removes all containers and unused volumes, and fails the test if anything of Hull is left:
    /// processes, cgroups, mounts, unfinished files, or a broken store.
    #[track_caller]
    pub fn finish(self) {
        self.remember();
        self.remove_containers();
        let volumes = self.ok(&["volume", "ls", "-q"]);
        assert_eq!(volumes, "", "volumes are left");
        let check = self.run(&["system", "check", "--deep"]);
        assert_eq!(check.code, 0, "system check: {}{}", check.stdout, check.stderr);
        self.assert_nothing_left();
    }

    /// The part of [`Hull::finish`] that can be asked at any time no container runs.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let mut left = Vec::new();
        let clean = eventually(Duration::from_secs(10), || {
            left = leaks::of(&self.data_root(), &self.exec_root(), &self.seen.borrow());
            left.is_empty()
        });
        assert!(clean, "left behind: {left:#?}");
    }

    fn remove_containers(&self) {
        let ids = self.run(&["ps", "-aq", "--no-trunc"]).stdout;
        for id in ids.lines() {
            let output = self.run(&["rm", "-f", "-v", id]);
            if output.code != 0 && !std::thread::panicking() {
                panic!("rm -f {id}: {}", output.stderr);
            }
        }
    }

    fn remember(&self) {
        let Ok(entries) = std::fs::read_dir(self.data_root().join("containers")) else { return };
        let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        self.seen.borrow_mut().extend(names);
    }
}

impl Drop for Hull {
    fn drop(&mut self) {
        if self.data_root().exists() {
            self.remove_containers();
        }
        leaks::unmount_below(self.folder.path());
    }
}

/// Waits for a child that was started with piped output, at most two minutes.
pub(crate) fn wait(child: std::process::Child, what: &str) -> Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = match receiver.recv_timeout(Duration::from_secs(120)) {
        Ok(output) => output.expect("a child can be waited for"),
        Err(_) => {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("hull {what}: no end after two minutes");
        }
    };
    use std::os::unix::process::ExitStatusExt;
    let signal = output.status.signal().map(|signal| 128 + signal);
    Output {
        code: output.status.code().or(signal).unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Asks `condition` again until it holds or `limit` is over; returns whether it held.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Memory of a process's own (KiB); 0 if it is gone.
pub fn held(pid: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Ends a process the hard way, and waits until it is gone (a zombie counts as gone).
#[track_caller]
pub fn kill_9(pid: i32) {
    let target = rustix::process::Pid::from_raw(pid).expect("a pid is not 0");
    rustix::process::kill_process(target, rustix::process::Signal::KILL).unwrap();
    let gone = eventually(Duration::from_secs(10), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        matches!(state, None | Some('Z' | 'X'))
    });
    assert!(gone, "process {pid} does not end");
}

/// Lets a descriptor stay open in programs this process starts, as a careless caller would.
pub fn keep_open_at_exec(descriptor: impl std::os::fd::AsFd) {
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).unwrap();
}

/// Swaps two paths in one step; false if one of them is not there at this moment.
pub fn exchange(one: &Path, other: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Err(rustix::io::Errno::NOENT) => false,
        swapped => {
            swapped.unwrap();
            true
        }
    }
}

/// Sets an extended attribute.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}
