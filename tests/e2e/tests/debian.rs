//! Real software from Debian's packages, in the root file system that `cargo xtask fixtures` makes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use hull_test_support::terminal::Terminal;
use hull_test_support::{Hull, eventually, needs};

fn with_debian() -> Option<Hull> {
    if !needs::root() {
        return None;
    }
    let tar = needs::fixture("debian.tar")?;
    let hull = Hull::new()?;
    hull.ok(&["import", &tar.display().to_string(), "debian"]);
    Some(hull)
}

const POSTGRES: &str = "set -e; bin=$(echo /usr/lib/postgresql/*/bin); data=/var/lib/postgresql/test; \
    [ -e $data ] || { $bin/initdb -D $data >/dev/null; echo initialised; }; \
    exec $bin/postgres -D $data -c listen_addresses= -c unix_socket_directories=/tmp";

#[test]
fn privileged_postgresql() {
    let Some(hull) = with_debian() else { return };
    hull.ok(&[
        "run",
        "-d",
        "--name",
        "db",
        "-u",
        "postgres",
        "--memory",
        "512m",
        "--pids-limit",
        "100",
        "--stop-signal",
        "SIGINT",
        "--stop-timeout",
        "30",
        "debian",
        "sh",
        "-c",
        POSTGRES,
    ]);
    let psql = |query: &str| {
        hull.run(&["exec", "-u", "postgres", "db", "psql", "-h", "/tmp", "-Atc", query, "postgres"])
    };
    let ready = "database system is ready to accept connections";
    hull.wait_for_log("db", ready);
    let made = psql("create table kept (n int); insert into kept select generate_series(1, 1000)");
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(psql("select count(*), sum(n) from kept").stdout, "1000|500500\n");
    assert!(hull.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]).contains("db Up"));
    let follower = hull.command(&["logs", "-f", "db"]).stderr(Stdio::piped()).spawn().unwrap();
    // SIGINT is PostgreSQL's fast shutdown.
    let start = Instant::now();
    hull.ok(&["stop", "db"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(hull.inspect("db", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    // PostgreSQL logs to stderr; the follower ends with the container.
    let followed = follower.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&followed.stderr).into_owned();
    assert!(said.contains(ready), "{said}");
    assert!(said.contains("received fast shutdown request"), "{said}");
    assert!(said.contains("database system is shut down"), "{said}");
    hull.ok(&["start", "db"]);
    let found = eventually(Duration::from_secs(30), || {
        psql("select sum(n) from kept").stdout == "500500\n"
    });
    assert!(found, "{}", psql("select sum(n) from kept").stderr);
    hull.finish();
}

#[test]
fn privileged_nginx() {
    let Some(hull) = with_debian() else { return };
    let script = "mkdir -p /www; echo served > /www/index.html; exec nginx -g 'daemon off;'";
    hull.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--stop-signal",
        "SIGQUIT",
        "debian",
        "sh",
        "-c",
        script,
    ]);
    let fetch = "import socket; s = socket.create_connection(('127.0.0.1', 80)); \
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.makefile().read())";
    let mut said = String::new();
    let served = eventually(Duration::from_secs(20), || {
        let output = hull.run(&["exec", "web", "python3", "-c", fetch]);
        said = format!("{}{}", output.stdout, output.stderr);
        said.contains("200 OK")
    });
    assert!(served, "{said}");
    assert!(said.contains("nginx"), "{said}");
    let workers = hull.ok(&["exec", "web", "sh", "-c", "cat /proc/[0-9]*/comm | grep -c nginx"]);
    assert!(workers.parse::<u32>().unwrap() >= 2, "{workers}");
    hull.ok(&["stop", "web"]);
    assert_eq!(hull.inspect("web", "{{.State.ExitCode}}"), "0");
    hull.finish();
}

#[test]
fn privileged_redis() {
    let Some(hull) = with_debian() else { return };
    let words = [
        "run",
        "-d",
        "--name",
        "redis",
        "-u",
        "redis",
        "-w",
        "/tmp",
        "--memory",
        "128m",
        "debian",
        "redis-server",
        "--save",
        "",
        "--dir",
        "/tmp",
    ];
    hull.ok(&words);
    hull.wait_for_log("redis", "Ready to accept connections");
    assert_eq!(hull.ok(&["exec", "redis", "redis-cli", "set", "key", "value"]), "OK");
    assert_eq!(hull.ok(&["exec", "redis", "redis-cli", "get", "key"]), "value");
    hull.ok(&["stop", "redis"]);
    assert_eq!(hull.inspect("redis", "{{.State.ExitCode}}"), "0");
    hull.finish();
}

#[test]
fn privileged_python_on_a_terminal() {
    let Some(hull) = with_debian() else { return };
    let command = hull.command(&["run", "--rm", "-it", "debian", "python3", "-i", "-q"]);
    let mut terminal = Terminal::start(&command, 100, 30);
    terminal.expect(">>> ");
    terminal.send("6 * 7\r");
    terminal.expect("42");
    terminal.expect(">>> ");
    terminal.send("import os; os.get_terminal_size()\r");
    terminal.expect("columns=100, lines=30");
    terminal.expect(">>> ");
    terminal.send("while True: pass\r\r");
    std::thread::sleep(Duration::from_millis(500));
    terminal.send("\x03");
    terminal.expect("KeyboardInterrupt");
    terminal.expect(">>> ");
    terminal.send("raise SystemExit(5)\r");
    let (code, shown) = terminal.finish();
    assert_eq!(code, 5, "{shown}");
    hull.finish();
}

/// The users, groups and set-uid files of a real distribution are as they were made.
#[test]
fn privileged_owners_of_a_real_distribution() {
    let Some(hull) = with_debian() else { return };
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--rm"];
        all.extend(words);
        hull.ok(&all)
    };
    assert_eq!(run(&["debian", "stat", "-c", "%U %a", "/etc/shadow"]), "root 640");
    assert_eq!(run(&["debian", "stat", "-c", "%U %a", "/usr/bin/passwd"]), "root 4755");
    assert_eq!(
        run(&["-u", "postgres", "debian", "sh", "-c", "id -un; echo $HOME"]),
        "postgres\n/var/lib/postgresql"
    );
    // A set-uid program gains nothing under no_new_privs.
    let refused = hull.run(&["run", "--rm", "-u", "postgres", "debian", "cat", "/etc/shadow"]);
    assert_ne!(refused.code, 0);
    hull.finish();
}
