//! Health checks: run by the shim, with no daemon and no command alive.

use std::time::Duration;

use hull_test_support::busybox::busybox_image;
use hull_test_support::{Hull, eventually};
use serde_json::json;

/// What its probes are to say of the container.
const HEALTH: &str = "{{.State.Health.Status}}";

/// Runs `box` with a probe five times a second.
#[track_caller]
fn run(hull: &Hull, options: &[&str], command: &[&str]) -> String {
    let words = ["run", "-d", "--name", "box", "--health-interval", "200ms"];
    hull.ok(&[&words[..], options, &["busybox"], command].concat())
}

#[test]
fn privileged_health_follows_the_probe() {
    let Some(hull) = Hull::with_busybox() else { return };
    let probe = "test -f /well && echo fine || { echo ill; exit 7; }";
    run(&hull, &["--health-cmd", probe, "--health-retries", "2"], &["sleep", "1000"]);
    hull.becomes("box", HEALTH, "unhealthy");
    let log = hull.json(&["inspect", "-f", "{{json .State.Health}}", "box"]);
    assert!(log["FailingStreak"].as_i64().unwrap() >= 2, "{log}");
    assert_eq!(
        (&log["Log"][0]["ExitCode"], &log["Log"][0]["Output"]),
        (&json!(7), &json!("ill\n"))
    );
    assert_eq!(hull.ok(&["ps", "-q", "--filter", "health=healthy"]), "");
    hull.ok(&["exec", "box", "touch", "/well"]);
    hull.becomes("box", HEALTH, "healthy");
    let status = hull.ok(&["ps", "--filter", "health=healthy", "--format", "{{.Status}}"]);
    assert!(status.ends_with(" (healthy)"), "{status}");
    let five = eventually(Duration::from_secs(10), || {
        hull.inspect("box", "{{len .State.Health.Log}}") == "5"
    });
    assert!(five, "the last five probes are kept");
    assert_eq!(hull.inspect("box", "{{.State.Health.FailingStreak}}"), "0");
    // A new start knows nothing of the last.
    hull.ok(&["restart", "-t", "0", "box"]);
    assert!(matches!(
        hull.inspect("box", "{{.State.Health.Status}}").as_str(),
        "starting" | "healthy"
    ));
    hull.finish();
}

#[test]
fn privileged_a_stuck_probe_is_killed_and_holds_nothing_up() {
    let Some(hull) = Hull::with_busybox() else { return };
    let options = ["--health-cmd", "echo begun; sleep 1000", "--health-timeout", "300ms"];
    let id = run(&hull, &[&options[..], &["--health-retries", "2"]].concat(), &["sleep", "1000"]);
    hull.becomes("box", HEALTH, "unhealthy");
    let log = hull.json(&["inspect", "-f", "{{json .State.Health.Log}}", "box"]);
    assert_eq!(log[0]["ExitCode"], -1, "{log}");
    assert_eq!(log[0]["Output"], "Health check exceeded timeout (300ms): begun\n");
    hull.ok(&["exec", "box", "true"]);
    let shim = hull.shim_pid(&id);
    let zombies = || {
        let children = format!("/proc/{shim}/task/{shim}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let stat = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat"));
        let dead = |pid: &&str| stat(pid).is_ok_and(|stat| stat.contains(") Z "));
        children.split_ascii_whitespace().filter(dead).count()
    };
    assert!(eventually(Duration::from_secs(5), || zombies() == 0), "the shim reaps its probes");
    hull.ok(&["stop", "-t", "0", "box"]);
    hull.finish();
}

#[test]
fn privileged_the_images_probe_is_taken_changed_or_left_out() {
    let Some(hull) = Hull::with_busybox() else { return };
    let check = json!({"Test": ["CMD", "echo", "image's"], "Interval": 200_000_000_i64});
    hull.load(&busybox_image().unwrap().set("Healthcheck", check), "checked");
    hull.ok(&["run", "-d", "--name", "box", "checked", "sleep", "1000"]);
    hull.becomes("box", HEALTH, "healthy");
    assert_eq!(hull.inspect("box", "{{(index .State.Health.Log 0).Output}}"), "image's");
    hull.ok(&["rm", "-f", "box"]);
    hull.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--health-cmd",
        "false",
        "--health-retries",
        "1",
        "checked",
        "sleep",
        "1000",
    ]);
    hull.becomes("box", HEALTH, "unhealthy");
    hull.ok(&["rm", "-f", "box"]);
    hull.ok(&["run", "-d", "--name", "box", "--no-healthcheck", "checked", "sleep", "1000"]);
    assert_eq!(
        hull.inspect("box", "{{if .State.Health}}checked{{else}}unchecked{{end}}"),
        "unchecked"
    );
    let nonsense = ["run", "--no-healthcheck", "--health-retries", "1", "checked"];
    hull.fails(&nonsense, 125, "--no-healthcheck conflicts with --health-* options");
    hull.finish();
}

#[test]
fn privileged_failures_in_the_start_period_do_not_count() {
    let Some(hull) = Hull::with_busybox() else { return };
    let times = ["--health-start-period", "1h", "--health-start-interval", "100ms"];
    let probe =
        ["--health-cmd", "head -c 6000 /dev/zero | sed 's/./x/g'; exit 1", "--health-retries", "1"];
    run(&hull, &[times, probe].concat(), &["sleep", "1000"]);
    let probed = eventually(Duration::from_secs(10), || {
        hull.inspect("box", "{{len .State.Health.Log}}") == "5"
    });
    assert!(probed, "the start interval holds in the start period");
    let health = hull.inspect("box", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}");
    assert_eq!(health, "starting 0");
    let output = hull.json(&["inspect", "-f", "{{json .State.Health.Log}}", "box"]);
    assert!(output[0]["Output"].as_str().unwrap().len() <= 4096 + 3, "output is cut");
    hull.finish();
}
