//! A small engine: a data root, an exec root, containers in them.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test's helper fails by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hull_sandbox::spec::{Network, Process, Resources, Rootfs, Seccomp, Spec, UserNamespace};
use hull_shim::client::{Shim, StartDescriptors, StartError, Started, spawn};
use hull_shim::protocol::{
    AttachOptions, ExecRequest, LogConfig, Removal, RestartPolicy, StartRequest, VERSION,
    default_detach_keys,
};
use hull_shim::recover::{RecoverError, Recovered, recover};
use hull_shim::state::ContainerState;
use rustix::fs::{Mode, OFlags};

const SHIM: &str = env!("CARGO_BIN_EXE_hull-shim");

/// The shim: the one of a release build, where the tests are told of one.
pub(crate) fn shim() -> PathBuf {
    let release = std::env::var_os("HULL_BIN").map(|folder| Path::new(&folder).join("hull-shim"));
    release.filter(|program| program.exists()).unwrap_or_else(|| SHIM.into())
}

/// The engine's state, in a temporary directory, for one container.
pub(crate) struct Engine {
    root: tempfile::TempDir,
    pub(crate) id: String,
    pub(crate) request: StartRequest,
}

/// All of a container's output that a client saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Engine {
    /// An engine with a container that will run the test program with `arguments`. `None` where
    /// this is not possible, which is reported.
    pub(crate) fn new(test: &str, arguments: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            if let Some(skips) = std::env::var_os("HULL_SKIPS") {
                let mut skips = fs::OpenOptions::new().append(true).open(skips).unwrap();
                writeln!(skips, "{test}: not root").unwrap();
            }
            eprintln!("{test} skipped: not root");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let id = format!("shimtest-{}-{}", std::process::id(), test.replace('_', "-"));
        for folder in ["containers", "names", "trash", "volumes"] {
            fs::create_dir_all(root.path().join("data").join(folder)).unwrap();
        }
        fs::create_dir_all(root.path().join("run/id-ranges")).unwrap();
        fs::create_dir_all(root.path().join("layer")).unwrap();
        let program = Path::new(SHIM).with_file_name("examples").join("hull-shim-program");
        fs::copy(&program, root.path().join("layer/program"))
            .unwrap_or_else(|error| panic!("{} (an example): {error}", program.display()));
        let engine = Self { request: request(&id, arguments), root, id };
        engine.create();
        Some(engine)
    }

    /// Makes the container's directories again.
    pub(crate) fn create(&self) {
        for folder in ["rw", "work"] {
            fs::create_dir_all(self.container().join(folder)).unwrap();
        }
        fs::create_dir_all(self.run()).unwrap();
        symlink(&self.id, self.data().join("names").join("web")).unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub(crate) fn container(&self) -> PathBuf {
        self.data().join("containers").join(&self.id)
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.root.path().join("run/containers").join(&self.id)
    }

    pub(crate) fn auto_remove(mut self) -> Self {
        self.request.spec.rootfs.volatile = true;
        self.request.auto_remove = Some(Removal { name: "web".into(), volumes: vec![] });
        self
    }

    pub(crate) fn terminal(mut self) -> Self {
        self.request.spec.process.terminal = true;
        self.request.spec.process.terminal_size = Some((80, 25));
        self.open_stdin()
    }

    pub(crate) fn open_stdin(mut self) -> Self {
        self.request.open_stdin = true;
        self.request.stdin_once = true;
        self
    }

    /// Starts the container with one client attached to everything.
    pub(crate) fn start_attached(&mut self) -> (Started, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.request.attaches = vec![everything()];
        let started = self.start_with(&[theirs.into()]).unwrap();
        (started, ours)
    }

    pub(crate) fn start(&self) -> Started {
        self.start_with(&[]).unwrap()
    }

    pub(crate) fn start_with(&self, attaches: &[OwnedFd]) -> Result<Started, StartError> {
        let open = |path: PathBuf| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).unwrap()
        };
        let container = open(self.container());
        let run = open(self.run());
        let data_root = open(self.data());
        let id_ranges = open(self.root.path().join("run/id-ranges"));
        let layer = open(self.root.path().join("layer"));
        let (upper, work) =
            (open(self.container().join("rw")), open(self.container().join("work")));
        let descriptors = StartDescriptors {
            container: container.as_fd(),
            run: run.as_fd(),
            data_root: data_root.as_fd(),
            id_ranges: id_ranges.as_fd(),
            layers: vec![layer.as_fd()],
            upper: Some((upper.as_fd(), work.as_fd())),
            trees: vec![],
            attaches: attaches.iter().map(AsFd::as_fd).collect(),
        };
        spawn(&shim(), &self.request, &descriptors)
    }

    pub(crate) fn with_shim<T>(&self, call: impl FnOnce(Shim<'_>) -> T) -> T {
        let run = File::open(self.run()).unwrap();
        call(Shim::new(run.as_fd()))
    }

    pub(crate) fn state(&self) -> Option<ContainerState> {
        ContainerState::read(File::open(self.container()).unwrap().as_fd()).unwrap()
    }

    pub(crate) fn recover(&self) -> Recovered {
        recover(&self.data(), &self.root.path().join("run"), &self.id).unwrap()
    }

    /// `None` when somebody else removed the container meanwhile.
    pub(crate) fn try_recover(&self) -> Option<Recovered> {
        match recover(&self.data(), &self.root.path().join("run"), &self.id) {
            Err(RecoverError::NotFound { .. }) => None,
            other => Some(other.unwrap()),
        }
    }

    /// The log, with streams as they came.
    pub(crate) fn log(&self) -> Output {
        let mut output = Output::default();
        let folder = self.container().join("logs");
        for age in (0..10).rev() {
            let name = if age == 0 { String::new() } else { format!(".{age}") };
            let text = fs::read_to_string(folder.join(format!("container.log{name}")));
            for line in text.unwrap_or_default().lines() {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                let to = match entry["stream"].as_str().unwrap() {
                    "stdout" => &mut output.stdout,
                    _ => &mut output.stderr,
                };
                to.extend_from_slice(entry["log"].as_str().unwrap().as_bytes());
            }
        }
        output
    }

    /// Waits until nothing of the container is left but what its record says, and checks that.
    pub(crate) fn assert_nothing_left(&self) {
        let groups = || cgroups(&self.id);
        eventually("its cgroups are gone", || groups().is_empty());
        eventually("its lock is gone", || !self.run().join("shim.lock").exists());
        eventually("its socket is gone", || !self.run().join("shim.sock").exists());
        let trash = || fs::read_dir(self.data().join("trash")).unwrap().count();
        eventually("the trash is empty", || trash() == 0);
        if self.request.auto_remove.is_some() {
            eventually("the run directory is gone", || !self.run().exists());
            assert!(!self.container().exists());
            assert!(fs::symlink_metadata(self.data().join("names/web")).is_err());
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // For tests that failed: their containers must not stay.
        if let Ok(cgroup) = hull_sandbox::Cgroup::open(&self.id) {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}

pub(crate) fn everything() -> AttachOptions {
    AttachOptions { stdin: true, stdout: true, stderr: true, detach_keys: default_detach_keys() }
}

pub(crate) fn process(arguments: &[&str]) -> Process {
    let program = std::iter::once("/program").chain(arguments.iter().copied());
    Process {
        args: program.map(str::to_owned).collect(),
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        user: String::new(),
        additional_groups: vec![],
        terminal: false,
        terminal_size: None,
        capabilities: vec![],
        no_new_privileges: true,
        rlimits: vec![],
    }
}

pub(crate) fn exec(id: &str, arguments: &[&str]) -> ExecRequest {
    ExecRequest {
        id: id.into(),
        process: process(arguments),
        attach: Some(everything()),
        about: String::new(),
    }
}

fn request(id: &str, arguments: &[&str]) -> StartRequest {
    let spec = Spec {
        id: id.to_owned(),
        process: process(arguments),
        hostname: "test".into(),
        domainname: String::new(),
        rootfs: Rootfs { readonly: false, volatile: false },
        userns: UserNamespace::Private { size: 65536 },
        network: Network::None,
        mounts: vec![],
        files: vec![],
        shm_size: 1 << 20,
        privileged: false,
        masked_paths: vec![],
        readonly_paths: vec![],
        resources: Resources::default(),
        init: false,
        seccomp: Seccomp::Default,
        oom_score_adj: 0,
    };
    StartRequest {
        version: VERSION,
        spec,
        log: LogConfig::default(),
        auto_remove: None,
        restart: RestartPolicy::No,
        health: None,
        open_stdin: false,
        stdin_once: false,
        layers: 1,
        upper: true,
        trees: 0,
        events: None,
        volumes: Vec::new(),
        attaches: vec![],
        step: false,
    }
}

/// Reads frames to the end of the stream.
pub(crate) fn read_frames(mut stream: impl Read) -> Output {
    let mut output = Output::default();
    loop {
        let mut header = [0; 8];
        match stream.read(&mut header[..1]).unwrap() {
            0 => return output,
            _ => stream.read_exact(&mut header[1..]).unwrap(),
        }
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let mut bytes = vec![0; length as usize];
        stream.read_exact(&mut bytes).unwrap();
        match header[..4] {
            [1, 0, 0, 0] => output.stdout.append(&mut bytes),
            [2, 0, 0, 0] => output.stderr.append(&mut bytes),
            _ => panic!("bad frame {header:?}"),
        }
    }
}

/// Reads until `text` has come.
pub(crate) fn read_until(mut stream: impl Read, text: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let length = stream.read(&mut buffer).unwrap();
        let seen_text = String::from_utf8_lossy(&seen);
        assert!(length > 0, "the stream ended before {text:?}: {seen_text:?}");
        seen.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(seen).unwrap()
}

pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let late = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < late, "not so after 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn cgroups(id: &str) -> Vec<PathBuf> {
    let topology = hull_sandbox::cgroup::Topology::discover().unwrap();
    let directory =
        |hierarchy: &hull_sandbox::cgroup::Hierarchy| hierarchy.directory("hull").join(id);
    topology.hierarchies.iter().map(directory).filter(|path| path.exists()).collect()
}

pub(crate) fn expected_lines(count: u64) -> Vec<u8> {
    (0..count).flat_map(|line| format!("{line:063}\n").into_bytes()).collect()
}
