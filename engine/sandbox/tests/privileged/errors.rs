//! Starts that fail: one clear line, the right kind, nothing left.

use std::os::unix::fs::PermissionsExt;

use hull_sandbox::StartErrorKind::{self, Internal, Invalid, NotExecutable, NotFound, Unavailable};
use hull_sandbox::spec::{Mount, MountSource, UserNamespace};
use hull_sandbox::{Stdio, cgroup::Topology};

use crate::Test;
use crate::container::{Container, exec, process, stop};

pub(crate) const TESTS: &[Test] = &[
    ("privileged_commands_that_cannot_run", commands_that_cannot_run),
    ("privileged_file_capabilities_outside_the_bounding_set", file_capabilities),
    ("privileged_unknown_users", unknown_users),
    ("privileged_bad_mounts", bad_mounts),
    ("privileged_tree_that_refuses_id_translation", tree_that_refuses_id_translation),
    ("privileged_bad_specs", bad_specs),
    ("privileged_failed_start_leaves_nothing", failed_start_leaves_nothing),
    ("privileged_failed_exec_leaves_the_container", failed_exec_leaves_the_container),
];

fn check(container: &mut Container, kind: StartErrorKind, message: &str) {
    let error = container.error();
    assert_eq!((error.kind, &*error.message), (kind, message));
}

fn program(container: &Container, name: &str, content: &[u8], mode: u32) {
    let path = container.image(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn commands_that_cannot_run() {
    let mut container = Container::new(&[]);
    let mut elf = std::fs::read(container.image("probe")).unwrap();
    elf[18] = 183;
    elf.truncate(4096);
    program(&container, "arm", &elf, 0o755);
    program(&container, "plain", b"text", 0o755);
    program(&container, "denied", b"#!/probe true\n", 0o644);
    program(&container, "script", b"#!/nosuch/python3 -u\n", 0o755);
    std::fs::create_dir(container.image("folder")).unwrap();
    let arch = std::env::consts::ARCH;
    let wrong = format!("cannot execute /arm: it is a program for aarch64, this host is {arch}");
    for (command, kind, message) in [
        ("nosuch", NotFound, "no command \"nosuch\" in the container's PATH"),
        ("/nosuch", NotFound, "no such file in the container: /nosuch"),
        ("/probe/x", NotFound, "no such file in the container: /probe/x"),
        ("/folder", NotExecutable, "cannot execute /folder: it is a directory"),
        ("folder", NotExecutable, "cannot execute //folder: it is a directory"),
        ("/denied", NotExecutable, "cannot execute /denied: permission denied"),
        (
            "/script",
            NotExecutable,
            "cannot execute /script: its interpreter /nosuch/python3 is not in the container",
        ),
        (
            "script",
            NotExecutable,
            "cannot execute //script: its interpreter /nosuch/python3 is not in the container",
        ),
        (
            "/plain",
            NotExecutable,
            "cannot execute /plain: it is neither an ELF program nor a script that begins with #!",
        ),
        ("/arm", NotExecutable, &wrong),
    ] {
        container.spec.process.args = vec![command.to_owned()];
        check(&mut container, kind, message);
    }
    container.spec.process.args.clear();
    check(&mut container, Invalid, "there is no command to run");
    container.spec.process.args = vec!["/probe".to_owned(), "a\0b".to_owned()];
    check(&mut container, Invalid, "an argument or environment variable holds a zero byte");
}

fn file_capabilities() {
    let mut container = Container::new(&["true"]);
    std::fs::copy(crate::program(), container.image("ping-probe")).unwrap();
    // What `setcap cap_net_raw+ep` writes.
    let attribute = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let path = container.image("ping-probe");
    rustix::fs::setxattr(
        &path,
        c"security.capability",
        &attribute,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    container.spec.process.args[0] = "/ping-probe".to_owned();
    let error = container.error();
    assert_eq!(error.kind, NotExecutable);
    assert_eq!(
        error.message,
        "cannot execute /ping-probe: the file asks for CAP_NET_RAW, which the container does not have"
    );
    assert_eq!(error.hint.as_deref(), Some("use --cap-add NET_RAW"));
    container.spec.process.capabilities.push("CAP_NET_RAW".to_owned());
    assert_eq!(container.run().unwrap().code, 0);
}

fn unknown_users() {
    let mut container = Container::new(&["true"]);
    for (user, kind) in [
        ("nobody-here", Invalid),
        ("4294967296", Invalid),
        ("-1", Invalid),
        ("joe:nogroup", Invalid),
    ] {
        container.spec.process.user = user.to_owned();
        assert_eq!(container.error().kind, kind, "{user}");
    }
    // Beyond the container's range of ids.
    container.spec.process.user = "70000".to_owned();
    let error = container.error();
    assert_eq!(
        (error.kind, &*error.message),
        (Invalid, "user 70000 is not among the 65536 ids of the container")
    );
    assert!(error.hint.is_some());
}

fn tmpfs(destination: &str) -> Mount {
    let source = MountSource::Tmpfs { size: None, mode: None, exec: false };
    Mount { destination: destination.to_owned(), source, readonly: false }
}

fn bad_mounts() {
    let mut container = Container::new(&["true"]);
    container.spec.mounts = vec![tmpfs("/etc/passwd")];
    check(
        &mut container,
        Invalid,
        "cannot mount a tmpfs on /etc/passwd: cannot use that in the container as a directory: not a directory",
    );
    container.spec.mounts = vec![tmpfs("/proc/1")];
    check(&mut container, Invalid, "cannot mount on /proc/1: it lies in /proc");
    container.spec.mounts = vec![tmpfs("//./")];
    check(&mut container, Invalid, "cannot mount on / in the container");
    let host = container.host("host");
    std::fs::write(host.join("file"), "").unwrap();
    container.spec.mounts.clear();
    container.bind(&host.join("file"), "/etc", true, true);
    let shown = host.join("file").display().to_string();
    check(
        &mut container,
        Invalid,
        &format!("cannot mount the file {shown} on /etc: it is a directory in the container"),
    );
    container.spec.mounts.clear();
    let source = MountSource::Tree { tree: 3, idmap: false, shown: "/x".to_owned() };
    container.spec.mounts.push(Mount { destination: "/y".to_owned(), source, readonly: false });
    check(&mut container, Internal, "the tree of /x did not arrive");
}

fn tree_that_refuses_id_translation() {
    let mut container = Container::new(&["true"]);
    container.bind(std::path::Path::new("/sys/kernel"), "/data", true, true);
    let error = container.error();
    assert_eq!(error.kind, Unavailable);
    assert_eq!(
        error.message,
        "the file system of /sys/kernel, to be mounted on /data, cannot translate ids: invalid argument"
    );
    assert!(error.hint.unwrap().contains("idmap=none"));
    container.spec.mounts.clear();
    container.bind(std::path::Path::new("/sys/kernel"), "/data", true, false);
    assert_eq!(container.run().unwrap().code, 0);
}

fn bad_specs() {
    let mut container = Container::new(&["true"]);
    for id in ["", "../x", ".hidden", "a/b", "a b"] {
        container.spec.id = id.to_owned();
        assert_eq!(container.start(Stdio::default()).unwrap_err().kind, Invalid, "{id:?}");
    }
    let mut container = Container::new(&["true"]);
    container.spec.network = hull_sandbox::spec::Network::Host;
    assert_eq!(container.error().kind, Invalid);
    let mut container = Container::new(&["true"]);
    container.spec.process.capabilities = vec!["CAP_FLY".to_owned()];
    check(&mut container, Invalid, "unknown capability \"CAP_FLY\"");
    let mut container = Container::new(&["true"]);
    container.spec.process.cwd = "relative".to_owned();
    check(&mut container, Invalid, "the working directory \"relative\" is not absolute");
    container.spec.process.cwd = "/probe".to_owned();
    check(&mut container, Invalid, "cannot use /probe as working directory: not a directory");
    container.spec.process.cwd = "/".to_owned();
    container.spec.userns = UserNamespace::Private { size: u32::MAX };
    assert_eq!(container.error().kind, Unavailable);
}

fn failed_start_leaves_nothing() {
    let count = |what: &str| std::fs::read_dir(what).unwrap().count();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut container = Container::new(&[]);
    container.spec.process.args = vec!["/nosuch".to_owned()];
    container.error();
    let (descriptors, before) = (count("/proc/self/fd"), mounts());
    for _ in 0..5 {
        container.error();
    }
    assert_eq!(count("/proc/self/fd"), descriptors);
    assert_eq!(mounts(), before);
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert_eq!(children, "");
    // An id that is in use is refused and its container lives on.
    let mut one = Container::new(&["sleep"]);
    let running = one.start(Stdio::default()).unwrap();
    let error = one.start(Stdio::default()).unwrap_err();
    assert!(error.message.contains("exists already"), "{error}");
    assert_eq!(running.cgroup.pids().unwrap(), [running.pid]);
    for hierarchy in Topology::discover().unwrap().hierarchies {
        assert!(hierarchy.directory(&format!("hull/{}", one.spec.id)).exists());
    }
    stop(&running);
}

fn failed_exec_leaves_the_container() {
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    let mut nosuch = process(&[]);
    nosuch.args = vec!["nosuch".to_owned()];
    let error = exec(&running, &nosuch).unwrap_err();
    assert_eq!(
        (error.kind, &*error.message),
        (NotFound, "no command \"nosuch\" in the container's PATH")
    );
    assert_eq!(running.cgroup.pids().unwrap(), [running.pid]);
    stop(&running);
    let error = exec(&running, &process(&["true"])).unwrap_err();
    assert_eq!((error.kind, &*error.message), (Unavailable, "the container is not running"));
}
