//! What a container sees, and what it does not.

use hull_sandbox::capability::DEFAULT;
use hull_sandbox::spec::{
    Mount, MountSource, Network, Resources, Rlimit, Seccomp, SuppliedFile, UserNamespace,
};
use hull_sandbox::{Stdio, cgroup::Topology};

use crate::Test;
use crate::container::{Container, capture, stop, wait};

pub(crate) const TESTS: &[Test] = &[
    ("privileged_runs_and_exits", runs_and_exits),
    ("privileged_ids_and_capabilities", ids_and_capabilities),
    ("privileged_another_user", another_user),
    ("privileged_without_limits_of_privilege", without_limits_of_privilege),
    ("privileged_mounts_and_masks", mounts_and_masks),
    ("privileged_cgroups", cgroups),
    ("privileged_writable_layer", writable_layer),
    ("privileged_readonly_root", readonly_root),
    ("privileged_devices", devices),
    ("privileged_supplied_files", supplied_files),
    ("privileged_user_mounts", user_mounts),
    ("privileged_mask_beneath_a_user_mount", mask_beneath_a_user_mount),
    ("privileged_process_surroundings", process_surroundings),
    ("privileged_limits", limits),
    ("privileged_terminal", terminal),
    ("privileged_terminal_with_init", terminal_with_init),
    ("privileged_init_reaps_and_forwards", init_reaps_and_forwards),
    ("privileged_host_user_namespace", host_user_namespace),
    ("privileged_full_access", full_access),
    ("privileged_dies_with_its_supervisor", dies_with_its_supervisor),
    ("privileged_freeze_and_kill", freeze_and_kill),
    ("privileged_large_id_range", large_id_range),
    ("privileged_user_namespaces_side_by_side", user_namespaces_side_by_side),
];

fn runs_and_exits() {
    let mut container = Container::new(&["exit", "7"]);
    let ended = container.run().unwrap();
    assert_eq!((ended.code, &*ended.output), (7, ""));
    container.assert_gone();
    let mut killed = Container::new(&["sleep"]);
    let running = killed.start(Stdio::default()).unwrap();
    rustix::process::pidfd_send_signal(&running.pidfd, rustix::process::Signal::KILL).unwrap();
    assert_eq!(wait(rustix::fd::AsFd::as_fd(&running.pidfd)), 137);
    running.cgroup.remove().unwrap();
}

/// The line of /proc/self/status that begins with `name`.
fn field<'t>(status: &'t str, name: &str) -> &'t str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

fn set(capabilities: u64) -> String {
    format!("{capabilities:016x}")
}

fn default_set() -> String {
    set(DEFAULT.iter().fold(0, |bits, capability| bits | capability.bit()))
}

fn ids_and_capabilities() {
    let mut container =
        Container::new(&["cat", "/proc/self/status", "/proc/self/uid_map", "/proc/self/gid_map"]);
    let status = container.output();
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&status, name), default_set(), "{name}");
    }
    // CVE-2022-24769 and its kin: nothing to inherit.
    for name in ["CapInh", "CapAmb"] {
        assert_eq!(field(&status, name), set(0), "{name}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
    assert_eq!(field(&status, "Seccomp_filters"), "1");
    assert_eq!(field(&status, "Uid"), "0\t0\t0\t0");
    assert_eq!(field(&status, "Groups"), "0");
    assert_eq!(field(&status, "Pid"), "1");
    assert_eq!(field(&status, "SigBlk"), set(0));
    for map in status.lines().rev().take(2) {
        let [inside, outside, size]: [u32; 3] = map
            .split_ascii_whitespace()
            .map(|word| word.parse().unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        assert_eq!((inside, size), (0, 65536));
        assert!(outside >= 1 << 16, "{map}");
    }
}

fn another_user() {
    let mut container = Container::new(&["cat", "/proc/self/status"]);
    container.spec.process.user = "joe".to_owned();
    let status = container.output();
    assert_eq!(field(&status, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&status, "Gid"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&status, "Groups"), "7 1000");
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(&status, name), set(0), "{name}");
    }
    assert_eq!(field(&status, "CapBnd"), default_set());

    let mut container = Container::new(&["write", "/dev/stdout", "by path"]);
    container.spec.process.user = "1000:1000".to_owned();
    assert_eq!(container.output(), "by pathdone\n");
}

fn without_limits_of_privilege() {
    let mut container = Container::new(&["cat", "/proc/self/status"]);
    container.spec.process.no_new_privileges = false;
    let status = container.output();
    assert_eq!(field(&status, "NoNewPrivs"), "0");
    assert_eq!(field(&status, "Seccomp"), "2");
    container.spec.seccomp = Seccomp::Unconfined;
    assert_eq!(field(&container.output(), "Seccomp"), "0");
    container.spec.seccomp = Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.to_owned());
    assert_eq!(field(&container.output(), "Seccomp"), "2");
    container.spec.seccomp = Seccomp::Profile("{".to_owned());
    assert!(container.error().message.contains("seccomp profile"));
}

/// Mount points and their options, from /proc/self/mountinfo.
fn mount_options(mountinfo: &str) -> Vec<(&str, &str)> {
    mountinfo
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[4], words[5])
        })
        .collect()
}

fn mounts_and_masks() {
    let mut container = Container::new(&["cat", "/proc/self/mountinfo"]);
    let text = container.output();
    let mounts = mount_options(&text);
    let options = |path: &str| {
        let found = mounts.iter().rev().find(|(point, _)| *point == path);
        found.unwrap_or_else(|| panic!("{path} in {text}")).1
    };
    for (path, wanted) in [
        ("/proc", "rw,nosuid,nodev,noexec"),
        ("/dev", "rw,nosuid"),
        ("/dev/pts", "rw,nosuid,noexec"),
        ("/dev/shm", "rw,nosuid,nodev,noexec"),
        ("/dev/mqueue", "rw,nosuid,nodev,noexec"),
        ("/sys", "ro,nosuid,nodev,noexec"),
        ("/proc/sys", "ro,nosuid,nodev,noexec"),
        ("/proc/bus", "ro,nosuid,nodev,noexec"),
        ("/sys/firmware", "ro,nosuid,nodev,noexec"),
    ] {
        assert!(options(path).starts_with(wanted), "{path}: {}", options(path));
    }
    assert!(mounts.iter().all(|(_, options)| !options.contains("shared")), "{text}");
    assert!(!text.contains("ext4"), "a mount of the host's is left: {text}");

    let mut container = Container::new(&["ls", "/sys/firmware"]);
    assert_eq!(container.output(), "\n");
    let mut container = Container::new(&["stat", "/proc/keys", "/proc/timer_list"]);
    for line in container.output().lines() {
        assert!(line.contains("device 1:3"), "{line}");
    }
    let mut container = Container::new(&["write", "/proc/sys/kernel/core_pattern", "|/evil"]);
    assert!(container.output().contains("Read-only"));
}

fn cgroups() {
    let mut container = Container::new(&["cat", "/proc/self/cgroup"]);
    container.spec.resources = Resources {
        memory: Some(64 << 20),
        pids_limit: Some(50),
        nano_cpus: Some(500_000_000),
        ..Resources::default()
    };
    let text = container.output();
    assert!(text.lines().all(|line| line.ends_with(":/")), "{text}");

    let topology = Topology::discover().unwrap();
    let mut container = Container::new(&["sleep"]);
    container.spec.resources.memory = Some(64 << 20);
    container.spec.resources.pids_limit = Some(50);
    let running = container.start(Stdio::default()).unwrap();
    let stats = running.cgroup.stats();
    assert_eq!(
        (stats.memory_limit, stats.pids_limit, stats.pids),
        (Some(64 << 20), Some(50), Some(1))
    );
    assert_eq!(running.cgroup.pids().unwrap(), [running.pid]);
    assert_eq!(running.cgroup.oom_kills(), 0);
    let host = std::fs::read_to_string(format!("/proc/{}/cgroup", running.pid)).unwrap();
    let entered =
        host.lines().filter(|line| line.ends_with(&format!("/hull/{}", container.spec.id))).count();
    assert_eq!(entered, topology.hierarchies.len(), "{host}");
    stop(&running);

    let mut container = Container::new(&["true"]);
    container.spec.resources.cpuset_cpus = Some("1000".to_owned());
    assert!(container.error().message.contains("cpuset.cpus"));
    container.spec.resources =
        Resources { memory: Some(1 << 20), memory_swap: Some(1), ..Resources::default() };
    assert!(container.error().message.contains("below"));
}

fn writable_layer() {
    use std::os::unix::fs::MetadataExt;
    let mut container = Container::new(&["write", "/etc/new", "text"]);
    assert_eq!(container.output(), "done\n");
    let written = std::fs::metadata(container.upper("etc/new")).unwrap();
    assert_eq!((written.uid(), written.gid()), (0, 0), "ids on disk are the container's own");
    assert!(!container.image("etc/new").exists());
    let mut container = Container::new(&["stat", "/etc/passwd"]);
    assert!(container.output().contains(" 0:0 "));
}

fn readonly_root() {
    let mut container = Container::new(&["write", "/new", "text"]);
    container.spec.rootfs.readonly = true;
    assert!(container.output().contains("Read-only"));
    let mut container = Container::new(&["write", "/dev/shm/new", "text"]);
    container.spec.rootfs.readonly = true;
    assert_eq!(container.output(), "done\n");
}

fn devices() {
    let mut container = Container::new(&[
        "stat",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
    ]);
    let text = container.output();
    for (line, device) in text.lines().zip(["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]) {
        assert!(
            line.starts_with("/dev/")
                && line.contains(" 20666 ")
                && line.contains(&format!("device {device} ")),
            "{text}"
        );
    }
    let mut container = Container::new(&["ls", "/dev"]);
    assert_eq!(
        container.output().trim(),
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    let mut container = Container::new(&["mknod", "/dev/evil"]);
    container.spec.process.capabilities.push("CAP_MKNOD".to_owned());
    assert!(container.output().contains("not permitted"));
}

fn supplied_files() {
    let file = |path: &str, content: &str| SuppliedFile {
        path: path.to_owned(),
        content: content.to_owned(),
    };
    let mut container = Container::new(&["cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]);
    std::os::unix::fs::symlink("../run/stub/resolv.conf", container.image("etc/resolv.conf"))
        .unwrap();
    container.spec.files = vec![
        file("/etc/hosts", "one\n"),
        file("/etc/hostname", "two\n"),
        file("/etc/resolv.conf", "three\n"),
    ];
    assert_eq!(container.output(), "one\ntwo\nthree\n");
    let mut container = Container::new(&["write", "/etc/hosts", "mine"]);
    container.spec.files = vec![file("/etc/hosts", "one\n")];
    assert_eq!(container.output(), "done\n");
}

fn user_mounts() {
    use std::os::unix::fs::{MetadataExt, chown};
    let mut container = Container::new(&["write", "/data/deep/file", "text"]);
    let host = container.host("host");
    chown(&host, Some(0), Some(0)).unwrap();
    container.bind(&host, "/data/deep", false, true);
    assert_eq!(container.output(), "done\n");
    let written = std::fs::metadata(host.join("file")).unwrap();
    assert_eq!(written.uid(), 0, "the owner on the host is the id inside");

    container.spec.mounts.clear();
    container.bind(&host, "/data/deep", true, true);
    assert!(container.output().contains("Read-only"));

    // Without a translation the host's files belong to nobody.
    container.spec.mounts.clear();
    container.spec.process.args = vec!["/probe".into(), "stat".into(), "/data/deep".into()];
    container.bind(&host, "/data/deep", false, false);
    assert!(container.output().contains("65534:65534"));

    let mut container = Container::new(&["cat", "/etc/mounted"]);
    let host = container.host("host");
    std::fs::write(host.join("file"), "a file\n").unwrap();
    container.bind(&host.join("file"), "/etc/mounted", true, true);
    assert_eq!(container.output(), "a file\n");

    let mut container = Container::new(&["cat", "/proc/self/mountinfo"]);
    let source = MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o700), exec: false };
    container.spec.mounts.push(Mount { destination: "/scratch".into(), source, readonly: false });
    let text = container.output();
    let line = text.lines().find(|line| line.contains(" /scratch ")).unwrap();
    assert!(
        line.contains("rw,nosuid,nodev,noexec") && line.contains("size=1024k,mode=700"),
        "{line}"
    );
}

fn mask_beneath_a_user_mount() {
    let mut container = Container::new(&["stat", "/sys/firmware", "/sys/hidden"]);
    let host = container.host("host");
    std::fs::create_dir_all(host.join("firmware/secret")).unwrap();
    std::fs::write(host.join("hidden"), "secret").unwrap();
    container.bind(&host, "/sys", false, true);
    container.spec.masked_paths.push("/sys/hidden".to_owned());
    let text = container.output();
    assert!(text.lines().nth(1).unwrap().contains("device 1:3"), "{text}");
    container.bind(&host, "/sys", false, true);
    container.spec.mounts.remove(0);
    if let MountSource::Tree { tree, .. } = &mut container.spec.mounts[0].source {
        *tree = 0;
    }
    container.spec.process.args = vec!["/probe".into(), "ls".into(), "/sys/firmware".into()];
    assert_eq!(container.output(), "\n");
}

fn process_surroundings() {
    let mut container = Container::new(&["env"]);
    container.spec.process.env = vec!["A=b".to_owned(), "EMPTY=".to_owned()];
    assert_eq!(container.output(), "A=b\nEMPTY=\nHOME=/root\n");
    container.spec.process.user = "joe".to_owned();
    assert!(container.output().ends_with("HOME=/home/joe\n"));
    container.spec.process.env = vec!["HOME=/x".to_owned()];
    assert_eq!(container.output(), "HOME=/x\n");

    let mut container = Container::new(&["cwd"]);
    container.spec.process.cwd = "/made/here".to_owned();
    assert_eq!(container.output(), "/made/here\n");
    let mut container = Container::new(&["hostname"]);
    assert_eq!(container.output(), "box\n");
    let mut container = Container::new(&["cat", "/proc/net/dev"]);
    let devices = container.output();
    assert_eq!(devices.lines().skip(2).count(), 1, "{devices}");

    // Ports below 1024 are open to all in a network of their own.
    let mut container = Container::new(&["listen", "80"]);
    container.spec.process.user = "joe".to_owned();
    assert_eq!(container.output(), "done\n");

    // By name, through PATH.
    let mut container = Container::new(&[]);
    container.spec.process.args = vec!["probe".to_owned(), "pid".to_owned()];
    assert_eq!(container.output(), "1\n");
}

fn limits() {
    let mut container = Container::new(&["cat", "/proc/self/limits", "/proc/self/oom_score_adj"]);
    let rlimit = |name: &str, soft, hard| Rlimit { name: name.to_owned(), soft, hard };
    container.spec.process.rlimits = vec![rlimit("nofile", 64, 128), rlimit("core", 0, 0)];
    container.spec.oom_score_adj = 500;
    let text = container.output();
    let line = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(line("Max open files")[3..5], ["64", "128"]);
    assert_eq!(line("Max core file size")[4..6], ["0", "0"]);
    assert!(text.ends_with("500\n"));
    container.spec.process.rlimits = vec![rlimit("nosuch", 1, 1)];
    assert!(container.error().message.contains("\"nosuch\""));
    container.spec.process.rlimits = vec![rlimit("nofile", 2, 1)];
    assert!(container.error().message.contains("above the hard limit"));
}

fn terminal() {
    use std::io::Read;
    let mut container = Container::new(&["tty"]);
    container.spec.process.terminal = true;
    container.spec.process.terminal_size = Some((77, 33));
    container.spec.process.user = "joe".to_owned();
    let mut running = container.start(Stdio::default()).unwrap();
    let mut master = std::fs::File::from(running.console.take().unwrap());
    assert_eq!(wait(rustix::fd::AsFd::as_fd(&running.pidfd)), 0);
    let mut text = vec![0; 4096];
    let length = master.read(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..length]);
    assert!(text.starts_with("/dev/pts/0 77x33 controlling true\r\n"), "{text}");
    assert!(text.contains("/dev/console 20620 1000:5 device 136:0"), "{text}");
    running.cgroup.remove().unwrap();
}

fn terminal_with_init() {
    use std::io::{Read, Write};
    let mut container = Container::new(&["interrupted"]);
    container.spec.process.terminal = true;
    container.spec.init = true;
    let mut running = container.start(Stdio::default()).unwrap();
    let mut master = std::fs::File::from(running.console.take().unwrap());
    let mut text = [0; 64];
    let length = master.read(&mut text).unwrap();
    assert_eq!(&text[..length], b"ready\r\n");
    master.write_all(b"\x03").unwrap();
    // Killed by the interrupt, not by anything else.
    assert_eq!(wait(rustix::fd::AsFd::as_fd(&running.pidfd)), 130);
    running.cgroup.remove().unwrap();
}

fn init_reaps_and_forwards() {
    let mut container = Container::new(&["pid"]);
    container.spec.init = true;
    assert_eq!(container.output(), "2\n");
    let mut container = Container::new(&["exit", "9"]);
    container.spec.init = true;
    assert_eq!(container.run().unwrap().code, 9);
    let mut container = Container::new(&["raise", "9"]);
    container.spec.init = true;
    assert_eq!(container.run().unwrap().code, 137);
    let mut container = Container::new(&["cat", "/proc/1/comm", "/proc/1/status"]);
    container.spec.init = true;
    let status = container.output();
    assert!(status.starts_with("hull-init\n"), "{status}");
    assert_eq!(field(&status, "CapEff"), default_set());
    assert_eq!(field(&status, "Seccomp"), "2");
    let mut container = Container::new(&["orphan"]);
    container.spec.init = true;
    assert_eq!(container.output(), "reaped\n");
    // A signal to process 1 reaches the program.
    let mut container = Container::new(&["sleep"]);
    container.spec.init = true;
    let running = container.start(Stdio::default()).unwrap();
    rustix::process::pidfd_send_signal(&running.pidfd, rustix::process::Signal::TERM).unwrap();
    assert_eq!(wait(rustix::fd::AsFd::as_fd(&running.pidfd)), 143);
    running.cgroup.remove().unwrap();
    // Its files are not the container's to open.
    let mut container = Container::new(&["ls", "/proc/1/fd"]);
    container.spec.init = true;
    assert!(container.output().contains("denied"));
}

fn host_user_namespace() {
    let mut container = Container::new(&["cat", "/proc/self/uid_map", "/proc/self/status"]);
    container.spec.userns = UserNamespace::Host;
    let text = container.output();
    assert!(text.split_ascii_whitespace().take(3).eq(["0", "0", "4294967295"]), "{text}");
    assert_eq!(field(&text, "CapEff"), default_set());
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut container = Container::new(&["stat", "/dev/null", "/dev/tty"]);
    container.spec.userns = UserNamespace::Host;
    container.spec.network = Network::Host;
    assert!(container.output().contains("device 1:3"));
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        before,
        "a mount reached the host"
    );
    // The device rules hold where nodes can be made.
    let mut container = Container::new(&["mknod", "/dev/shm/null"]);
    container.spec.userns = UserNamespace::Host;
    container.spec.process.capabilities.push("CAP_MKNOD".to_owned());
    assert_eq!(container.output(), "done\n");
}

fn full_access() {
    let mut container = Container::new(&["cat", "/proc/self/mountinfo", "/proc/self/status"]);
    container.spec.privileged = true;
    container.spec.userns = UserNamespace::Host;
    container.spec.seccomp = Seccomp::Unconfined;
    container.spec.masked_paths.clear();
    container.spec.readonly_paths.clear();
    let all = hull_sandbox::capability::Capability::ALL;
    container.spec.process.capabilities = all.iter().map(|c| c.name().to_owned()).collect();
    let text = container.output();
    assert!(
        text.lines().filter(|line| line.contains(" /sys")).all(|line| line.contains(" rw,")),
        "{text}"
    );
    let host: Vec<String> = std::fs::read_dir("/dev")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(host.contains(&"kmsg".to_owned()));
    container.spec.process.args = vec!["/probe".into(), "ls".into(), "/dev".into()];
    assert!(container.output().contains(" kmsg "));
}

fn dies_with_its_supervisor() {
    use hull_sys::clone::{Cloned, Namespaces, SingleThreaded, clone_process, exit_now};
    // A supervisor that is killed without a chance to clean up.
    let mut container = Container::new(&["sleep"]);
    let (mut reader, stdio) = capture();
    let proof = SingleThreaded::prove().unwrap();
    match clone_process(&proof, Namespaces::NONE, None).unwrap() {
        Cloned::Child => {
            let running = container.start(stdio).unwrap();
            // It ends with the container still running and nothing dropped.
            let _running = std::mem::ManuallyDrop::new(running);
            exit_now(0)
        }
        Cloned::Parent(child) => {
            drop(stdio);
            assert_eq!(wait(rustix::fd::AsFd::as_fd(&child.pidfd)), 0);
            let mut text = String::new();
            std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        }
    }
    let cgroup = hull_sandbox::Cgroup::open(&container.spec.id).unwrap();
    cgroup.kill().unwrap();
    cgroup.remove().unwrap();
    container.assert_gone();
}

fn freeze_and_kill() {
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    running.cgroup.freeze().unwrap();
    running.cgroup.thaw().unwrap();
    running.cgroup.freeze().unwrap();
    stop(&running);
    container.assert_gone();
    // Gone already: nothing to do, no error.
    running.cgroup.kill().unwrap();
    running.cgroup.remove().unwrap();
}

fn large_id_range() {
    let mut container = Container::new(&["cat", "/proc/self/uid_map"]);
    container.spec.userns = UserNamespace::Private { size: 200_000 };
    assert!(container.output().trim().ends_with(" 262144"));
}

fn user_namespaces_side_by_side() {
    let mut one = Container::new(&["sleep"]);
    let running = one.start(Stdio::default()).unwrap();
    let mut two = Container::new(&["cat", "/proc/self/uid_map"]);
    two.share_id_ranges(&one);
    let other = two.output();
    let own = std::fs::read_to_string(format!("/proc/{}/uid_map", running.pid)).unwrap();
    assert_ne!(own, other);
    stop(&running);
}
