//! Logs: what is there, what comes, and where it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, eventually, kill_9};

fn piped(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("hull starts")
}

/// Waits for its end, and that it is a good one.
fn ends(child: &mut Child) {
    let mut status = None;
    let ended = eventually(Duration::from_secs(20), || {
        status = child.try_wait().expect("it is our child");
        status.is_some()
    });
    assert!(ended && status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn privileged_followers_miss_nothing_while_the_log_rotates() {
    let Some(hull) = Hull::with_probe() else { return };
    let daemon = Daemon::start(&hull);
    let mut run = piped(hull.command(&[
        "run",
        "-i",
        "--name",
        "box",
        "--log-opt",
        "max-size=64k",
        "--log-opt",
        "max-file=3",
        "probe",
        "/probe",
        "cat",
    ]));
    let mut input = run.stdin.take().unwrap();
    writeln!(input, "line 0").unwrap();
    hull.wait_for_log("box", "line 0");
    let follow = ["logs", "-f", "box"];
    let mut followers = [piped(hull.command(&follow)), {
        let host = daemon.host();
        piped(hull.command(&[&["--host", &host], &follow[..]].concat()))
    }];
    let mut outputs: Vec<_> = followers
        .iter_mut()
        .map(|follower| BufReader::new(follower.stdout.take().unwrap()).lines())
        .collect();
    let mut expect = |number: usize| {
        for output in &mut outputs {
            let line = output.next().expect("it still follows").unwrap();
            assert_eq!(line, format!("line {number}"));
        }
    };
    expect(0);
    let mut next = 1;
    // Each round is about one file.
    for _ in 0..8 {
        let text: String = (next..next + 700).map(|number| format!("line {number}\n")).collect();
        input.write_all(text.as_bytes()).unwrap();
        (next..next + 700).for_each(&mut expect);
        next += 700;
    }
    drop(input);
    std::io::copy(&mut run.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    ends(&mut run);
    followers.iter_mut().for_each(ends);
    // The oldest files are gone, and of the rest the tail is at hand.
    let last = next - 1;
    assert_eq!(hull.ok(&["logs", "--tail", "2", "box"]), format!("line {}\nline {last}", last - 1));
    let left = hull.ok(&["logs", "box"]);
    assert!(left.ends_with(&format!("line {last}")) && !left.starts_with("line 0"));
    assert_eq!(daemon.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_details_timestamps_and_times() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&[
        "run",
        "--name",
        "box",
        "-l",
        "tier=a b",
        "-e",
        "MODE=x",
        "--log-opt",
        "labels=tier,none",
        "--log-opt",
        "env=MODE",
        "probe",
        "/probe",
        "both",
        "word",
    ]);
    let output = hull.run(&["logs", "--details", "box"]);
    assert_eq!(output.stdout, "MODE=x,tier=a+b word out\n");
    assert_eq!(output.stderr, "MODE=x,tier=a+b word err\n");
    let stamped = hull.ok(&["logs", "-t", "box"]);
    let (stamp, text) = stamped.split_once(' ').unwrap();
    assert_eq!((stamp.len(), text), ("2026-01-01T00:00:00.000000000Z".len(), "word out"));
    assert_eq!(hull.ok(&["logs", "--since", "1h", "box"]), "word out");
    assert_eq!(hull.ok(&["logs", "--until", "1h", "box"]), "");
    assert_eq!(hull.ok(&["logs", "-f", "box"]), "word out", "a stopped one is not followed");
    hull.finish();
}

#[test]
fn privileged_following_ends_with_the_supervisor_and_with_the_run() {
    let Some(hull) = Hull::with_probe() else { return };
    for end in [true, false] {
        hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
        let mut follower = piped(hull.command(&["logs", "-f", "box"]));
        if end {
            kill_9(hull.shim_pid(&hull.inspect("box", "{{.Id}}")));
        } else {
            hull.ok(&["restart", "-t", "0", "box"]);
        }
        ends(&mut follower);
        hull.ok(&["rm", "-f", "box"]);
    }
    hull.finish();
}
