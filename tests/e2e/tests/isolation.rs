//! What a container sees of itself, told by the probe from inside.
#![expect(clippy::unwrap_used, reason = "a view of another shape fails the test")]

use hull_test_support::{Hull, needs};
use serde_json::{Value, json};

const CHOWN: u64 = 1 << 0;
const DAC_OVERRIDE: u64 = 1 << 1;
const FOWNER: u64 = 1 << 3;
const FSETID: u64 = 1 << 4;
const KILL: u64 = 1 << 5;
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;
const SETPCAP: u64 = 1 << 8;
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_RAW: u64 = 1 << 13;
const SYS_CHROOT: u64 = 1 << 18;
const SYS_ADMIN: u64 = 1 << 21;
const SETFCAP: u64 = 1 << 31;

/// What a container gets unless asked otherwise.
const DEFAULT: u64 = CHOWN
    | DAC_OVERRIDE
    | FOWNER
    | FSETID
    | KILL
    | SETGID
    | SETUID
    | SETPCAP
    | NET_BIND_SERVICE
    | SYS_CHROOT
    | SETFCAP;

/// All there are; a new user namespace can give every one of them.
const ALL: u64 = (1 << 41) - 1;

/// All that can be given without a new user namespace: our own bounding set.
fn own() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[track_caller]
fn capabilities(view: &Value, bounding: u64, effective: u64) {
    let expected = json!({
        "inheritable": 0, "ambient": 0,
        "permitted": effective, "effective": effective, "bounding": bounding,
    });
    assert_eq!(view["capabilities"], expected);
}

#[test]
fn privileged_root_of_a_container_is_nobody_on_the_host() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&[]);
    assert_eq!(view["uids"], json!([0, 0, 0, 0]));
    assert_eq!(view["gids"], json!([0, 0, 0, 0]));
    assert_eq!(view["groups"], json!([0]));
    for map in ["uid_map", "gid_map"] {
        let lines = view[map].as_array().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0][0], 0);
        assert!(lines[0][1].as_u64().unwrap() >= 65536, "{map} begins at a host id in use");
        assert!(lines[0][2].as_u64().unwrap() >= 65536);
    }
    hull.finish();
}

#[test]
fn privileged_two_containers_share_no_host_id() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--name", "one", "probe", "/probe", "sleep"]);
    hull.ok(&["run", "-d", "--name", "two", "probe", "/probe", "sleep"]);
    let range = |name: &str| {
        let map = hull.ok(&["exec", name, "/probe", "read", "/proc/self/uid_map"]);
        let numbers: Vec<u64> = map.split_whitespace().map(|n| n.parse().unwrap()).collect();
        numbers[1]..numbers[1] + numbers[2]
    };
    let (one, two) = (range("one"), range("two"));
    assert!(one.end <= two.start || two.end <= one.start, "{one:?} {two:?}");
    hull.finish();
}

#[test]
fn privileged_capabilities() {
    let Some(hull) = Hull::with_probe() else { return };
    capabilities(&hull.view(&[]), DEFAULT, DEFAULT);
    capabilities(&hull.view(&["-u", "1000"]), DEFAULT, 0);
    let view = hull.view(&["--cap-drop", "ALL", "--cap-add", "chown", "--cap-add", "CAP_KILL"]);
    capabilities(&view, CHOWN | KILL, CHOWN | KILL);
    let more = DEFAULT | NET_RAW;
    capabilities(&hull.view(&["--cap-add", "net_raw"]), more, more);
    let view = hull.view(&["--cap-add", "ALL", "--cap-drop", "sys_admin"]);
    capabilities(&view, ALL & !SYS_ADMIN, ALL & !SYS_ADMIN);
    capabilities(&hull.view(&["--privileged"]), own(), own());
    hull.fails(&["run", "--rm", "--cap-add", "CAP_NONSENSE", "probe"], 125, "CAP_NONSENSE");
    hull.finish();
}

#[test]
fn privileged_no_new_privileges_and_seccomp() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&[]);
    assert_eq!(view["no_new_privs"], 1);
    assert_eq!(view["seccomp_mode"], 2);
    let calls = &view["calls"];
    for (call, verdict) in [
        ("AddKey", "EPERM"),
        ("Clone3", "ENOSYS"),
        ("FileGetattr", "ENOSYS"),
        ("GetMempolicy", "EPERM"),
        ("Getpid32", "ENOSYS"),
        ("GetpidX32", "ENOSYS"),
        ("IoUringSetup", "EPERM"),
        ("Kcmp", "EPERM"),
        ("Keyctl", "EPERM"),
        ("Mount", "EPERM"),
        ("NoSuchCall", "ENOSYS"),
        ("OpenByHandleAt", "EPERM"),
        ("PerfEventOpen", "EPERM"),
        ("PersonalityNoRandomize", "EPERM"),
        ("PersonalityQuery", "ok"),
        ("ProcessMadvise", "EPERM"),
        ("Setns", "EPERM"),
        ("SocketAlg", "EPERM"),
        ("SocketInet", "ok"),
        ("SocketRaw", "EPERM"),
        ("SocketVsock", "EPERM"),
        ("Umount", "EPERM"),
        ("UnshareNothing", "EPERM"),
        ("UnshareUser", "EPERM"),
    ] {
        assert_eq!(calls[call], verdict, "{call}");
    }
    assert_ne!(calls["Ptrace"], "EPERM");
    assert_eq!(calls["LandlockVersion"], "ok");
    hull.finish();
}

#[test]
fn privileged_exec_is_walled_in_as_the_container_is() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--name", "box", "--cap-drop", "kill", "probe", "/probe", "sleep"]);
    let exec = hull.json(&["exec", "box", "/probe", "view"]);
    capabilities(&exec, DEFAULT & !KILL, DEFAULT & !KILL);
    assert_eq!(exec["no_new_privs"], 1);
    assert_eq!(exec["seccomp_mode"], 2);
    assert_eq!(exec["calls"]["Keyctl"], "EPERM");
    assert_eq!(exec["calls"]["Clone3"], "ENOSYS");
    assert!(exec["uid_map"][0][1].as_u64().unwrap() >= 65536);
    assert!(exec["cgroup"].as_array().unwrap().iter().all(|l| l.as_str().unwrap().ends_with(":/")));
    let descriptors: Vec<_> = exec["descriptors"].as_object().unwrap().keys().collect();
    assert_eq!(descriptors, ["0", "1", "2"]);
    hull.finish();
}

#[test]
fn privileged_seccomp_by_option() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&["--security-opt", "seccomp=unconfined"]);
    assert_eq!(view["seccomp_mode"], 0);
    assert_ne!(view["calls"]["Keyctl"], "EPERM");
    let view = hull.view(&["--cap-add", "SYS_ADMIN"]);
    assert_ne!(view["calls"]["Clone3"], "ENOSYS");
    assert_eq!(view["calls"]["UnshareNothing"], "ok");
    assert_eq!(view["calls"]["Keyctl"], "EPERM");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 111}],
    });
    let path = hull.file("profile.json", profile.to_string().as_bytes());
    let view = hull.view(&["--security-opt", &format!("seccomp={path}")]);
    assert_eq!(view["calls"]["Keyctl"], "errno 111");
    assert_eq!(view["calls"]["Getpid32"], "ENOSYS");
    let view = hull.view(&["--security-opt", "no-new-privileges=false"]);
    assert_eq!(view["no_new_privs"], 0);
    let path = hull.file("bad.json", b"{}");
    let option = format!("seccomp={path}");
    hull.fails(&["run", "--rm", "--security-opt", &option, "probe"], 125, "seccomp");
    hull.fails(&["run", "--rm", "--security-opt", "seccomp=/none", "probe"], 125, "/none");
    hull.finish();
}

#[test]
fn privileged_masked_and_read_only_paths() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&[]);
    let readable = view["readable"].as_object().unwrap();
    for path in [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ] {
        let seen = readable[path].as_str().unwrap();
        assert!(["missing", "empty", "entries 0"].contains(&seen), "{path}: {seen}");
    }
    assert_eq!(readable["/proc/cpuinfo"], "bytes");
    let writable = view["writable"].as_object().unwrap();
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/fs/cgroup",
    ] {
        assert_ne!(writable[path], "yes", "{path}");
    }
    for path in
        ["/", "/tmp", "/dev/shm", "/dev/null", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
    {
        assert_eq!(writable[path], "yes", "{path}");
    }
    hull.finish();
}

fn mount<'a>(view: &'a Value, target: &str) -> &'a Value {
    let mounts = view["mounts"].as_array().unwrap();
    let found = mounts.iter().rev().find(|mount| mount["target"] == target);
    found.unwrap_or_else(|| panic!("no mount at {target}: {mounts:#?}"))
}

#[track_caller]
fn has_options(view: &Value, target: &str, kind: &str, options: &[&str]) {
    let mount = mount(view, target);
    assert_eq!(mount["kind"], kind, "{target}");
    let found = mount["options"].as_array().unwrap();
    for option in options {
        assert!(found.iter().any(|f| f == option), "{target} is not {option}: {found:?}");
    }
}

#[test]
fn privileged_mounts() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&[]);
    has_options(&view, "/", "overlay", &["rw"]);
    has_options(&view, "/proc", "proc", &["rw", "nosuid", "nodev", "noexec"]);
    has_options(&view, "/dev", "tmpfs", &["rw", "nosuid"]);
    has_options(&view, "/dev/pts", "devpts", &["nosuid", "noexec"]);
    has_options(&view, "/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec"]);
    has_options(&view, "/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]);
    has_options(&view, "/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]);
    for mount in view["mounts"].as_array().unwrap() {
        let target = mount["target"].as_str().unwrap();
        let shared: Vec<_> = mount["propagation"].as_array().unwrap().iter().collect();
        assert!(!shared.iter().any(|p| p.as_str().unwrap().starts_with("shared")), "{target}");
        if target.starts_with("/sys/fs/cgroup") {
            assert!(mount["options"].as_array().unwrap().iter().any(|o| o == "ro"), "{target}");
        }
        let folder = hull.folder().display().to_string();
        assert!(!mount["source"].as_str().unwrap().contains(&folder), "{mount}");
        assert!(!mount["root"].as_str().unwrap().contains("containers/"), "{mount}");
    }
    hull.finish();
}

#[test]
fn privileged_namespaces_and_cgroup() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&[]);
    for (name, inode) in view["namespaces"].as_object().unwrap() {
        let link = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let ours = link.to_str().unwrap().contains(&format!("[{inode}]"));
        assert_eq!(ours, name.starts_with("time"), "namespace {name}");
    }
    for line in view["cgroup"].as_array().unwrap() {
        assert!(line.as_str().unwrap().ends_with(":/"), "{line}");
    }
    assert_eq!(view["pid"], 1);
    assert_eq!(view["processes"], json!([1]));
    assert_eq!(view["interfaces"], json!(["lo"]));
    hull.finish();
}

#[test]
fn privileged_nothing_of_the_engine_reaches_the_container() {
    let Some(hull) = Hull::with_probe() else { return };
    let hull = hull.with_env("SECRET_OF_THE_CALLER", "1");
    let view = hull.view(&["--hostname", "named"]);
    let descriptors: Vec<_> = view["descriptors"].as_object().unwrap().keys().collect();
    assert_eq!(descriptors, ["0", "1", "2"]);
    let mut environment: Vec<&str> =
        view["environment"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    environment.sort_unstable();
    assert_eq!(environment, ["HOME=/root", "HOSTNAME=named", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(view["hostname"], "named");
    assert_eq!(view["cwd"], "/");
    assert_eq!(view["terminals"], json!([false, false, false]));
    hull.finish();
}

#[test]
fn privileged_devices() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&[]);
    let devices = view["devices"].as_object().unwrap();
    for (name, text) in [
        ("null", "char 666 1:3"),
        ("zero", "char 666 1:5"),
        ("full", "char 666 1:7"),
        ("random", "char 666 1:8"),
        ("urandom", "char 666 1:9"),
        ("tty", "char 666 5:0"),
        ("fd", "link /proc/self/fd"),
        ("stdin", "link /proc/self/fd/0"),
        ("stdout", "link /proc/self/fd/1"),
        ("stderr", "link /proc/self/fd/2"),
        ("ptmx", "link pts/ptmx"),
    ] {
        assert_eq!(devices.get(name), Some(&json!(text)), "/dev/{name}");
    }
    let blocks = devices.values().filter(|text| text.as_str().unwrap().starts_with("block"));
    assert_eq!(blocks.count(), 0);
    hull.finish();
}

#[test]
fn privileged_host_user_namespace_by_option() {
    let Some(hull) = Hull::with_probe() else { return };
    let host: Vec<u32> = std::fs::read_to_string("/proc/self/uid_map")
        .unwrap()
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    for options in [&["--userns=host"][..], &["--network", "host"], &["--privileged"]] {
        let view = hull.view(options);
        assert_eq!(view["uid_map"], json!([host]), "{options:?}");
        assert_eq!(view["writable"]["/"], "yes", "{options:?}");
    }
    let view = hull.view(&["--privileged"]);
    assert_eq!(view["seccomp_mode"], 0);
    assert_eq!(view["readable"]["/proc/keys"], "bytes");
    hull.finish();
}

#[test]
fn privileged_read_only_root() {
    let Some(hull) = Hull::with_probe() else { return };
    let view = hull.view(&["--read-only", "--tmpfs", "/scratch:size=1m"]);
    assert_ne!(view["writable"]["/"], "yes");
    assert_ne!(view["writable"]["/tmp"], "yes");
    assert_eq!(view["writable"]["/dev/shm"], "yes");
    has_options(&view, "/", "overlay", &["ro"]);
    has_options(&view, "/scratch", "tmpfs", &["rw", "nosuid", "nodev", "noexec"]);
    hull.finish();
}

/// Not a rule of isolation but of honesty: without root, one clear line.
#[test]
fn privileged_without_root_one_clear_line() {
    let Some(hull) = Hull::new() else { return };
    let Some(setpriv) = needs::program("setpriv") else { return };
    let mut command = std::process::Command::new(setpriv);
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    command.arg(hull.programs().join("hull")).args(["ps"]).env_clear().env("PATH", "/usr/bin:/bin");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(126) || said.contains("failed to execute") {
        // The folder with the programs is closed to others: nothing was tested.
        needs::skip("the build folder cannot be entered by another user");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("root"), "{said}");
    assert!(said.lines().count() <= 2, "{said}");
}
