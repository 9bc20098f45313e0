//! Further processes in a running container.

use std::io::Read;
use std::os::fd::AsFd;

use hull_sandbox::Stdio;
use hull_sandbox::spec::UserNamespace;

use crate::Test;
use crate::container::{Container, exec, process, stop, wait};

pub(crate) const TESTS: &[Test] = &[
    ("privileged_exec_joins_everything", joins_everything),
    ("privileged_exec_as_another_user", as_another_user),
    ("privileged_exec_on_a_terminal", on_a_terminal),
    ("privileged_exec_in_the_host_user_namespace", in_the_host_user_namespace),
    ("privileged_exec_with_init", with_init),
];

fn joins_everything() {
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    let ended = exec(&running, &process(&["namespaces"])).unwrap();
    let first = namespaces(&format!("/proc/{}/ns", running.pid));
    assert_eq!(ended.output, first);
    let own = namespaces("/proc/self/ns");
    for (inside, outside) in first.lines().zip(own.lines()) {
        let shared = inside == outside;
        assert_eq!(shared, inside.starts_with("time"), "{inside} {outside}");
    }
    let text = exec(&running, &process(&["cat", "/proc/self/status", "/proc/self/cgroup"]))
        .unwrap()
        .output;
    assert!(text.contains("Seccomp:\t2\n") && text.contains("NoNewPrivs:\t1\n"), "{text}");
    assert!(
        text.lines()
            .skip_while(|line| !line.starts_with("nonvol"))
            .skip(1)
            .all(|line| line.ends_with(":/")),
        "{text}"
    );
    assert_eq!(exec(&running, &process(&["exit", "3"])).unwrap().code, 3);
    // This process is itself where it was.
    assert_eq!(namespaces("/proc/self/ns"), own);
    stop(&running);
    container.assert_gone();
}

fn namespaces(folder: &str) -> String {
    ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .map(|name| {
            format!("{}\n", std::fs::read_link(format!("{folder}/{name}")).unwrap().display())
        })
        .concat()
}

fn as_another_user() {
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    let mut joe = process(&["cat", "/proc/self/status"]);
    joe.user = "joe".to_owned();
    joe.additional_groups = vec!["7".to_owned(), "12".to_owned()];
    let text = exec(&running, &joe).unwrap().output;
    assert!(text.contains("Uid:\t1000\t1000\t1000\t1000\n"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000\n"), "{text}");
    joe.args = vec!["/probe".into(), "write".into(), "/dev/stdout".into(), "by path".into()];
    assert_eq!(exec(&running, &joe).unwrap().output, "by pathdone\n");
    stop(&running);
}

fn on_a_terminal() {
    let mut container = Container::new(&["sleep"]);
    let running = container.start(Stdio::default()).unwrap();
    let mut tty = process(&["tty"]);
    tty.terminal = true;
    tty.terminal_size = Some((90, 20));
    let started = running.exec(&tty, Stdio::default()).unwrap();
    assert_eq!(wait(started.pidfd.as_fd()), 0);
    let mut text = vec![0; 1024];
    let length = std::fs::File::from(started.console.unwrap()).read(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..length]);
    assert!(text.starts_with("/dev/pts/0 90x20 controlling true\r\n"), "{text}");
    stop(&running);
}

fn in_the_host_user_namespace() {
    let mut container = Container::new(&["sleep"]);
    container.spec.userns = UserNamespace::Host;
    let running = container.start(Stdio::default()).unwrap();
    let text = exec(&running, &process(&["cat", "/proc/self/uid_map"])).unwrap().output;
    assert!(text.trim().ends_with("4294967295"), "{text}");
    stop(&running);
}

fn with_init() {
    let mut container = Container::new(&["sleep"]);
    container.spec.init = true;
    let running = container.start(Stdio::default()).unwrap();
    assert_eq!(exec(&running, &process(&["pid"])).unwrap().output, "3\n");
    stop(&running);
}
