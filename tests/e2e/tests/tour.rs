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
use hull_test_support::registry::DebianRegistry;
use hull_test_support::{Hull, eventually, needs};

/// What both engines are asked.
const STEPS: &str = include_str!("tour/steps.txt");

/// What is asked of a registry, at `$REGISTRY`, by way of an engine.
const REGISTRY_STEPS: &str = include_str!("tour/registry.txt");

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

/// Differences between the commands that registries show.
const ACCEPTED_WITH_REGISTRIES: &[(&str, &str)] = &[
    ("docker login a b", "Docker's usage has a letter too many"),
    ("docker logout a b", "Docker's usage has a letter too many"),
];

/// Differences between the engines that registries show.
const ACCEPTED_OF_ENGINES_WITH_REGISTRIES: &[(&str, &str)] = &[
    ("docker push $REGISTRY/team/box", "Docker leaves the missing tag out of its words"),
    ("docker push nosuch:v1", "Docker leaves the missing tag out of its words"),
    (
        "docker push $REGISTRY/team/box:v1",
        "the manifest that Hull makes is shorter; without a login, Hull's words say what was tried and what the registry answered",
    ),
    (
        "docker pull $REGISTRY/team/box:v1",
        "Hull verifies and unpacks while the layer arrives, and says so in other steps; without a login, Hull's words say what was tried and what the registry answered",
    ),
    (
        "echo falsch | docker login -u me --password-stdin $REGISTRY",
        "Hull's words say what was tried and what the registry answered",
    ),
    (
        "docker image pull $REGISTRY/team/box",
        "Hull's words say what was tried and what the registry answered",
    ),
    (
        "docker pull $REGISTRY/team/nosuch:v1",
        "Hull's words say what was tried and what the registry answered",
    ),
    (
        "docker pull -q $REGISTRY/team/box:nosuch",
        "Hull's words say what was tried and what the registry answered",
    ),
    (
        "docker pull --platform linux/s390x $REGISTRY/team/box:v1",
        "Docker only warns that the image is for another platform than was asked for",
    ),
    (
        "docker pull $(docker inspect --format '{{index .RepoDigests 0}}' $REGISTRY/team/box:v1)",
        "Docker repeats the repository in front of the digest",
    ),
    (
        "docker run --rm --network none $REGISTRY/team/box:v1 echo ran",
        "Hull verifies and unpacks while the layer arrives, and says so in other steps",
    ),
    (
        "docker run --rm --network none $REGISTRY/team/box:none echo ran 2>&1 | head -2",
        "Hull's words say what was tried and what the registry answered",
    ),
    (
        "docker pull 127.0.0.1:1/box",
        "Hull's words say what was tried and what the registry answered",
    ),
];

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

fn steps(script: &'static str) -> impl Iterator<Item = &'static str> {
    script.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
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
fn prepare(hull: &Hull, name: &str, script: &str) -> PathBuf {
    let folder = hull.folder().join(name);
    std::fs::create_dir(&folder).unwrap();
    for file in ["image.tar", "root.tar"] {
        std::fs::hard_link(hull.folder().join(file), folder.join(file)).unwrap();
    }
    std::fs::write(folder.join("steps.txt"), script).unwrap();
    std::fs::write(folder.join("runner"), RUNNER).unwrap();
    folder
}

/// A tour under way.
struct Tour {
    script: &'static str,
    folder: PathBuf,
    child: Child,
    /// One of its own: what the tour beside it pushes is not there yet.
    registry: DebianRegistry,
}

/// A registry for `me` with the password `geheim`.
fn registry(folder: &Path) -> Option<DebianRegistry> {
    let users = folder.join("htpasswd");
    std::fs::write(&users, "me:$2y$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n")
        .unwrap();
    let users = users.display();
    DebianRegistry::start_with(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {users}\n"))
}

/// The tour by the `docker` command.
fn by_docker(engines: &Engines, script: &'static str, name: &str, host: &str) -> Option<Tour> {
    let folder = prepare(&engines.hull, name, script);
    let registry = registry(&folder)?;
    let words = format!(
        "cd {} && HOME=$PWD DOCKER_HOST={host} REGISTRY={} exec bash ./runner >/dev/null 2>&1",
        folder.display(),
        registry.address()
    );
    let mut command = in_peers(&engines.peers, engines.hull.folder(), &words);
    Some(Tour { script, folder, child: command.spawn().unwrap(), registry })
}

/// The tour by `hull --host`, under the name `docker`.
fn by_hull(engines: &Engines, script: &'static str, name: &str, host: &str) -> Option<Tour> {
    let folder = prepare(&engines.hull, name, script);
    let registry = registry(&folder)?;
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
    command.env("REGISTRY", registry.address());
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    Some(Tour { script, folder, child, registry })
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
            let text = text.replace(&self.folder.display().to_string(), "DIR");
            // The name of the command itself is no difference.
            normal(&text.replace(self.registry.address(), "REGISTRY").replace("hull ", "docker "))
        };
        let outcome = |number| Outcome {
            code: read(number, "code").trim().to_owned(),
            stdout: read(number, "out"),
            stderr: read(number, "err"),
        };
        (1..=steps(self.script).count()).map(outcome).collect()
    }
}

/// Who says that something went wrong, in the order in which they stand.
const PREFIXES: [&str; 4] = ["hull: ", "docker: ", "Error response from daemon: ", "Error: "];

/// Leaves out ids, times, sizes and advice.
fn normal(text: &str) -> String {
    let mut lines = String::new();
    // Advice is Hull's own, in a field that Docker's answers do not have.
    // Docker tells of a checksum or not, as the moments are.
    let own = |line: &&str| !line.starts_with("hint: ") && !line.ends_with(": Verifying Checksum");
    for line in text.lines().filter(own) {
        let line =
            PREFIXES.iter().fold(line, |line, prefix| line.strip_prefix(prefix).unwrap_or(line));
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
    let script = hull.script;
    compare_outcomes(script, &hull.end(), &docker.end(), accepted);
}

#[track_caller]
fn compare_outcomes(
    script: &'static str,
    hull: &[Outcome],
    docker: &[Outcome],
    accepted: &[&[(&str, &str)]],
) {
    let accepted: BTreeMap<&str, &str> = accepted.concat().into_iter().collect();
    let mut seen = BTreeSet::new();
    let mut wrong = String::new();
    for (step, (hull, docker)) in steps(script).zip(hull.iter().zip(docker)) {
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
    let count = steps(STEPS).count();
    assert!(count >= 80, "{count} steps");
    assert_eq!(
        normal("ab12ab12ab12 5 seconds ago  1.5MB  2026-01-02T03:04:05Z\n/sha256:x Up 3 minutes"),
        "ID AGE ago SIZE TIME\n/sha256:x Up AGE\n"
    );
}

#[test]
fn privileged_tour_by_the_docker_command() {
    let Some(engines) = engines() else { return };
    let hull = by_docker(&engines, STEPS, "by-docker-hull", &engines.daemon.host());
    let docker = by_docker(&engines, STEPS, "by-docker", &engines.docker.host());
    let (Some(hull), Some(docker)) = (hull, docker) else { return };
    compare(hull, docker, &[ACCEPTED]);
    engines.end();
}

#[test]
fn privileged_tour_by_hull() {
    let Some(engines) = engines() else { return };
    let hull = by_hull(&engines, STEPS, "by-hull", &engines.daemon.host());
    let docker = by_hull(&engines, STEPS, "by-hull-docker", &engines.docker.host());
    let (Some(hull), Some(docker)) = (hull, docker) else { return };
    compare(hull, docker, &[ACCEPTED, ACCEPTED_BY_HULL]);
    engines.end();
}

#[test]
fn privileged_tour_of_registries_by_both_commands() {
    let Some(engines) = engines() else { return };
    let docker = by_docker(&engines, REGISTRY_STEPS, "by-docker", &engines.docker.host());
    let Some(docker) = docker else { return };
    // One after the other: both have the same images.
    let docker = docker.end();
    let hull = by_hull(&engines, REGISTRY_STEPS, "by-hull", &engines.docker.host());
    let Some(hull) = hull else { return };
    compare_outcomes(REGISTRY_STEPS, &hull.end(), &docker, &[ACCEPTED_WITH_REGISTRIES]);
    engines.end();
}

#[test]
fn privileged_tour_of_registries_on_both_engines() {
    let Some(engines) = engines() else { return };
    let hull = by_docker(&engines, REGISTRY_STEPS, "on-hull", &engines.daemon.host());
    let docker = by_docker(&engines, REGISTRY_STEPS, "on-docker", &engines.docker.host());
    let (Some(hull), Some(docker)) = (hull, docker) else { return };
    compare(hull, docker, &[ACCEPTED_OF_ENGINES_WITH_REGISTRIES]);
    engines.end();
}
