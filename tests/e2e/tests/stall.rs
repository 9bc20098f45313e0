//! Clients that stop reading: nobody else waits for them for ever, and nothing grows.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, eventually, held, needs};

/// The most that a process may hold beyond what it held before (KiB).
const GROWTH: u64 = 4 << 10;

/// Lines of 64 bytes: 64 MB, or 5 GB.
fn lines() -> u64 {
    let full = std::env::var_os("HULL_FULL").is_some_and(|full| full == "1");
    if full { 80_000_000 } else { 1_000_000 }
}

/// Somebody who reads one line and no more.
struct Stalled {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Stalled {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::with_capacity(64, child.stdout.take().unwrap());
        Self { child, output }
    }

    fn first_line(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it is told nothing");
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // One that has ended is no loss.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn privileged_a_stalled_follower_holds_up_nobody_and_nothing_grows() {
    let Some(hull) = Hull::with_probe() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    let lines = lines().to_string();
    hull.ok(&[
        "--host",
        &host,
        "create",
        "--name",
        "box",
        "probe",
        "/probe",
        "spin-output",
        &lines,
    ]);
    let served = daemon.pid().as_raw_nonzero().get();
    let before = held(served);
    hull.ok(&["--host", &host, "start", "box"]);
    let follow = ["logs", "-f", "box"];
    let mut stalled = [
        Stalled::start(hull.command(&follow)),
        Stalled::start(hull.command(&[&["--host", &host], &follow[..]].concat())),
        Stalled::start(hull.command(&[&["--host", &host], &follow[..]].concat())),
    ];
    stalled.iter_mut().for_each(Stalled::first_line);
    let started: Vec<_> = stalled.iter().map(|client| held(client.pid())).collect();
    let shim = hull.shim_pid(&hull.inspect("box", "{{.Id}}"));
    let mut most = 0;
    let limit = Duration::from_secs(60) + Duration::from_micros(lines.parse::<u64>().unwrap() * 20);
    let ended = eventually(limit, || {
        most = most.max(held(shim));
        hull.inspect("box", "{{.State.Status}}") == "exited"
    });
    assert!(ended, "it is held up");
    assert!(most < GROWTH, "its supervisor holds {most} KiB");
    let growth = held(served).saturating_sub(before);
    eprintln!("its supervisor held {most} KiB, the daemon {growth} KiB more than before");
    assert!(growth < GROWTH, "the daemon holds {growth} KiB more");
    for (client, before) in stalled.iter().zip(started) {
        let growth = held(client.pid()).saturating_sub(before);
        assert!(growth < GROWTH, "a client holds {growth} KiB more");
    }
    drop(stalled);
    assert_eq!(daemon.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_a_stalled_attachment_holds_a_bounded_part() {
    let Some(hull) = Hull::with_probe() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    let lines = lines().to_string();
    // The first to attach is owed every byte, so the container waits for it.
    let run = ["run", "--name", "box", "probe", "/probe", "spin-output", &lines];
    let mut stalled = Stalled::start(hull.command(&[&["--host", &host], &run[..]].concat()));
    stalled.first_line();
    let served = daemon.pid().as_raw_nonzero().get();
    let shim = hull.shim_pid(&hull.inspect("box", "{{.Id}}"));
    // Held up: its log grows no more.
    let mut size = 0;
    let held_up = eventually(Duration::from_secs(20), || {
        let before = std::mem::replace(&mut size, hull.ok(&["logs", "box"]).len());
        size == before
    });
    assert!(held_up && size < 16 << 20, "{size} bytes were taken");
    assert_eq!(hull.inspect("box", "{{.State.Status}}"), "running");
    for (who, pid) in [("supervisor", shim), ("daemon", served), ("client", stalled.pid())] {
        let held = held(pid);
        let most = if who == "supervisor" { GROWTH } else { 12 << 10 };
        assert!(held < most, "the {who} holds {held} KiB");
    }
    // Others are served as soon as it goes, and so is it if it reads on.
    let mut rest = vec![0; 1 << 20];
    stalled.output.read_exact(&mut rest).unwrap();
    drop(stalled);
    let limit = Duration::from_secs(60) + Duration::from_micros(lines.parse::<u64>().unwrap() * 20);
    let ended = eventually(limit, || hull.inspect("box", "{{.State.Status}}") == "exited");
    assert!(ended, "a client that is gone holds it up");
    let last = hull.ok(&["logs", "--tail", "1", "box"]);
    assert_eq!(last.trim_start_matches('0'), (lines.parse::<u64>().unwrap() - 1).to_string());
    assert_eq!(daemon.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_stalled_visitors_are_let_go() {
    if !needs::full() {
        return;
    }
    let Some(hull) = Hull::with_probe() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    let lines = lines().to_string();
    let run = ["run", "-d", "--name", "box", "probe", "/probe", "spin-output", &lines];
    hull.ok(&[&["--host", &host], &run[..]].concat());
    let served = daemon.pid().as_raw_nonzero().get();
    let shim = hull.shim_pid(&hull.inspect("box", "{{.Id}}"));
    let attach = ["attach", "--no-stdin", "box"];
    let mut stalled = [
        Stalled::start(hull.command(&attach)),
        Stalled::start(hull.command(&[&["--host", &host], &attach[..]].concat())),
    ];
    stalled.iter_mut().for_each(Stalled::first_line);
    let (mut by_shim, mut by_daemon) = (0, 0);
    // They hold it up for half a minute, but not for ever.
    let limit =
        Duration::from_secs(120) + Duration::from_micros(lines.parse::<u64>().unwrap() * 20);
    let ended = eventually(limit, || {
        (by_shim, by_daemon) = (by_shim.max(held(shim)), by_daemon.max(held(served)));
        hull.inspect("box", "{{.State.Status}}") == "exited"
    });
    eprintln!("the supervisor held {by_shim} KiB, the daemon {by_daemon} KiB");
    assert!(ended, "it is held up");
    assert!(by_shim < GROWTH && by_daemon < 12 << 10);
    drop(stalled);
    assert_eq!(daemon.stop(), Some(0));
    hull.finish();
}
