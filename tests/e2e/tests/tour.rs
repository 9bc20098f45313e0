//! One script of commands on two engines, Hull's and Docker's: what is printed is compared.
//!
//! Once with the `docker` command, which proves our API with a client that nobody here wrote; and
//! once with `hull --host`, which proves our client with an engine that nobody here wrote. Ids,
//! times and sizes are left out; every other difference is in a table below, with its reason.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hull_test_support::busybox::{base_tar, busybox_image, static_busybox};
use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, eventually, needs};

const STEPS: &str = include_str!("tour/steps.txt");

/// Differences between the engines that the `docker` command shows, and why they are right.
const ACCEPTED: &[(&str, &str)] = &[
    (
        "docker save -o saved.tar busybox imported:v1 && tar -tf saved.tar | grep -c -e manifest.json -e repositories -e oci-layout",
        "Docker adds the file repositories, which only engines before manifest.json read",
    ),
    ("docker load < /dev/null", "Hull says what is missing instead of a path of its own"),
    ("docker run --rm --network none busybox /nosuch", "the words of another runtime"),
    ("docker run --rm --network none busybox /etc", "the words of another runtime"),
    ("docker exec one /nosuch", "the words of another runtime"),
    ("docker exec one /etc", "the words of another runtime"),
    (
        "docker update --memory 64m --memory-swap 64m one",
        "Docker warns of the host's forwarding, which a container without network does not need",
    ),
];

/// Differences between the engines that only `hull --host` shows.
const ACCEPTED_BY_HULL: &[(&str, &str)] =
    &[("docker system df", "Hull tells every class of what it keeps on disk")];

/// Runs the steps in the folder it is started in, with an end to each.
const RUNNER: &str = r#"
mkdir -p steps files; printf 'first\n' > files/one; printf 'second\n' > files/two
number=0
while IFS= read -r line <&3; do
    case "$line" in ''|'#'*) continue;; esac
    number=$((number + 1))
    timeout -s KILL 20 bash -c "$line" > steps/$number.out 2> steps/$number.err < /dev/null
    echo $? > steps/$number.code
done 3< steps.txt
"#;

/// What a step ended with, without what differs from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    code: String,
    stdout: String,
    stderr: String,
}

fn steps() -> impl Iterator<Item = &'static str> {
    STEPS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Everything both tours need: Hull with a daemon, Docker's daemon, and the words of the peers.
struct Engines {
    hull: Hull,
    daemon: Daemon,
    docker: Docker,
    peers: Vec<String>,
}

impl Engines {
    fn end(self) {
        let Self { hull, daemon, docker, .. } = self;
        drop((daemon, docker));
        hull.finish();
    }
}

fn engines() -> Option<Engines> {
    let peers = needs::peers()?;
    needs::program("script")?;
    let (image, busybox) = (busybox_image()?, std::fs::read(static_busybox()?).ok()?);
    let hull = Hull::new()?;
    hull.folder().strip_prefix("/tmp").ok()?;
    hull.file("image.tar", &image.docker_archive(&["busybox:latest"]));
    let root = base_tar().file("bin/busybox", 0o755, &busybox).symlink("bin/echo", "busybox");
    hull.file("root.tar", &root.finish());
    let docker = Docker::start(&peers, hull.folder());
    let daemon = Daemon::start(&hull);
    Some(Engines { hull, daemon, docker, peers })
}

/// A script in the peers' root, where the test's folder has the same path as outside.
fn in_peers(peers: &[String], folder: &Path, script: &str) -> Command {
    let folder = folder.display();
    let name = folder.to_string();
    let inside = name.replacen("/tmp", "/host", 1);
    let script = format!("mkdir -p {folder} && mount --bind {inside} {folder} && {script}");
    let mut command = Command::new(&peers[0]);
    command.args(&peers[1..]).args(["bash", "-c", &script]);
    command
}

/// Docker's daemon, with all its state in the test's folder.
struct Docker {
    child: Child,
    socket: PathBuf,
}

impl Docker {
    #[track_caller]
    fn start(peers: &[String], folder: &Path) -> Self {
        let script = format!(
            "cd {} && mkdir -p docker exec && exec dockerd --data-root $PWD/docker \
             --exec-root $PWD/exec -H unix://$PWD/docker.sock --pidfile $PWD/docker.pid \
             --bridge none --iptables=false --ip6tables=false >dockerd.log 2>&1",
            folder.display()
        );
        let child = in_peers(peers, folder, &script).spawn().expect("the peers' program starts");
        let docker = Self { child, socket: folder.join("docker.sock") };
        let up = eventually(Duration::from_secs(60), || {
            std::os::unix::net::UnixStream::connect(&docker.socket).is_ok()
        });
        assert!(up, "{}", std::fs::read_to_string(folder.join("dockerd.log")).unwrap_or_default());
        docker
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Makes the folder of one tour.
fn prepare(hull: &Hull, name: &str) -> PathBuf {
    let folder = hull.folder().join(name);
    std::fs::create_dir(&folder).unwrap();
    for file in ["image.tar", "root.tar"] {
        std::fs::hard_link(hull.folder().join(file), folder.join(file)).unwrap();
    }
    std::fs::write(folder.join("steps.txt"), STEPS).unwrap();
    std::fs::write(folder.join("runner"), RUNNER).unwrap();
    folder
}

/// A tour under way.
struct Tour {
    folder: PathBuf,
    child: Child,
}

/// The tour by the `docker` command.
fn by_docker(engines: &Engines, name: &str, host: &str) -> Tour {
    let folder = prepare(&engines.hull, name);
    let script = format!(
        "cd {} && HOME=$PWD DOCKER_HOST={host} exec bash ./runner >/dev/null 2>&1",
        folder.display()
    );
    let mut command = in_peers(&engines.peers, engines.hull.folder(), &script);
    Tour { folder, child: command.spawn().unwrap() }
}

/// The tour by `hull --host`, under the name `docker`.
fn by_hull(engines: &Engines, name: &str, host: &str) -> Tour {
    let folder = prepare(&engines.hull, name);
    let programs = folder.join("bin");
    std::fs::create_dir(&programs).unwrap();
    let hull = engines.hull.programs().join("hull");
    let wrapper = format!("#!/bin/sh\nexec {} --host {host} \"$@\"\n", hull.display());
    std::fs::write(programs.join("docker"), wrapper).unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(programs.join("docker"), mode).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let mut command = Command::new("/bin/bash");
    command.arg("./runner").current_dir(&folder).env_clear();
    command.env("PATH", path).env("HOME", &folder).env("TERM", "xterm");
    Tour { folder, child: command.stdin(Stdio::null()).spawn().unwrap() }
}

impl Tour {
    /// Waits for its end; what each step ended with.
    #[track_caller]
    fn end(mut self) -> Vec<Outcome> {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.folder.display());
        let read = |number: usize, kind: &str| {
            let path = self.folder.join("steps").join(format!("{number}.{kind}"));
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
            normal(&text.replace(&self.folder.display().to_string(), "DIR"))
        };
        let outcome = |number| Outcome {
            code: read(number, "code").trim().to_owned(),
            stdout: read(number, "out"),
            stderr: read(number, "err"),
        };
        (1..=steps().count()).map(outcome).collect()
    }
}

/// Leaves out ids, times, sizes and advice.
fn normal(text: &str) -> String {
    let mut lines = String::new();
    // Advice is Hull's own, in a field that Docker's answers do not have.
    for line in text.lines().filter(|line| !line.starts_with("hint: ")) {
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        let line = words.join(" ");
        let line = line.replace("Less than a second", "AGE").replace("About a minute", "AGE");
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{}", ages(&line));
    }
    lines
}

/// A word; its ids, times and sizes replaced.
fn word(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".:-+_".contains(c);
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        out.push_str(&replaced(part));
        let next = after.find(is_part).unwrap_or(after.len());
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    out
}

fn replaced(part: &str) -> String {
    let hex = part.strip_prefix("sha256:").unwrap_or(part);
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_hex && matches!(hex.len(), 12 | 64) {
        return "ID".to_owned();
    }
    let bytes = part.as_bytes();
    if bytes.len() >= 19 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':' {
        return "TIME".to_owned();
    }
    let unit = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let units = ["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"];
    if unit.len() < part.len() && units.contains(&unit) {
        return "SIZE".to_owned();
    }
    part.to_owned()
}

/// `5 seconds` becomes `AGE`.
fn ages(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let units = ["second", "seconds", "minute", "minutes"];
    let mut index = 1;
    while index < words.len() {
        if units.contains(&words[index]) && words[index - 1].parse::<u32>().is_ok() {
            words[index - 1] = "AGE";
            words.remove(index);
        } else {
            index += 1;
        }
    }
    words.join(" ")
}

/// Fails with every difference that is not accepted, and with every accepted one that is gone.
#[track_caller]
fn compare(hull: Tour, docker: Tour, accepted: &[&[(&str, &str)]]) {
    let accepted: BTreeMap<&str, &str> = accepted.concat().into_iter().collect();
    let (hull, docker) = (hull.end(), docker.end());
    let mut seen = BTreeSet::new();
    let mut wrong = String::new();
    for (step, (hull, docker)) in steps().zip(hull.iter().zip(&docker)) {
        for side in [hull, docker] {
            let unknown = side.stderr.contains("unknown command") || side.code == "137";
            assert!(!unknown, "{step}: {side:?}");
        }
        if hull != docker && !accepted.contains_key(step) {
            // Writing to a string does not fail.
            let _ = writeln!(wrong, "{step}\n  Hull:   {hull:?}\n  Docker: {docker:?}");
        } else if hull != docker {
            seen.insert(step);
        }
    }
    for step in accepted.keys().filter(|step| !seen.contains(*step)) {
        let _ = writeln!(wrong, "no difference any more: {step}");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_tour_is_long_enough() {
    let count = steps().count();
    assert!(count >= 80, "{count} steps");
    assert_eq!(
        normal("ab12ab12ab12 5 seconds ago  1.5MB  2026-01-02T03:04:05Z\n/sha256:x Up 3 minutes"),
        "ID AGE ago SIZE TIME\n/sha256:x Up AGE\n"
    );
}

#[test]
fn privileged_tour_by_the_docker_command() {
    let Some(engines) = engines() else { return };
    let hull = by_docker(&engines, "by-docker-hull", &engines.daemon.host());
    let docker = by_docker(&engines, "by-docker", &engines.docker.host());
    compare(hull, docker, &[ACCEPTED]);
    engines.end();
}

#[test]
fn privileged_tour_by_hull() {
    let Some(engines) = engines() else { return };
    let hull = by_hull(&engines, "by-hull", &engines.daemon.host());
    let docker = by_hull(&engines, "by-hull-docker", &engines.docker.host());
    compare(hull, docker, &[ACCEPTED, ACCEPTED_BY_HULL]);
    engines.end();
}
