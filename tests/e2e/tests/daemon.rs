//! The daemon: its socket, its life, and that containers know nothing of it.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;
use std::time::Duration;

use hull_test_support::daemon::{Daemon, raw};
use hull_test_support::{Hull, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

const PING: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: hull\r\nConnection: close\r\n\r\n";

#[test]
fn privileged_daemon_comes_and_goes_and_containers_stay() {
    let Some(hull) = Hull::with_busybox() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    hull.fails(&["daemon", "-H", &host], 1, "another hull daemon serves unix://");

    let script = "n=0; while [ $n -lt 100000 ]; do echo $n; n=$((n+1)); sleep 0.02; done";
    hull.ok(&["-H", &host, "run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    hull.wait_for_log("box", "3");
    daemon.signal(Signal::HUP);
    assert!(eventually(Duration::from_secs(10), || daemon.log().contains("reloaded")));
    assert_eq!(hull.ok(&["-H", &host, "exec", "box", "echo", "in"]), "in");
    // The process itself works on the same state beside the daemon.
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");
    let socket = daemon.socket().to_owned();
    assert_eq!(daemon.stop(), Some(0));
    assert!(!socket.exists());
    hull.fails(&["-H", &host, "ps"], 1, "cannot connect to the engine");
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");

    // One that is killed leaves its socket, and the next one takes it over.
    Daemon::start(&hull).kill();
    assert!(socket.exists());
    let daemon = Daemon::start(&hull);
    assert_eq!(hull.ok(&["-H", &host, "ps", "--format", "{{.Names}}"]), "box");
    hull.ok(&["-H", &host, "kill", "box"]);
    assert_eq!(hull.ok(&["-H", &host, "wait", "box"]), "137");
    assert_eq!(daemon.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_daemon_stops_with_clients_that_watch() {
    let Some(hull) = Hull::with_busybox() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    hull.ok(&["-H", &host, "run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let mut clients: Vec<_> = [&["logs", "-f", "box"][..], &["wait", "box"], &["attach", "box"]]
        .iter()
        .map(|words| {
            let words: Vec<&str> = ["-H", &host].iter().chain(*words).copied().collect();
            let mut command = hull.command(&words);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    // Each holds a connection once it watches.
    let sockets = || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid().as_raw_nonzero()));
        let links = entries.unwrap().flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    assert!(eventually(Duration::from_secs(10), || sockets() >= 5), "{}", sockets());
    for client in &mut clients {
        assert!(client.try_wait().unwrap().is_none(), "a client has left by itself");
    }
    let began = std::time::Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for client in &mut clients {
        assert!(eventually(Duration::from_secs(10), || client.try_wait().unwrap().is_some()));
    }
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");
    hull.finish();
}

#[test]
fn privileged_daemon_of_a_service_manager() {
    let Some(hull) = Hull::new() else { return };
    let socket = hull.folder().join("handed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let notify = UnixDatagram::bind(hull.folder().join("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut bytes = [0; 128];
        let count = notify.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    // A shell puts the socket where systemd does, and its own number where the daemon's will be.
    let mut shell = std::process::Command::new("/bin/sh");
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$; exec \"$0\" daemon -H fd://";
    let mut daemon = shell
        .args(["-c", script, &hull.programs().join("hull").display().to_string()])
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", hull.folder().join("notify"))
        .env("HULL_DATA_ROOT", hull.data_root())
        .env("HULL_EXEC_ROOT", hull.exec_root())
        .stdin(std::os::fd::OwnedFd::from(listener))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(told(), "READY=1\n");
    assert!(raw(&socket, PING).ends_with("OK"));
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1\n");
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(told(), "STOPPING=1\n");
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    // The socket is the service manager's.
    assert!(socket.exists());
    hull.fails(&["daemon", "-H", "fd://"], 1, "no socket was handed over");
    hull.fails(&["daemon", "-H", "tcp://127.0.0.1:1"], 1, "only unix://");
    hull.fails(&["-H", "unix:///a", "daemon"], 1, "after the command");
    hull.finish();
}

#[test]
fn privileged_execs_are_known_to_every_daemon() {
    let Some(hull) = Hull::with_busybox() else { return };
    let (one, other) = (Daemon::start(&hull), Daemon::start_at(&hull, "other", &[]));
    hull.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let make = |body: Value| {
        let (status, answer) = one.ask("POST /containers/box/exec", &body.to_string());
        assert_eq!(status, 201, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["Id"].as_str().unwrap().to_owned()
    };
    let look = |daemon: &Daemon, id: &str| -> Value {
        let (status, answer) = daemon.ask(&format!("GET /exec/{id}/json"), "");
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    };
    let id = make(json!({"Cmd": ["sh", "-c", "echo out; exit 7"], "AttachStdout": true}));
    assert_eq!(look(&other, &id)["Running"], false);
    assert_eq!(look(&other, &id)["ProcessConfig"]["entrypoint"], "sh");
    // Without `Upgrade` the connection itself is the stream.
    let start = format!("POST /exec/{id}/start");
    let (status, stream) = other.ask(&start, r#"{"Detach": false}"#);
    assert_eq!((status, stream.as_bytes()), (200, &b"\x01\0\0\0\0\0\0\x04out\n"[..]));
    for daemon in [&one, &other] {
        let exec = look(daemon, &id);
        assert_eq!((&exec["Running"], &exec["ExitCode"]), (&json!(false), &json!(7)), "{exec}");
        let (status, answer) = daemon.ask(&start, "{}");
        assert!(status == 409 && answer.contains("has already run"), "{status} {answer}");
    }

    let id = make(json!({"Cmd": ["sleep", "1000"]}));
    let (status, answer) = other.ask(&format!("POST /exec/{id}/start"), r#"{"Detach": true}"#);
    assert_eq!((status, answer.as_str()), (200, ""));
    let exec = look(&one, &id);
    assert!(exec["Running"] == true && exec["Pid"].as_i64() > Some(0), "{exec}");
    assert_eq!(one.ask("GET /exec/none/json", "").0, 404);
    let none = format!("{}{}", &id[..32], "0".repeat(32));
    assert_eq!(one.ask(&format!("POST /exec/{none}/start"), "").0, 404);

    // One that could not be started says so to all.
    let id = make(json!({"Cmd": ["/none"]}));
    assert_eq!(other.ask(&format!("POST /exec/{id}/start"), r#"{"Detach": true}"#).0, 400);
    assert_eq!(look(&one, &id)["ExitCode"], 127);
    hull.ok(&["kill", "box"]);
    drop((one, other));
    hull.finish();
}

#[test]
fn privileged_many_short_lives_over_a_daemon_keep_their_exit_codes() {
    let Some(hull) = Hull::with_busybox() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    let words = ["-H", &host, "run", "--rm", "busybox", "sh", "-c", "exit 7"];
    for _ in 0..3 {
        let start = |_| hull.command(&words).spawn().unwrap();
        let mut children: Vec<_> = (0..12).map(start).collect();
        for child in &mut children {
            assert_eq!(child.wait().unwrap().code(), Some(7));
        }
    }
    drop(daemon);
    hull.finish();
}

#[test]
fn privileged_daemon_is_small() {
    let Some(hull) = Hull::with_busybox() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    for _ in 0..5 {
        hull.ok(&["-H", &host, "run", "--rm", "busybox", "true"]);
        hull.ok(&["-H", &host, "ps", "-a"]);
        hull.ok(&["-H", &host, "images"]);
    }
    let rollup = format!("/proc/{}/smaps_rollup", daemon.pid().as_raw_nonzero());
    let rollup = std::fs::read_to_string(rollup).unwrap();
    let kib = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    // A program that was built for debugging maps much more than it has.
    let program = std::fs::metadata(hull.programs().join("hull")).unwrap().len();
    let held = if program > 20 << 20 { kib("Pss_Anon:") } else { kib("Pss:") };
    assert!(held <= 12 << 10, "an idle daemon holds {held} KiB:\n{rollup}");
    // Every shim that ended was waited for.
    let zombies = || {
        let threads =
            std::fs::read_dir(format!("/proc/{}/task", daemon.pid().as_raw_nonzero())).unwrap();
        let children = |thread: std::fs::DirEntry| {
            let children = std::fs::read_to_string(thread.path().join("children"));
            children.unwrap_or_default().split_whitespace().count()
        };
        threads.flatten().map(children).sum::<usize>()
    };
    assert!(hull.run(&["-H", &host, "run", "--rm", "busybox", "/none"]).code == 127);
    assert!(eventually(Duration::from_secs(10), || zombies() == 0), "{}", zombies());
    drop(daemon);
    hull.finish();
}
