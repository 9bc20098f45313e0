//! Restart policies: the shim's own, with no daemon and no command alive.

use std::time::{Duration, Instant};

use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, eventually, kill_9};
use serde_json::Value;

#[test]
fn privileged_on_failure_gives_up_after_so_many() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "echo run >> /runs; echo line; exit 3";
    let begun = Instant::now();
    let words = ["run", "-d", "--restart", "on-failure:2", "--name", "box", "busybox"];
    hull.ok(&[&words[..], &["sh", "-c", script]].concat());
    hull.becomes("box", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", "exited 2 3");
    assert!(begun.elapsed() >= Duration::from_millis(300), "100 ms and 200 ms of back-off");
    // The log goes on, and so do the files.
    assert_eq!(hull.ok(&["logs", "box"]), "line\nline\nline");
    hull.ok(&["run", "--rm", "--volumes-from", "box", "busybox", "true"]);
    hull.ok(&["run", "-d", "--restart", "on-failure", "--name", "good", "busybox", "true"]);
    hull.becomes("good", "{{.State.Status}} {{.RestartCount}}", "exited 0");
    hull.finish();
}

#[test]
fn privileged_always_comes_back_until_it_is_stopped() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--restart", "always", "--name", "box", "probe", "/probe", "sleep"]);
    for round in 1..=2 {
        kill_9(hull.inspect("box", "{{.State.Pid}}").parse().unwrap());
        hull.becomes("box", "{{.State.Running}} {{.RestartCount}}", &format!("true {round}"));
        hull.becomes("box", "{{.State.Status}}", "running");
        hull.ok(&["exec", "box", "/probe", "true"]);
    }
    hull.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    // A start by hand begins to count anew.
    hull.ok(&["start", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.Status}} {{.RestartCount}}"), "running 0");
    hull.ok(&["kill", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.Status}}"), "exited");
    hull.finish();
}

#[test]
fn privileged_a_stop_ends_the_back_off() {
    let Some(hull) = Hull::with_probe() else { return };
    let words = ["run", "-d", "--restart", "always", "--name", "box", "probe", "/probe"];
    hull.ok(&[&words[..], &["exit", "5"]].concat());
    // From the fourth end on the back-off is long enough to be met.
    let waiting = eventually(Duration::from_secs(20), || {
        hull.inspect("box", "{{.RestartCount}}").parse::<u32>().unwrap() >= 5
    });
    assert!(waiting);
    hull.becomes("box", "{{.State.Status}} {{.State.Running}} {{.State.Pid}}", "restarting true 0");
    let status = hull.ok(&["ps", "--filter", "status=restarting", "--format", "{{.Status}}"]);
    assert!(status.starts_with("Restarting (5) "), "{status}");
    hull.fails(&["exec", "box", "/probe", "true"], 1, "is restarting, wait until");
    hull.fails(&["rm", "box"], 1, "container is restarting: stop the container before");
    let begun = Instant::now();
    hull.ok(&["stop", "box"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(hull.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    hull.finish();
}

#[test]
fn privileged_what_a_container_had_it_has_again() {
    let Some(hull) = Hull::with_busybox() else { return };
    let host = hull.folder().join("host");
    std::fs::create_dir(&host).unwrap();
    let bind = format!("{}:/host", host.display());
    let script = "echo $HOSTNAME $(cat /proc/self/cgroup | wc -l) >> /host/seen; echo x >> /layer; \
                  echo x >> /data/volume; test $(wc -l < /layer) = 2 && sleep 1000; exit 1";
    let words = ["run", "-d", "--restart", "unless-stopped", "--name", "box", "-h", "inside"];
    let mounts = ["-v", &bind, "-v", "data:/data", "-m", "64m", "busybox", "sh", "-c", script];
    let id = hull.ok(&[&words[..], &mounts].concat());
    hull.becomes("box", "{{.RestartCount}} {{.State.Status}}", "1 running");
    let seen = || std::fs::read_to_string(host.join("seen")).unwrap_or_default();
    assert!(eventually(Duration::from_secs(5), || seen().lines().count() == 2), "{}", seen());
    assert!(seen().lines().all(|line| line == seen().lines().next().unwrap()), "{}", seen());
    assert_eq!(hull.ok(&["exec", "box", "cat", "/data/volume", "/layer"]), "x\nx\nx\nx");
    // A shim that is killed takes its container along; the record says why.
    kill_9(hull.shim_pid(&id));
    let state = hull.inspect("box", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}");
    assert_eq!(state, "exited 137 supervisor lost");
    hull.ok(&["rm", "box"]);
    hull.ok(&["volume", "rm", "data"]);
    hull.finish();
}

#[test]
fn privileged_a_policy_can_be_given_and_taken_while_it_runs() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    let kill = || kill_9(hull.inspect("box", "{{.State.Pid}}").parse().unwrap());
    assert_eq!(hull.ok(&["update", "--restart", "always", "box"]), "box");
    kill();
    hull.becomes("box", "{{.State.Status}} {{.RestartCount}}", "running 1");
    assert_eq!(hull.inspect("box", "{{.HostConfig.RestartPolicy.Name}}"), "always");
    hull.ok(&["update", "--restart", "no", "box"]);
    kill();
    hull.becomes("box", "{{.State.Status}}", "exited");
    hull.finish();
}

#[test]
fn privileged_policies_that_make_no_sense() {
    let Some(hull) = Hull::with_probe() else { return };
    let refused = |words: &[&str], text| {
        hull.fails(&[&["run"], words, &["probe", "/probe", "true"][..]].concat(), 125, text);
    };
    refused(&["--rm", "--restart", "always"], "cannot specify both --restart and --rm");
    refused(&["--restart", "sometimes"], "unknown policy 'sometimes'");
    refused(&["--restart", "always:3"], "can only be used with 'on-failure'");
    refused(&["--restart", "on-failure:x"], "maximum retry count must be an integer");
    refused(&["--restart", ":3"], "no policy provided before colon");
    hull.ok(&["run", "-d", "--rm", "--name", "box", "probe", "/probe", "sleep"]);
    hull.fails(&["update", "--restart", "always", "box"], 1, "AutoRemove is enabled");
    hull.finish();
}

#[test]
fn privileged_a_daemon_starts_what_is_to_run_after_a_boot() {
    let Some(hull) = Hull::with_probe() else { return };
    let run = |name: &str, policy: &str| {
        let words = ["run", "-d", "--name", name, "--restart", policy, "probe", "/probe", "sleep"];
        hull.ok(&words)
    };
    let names = ["plain", "stopped", "kept", "lost"];
    let ids = [run("plain", "no"), run("stopped", "unless-stopped"), run("kept", "unless-stopped")];
    let lost = run("lost", "on-failure");
    hull.ok(&["stop", "-t", "0", "stopped"]);
    // What the host's end does to a shim; what it does to the state is the boot's id.
    for id in [&ids[0], &ids[2], &lost] {
        kill_9(hull.shim_pid(id));
    }
    for id in &ids {
        let path = hull.data_root().join("containers").join(id).join("state.json");
        let mut state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        state["boot_id"] = "the boot before".into();
        std::fs::write(&path, state.to_string()).unwrap();
    }
    let shown = || names.map(|name| hull.inspect(name, "{{.State.Status}} {{.State.Error}}"));
    let ended = "exited the host restarted";
    assert_eq!(shown(), [ended, "exited ", ended, "exited supervisor lost"]);
    // Nobody starts them but a daemon, when it starts.
    let daemon = Daemon::start(&hull);
    assert_eq!(shown(), [ended, "exited ", "running ", "running "]);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(shown(), [ended, "exited ", "running ", "running "]);
    hull.finish();
}

/// What a container's supervisor has recorded, read past every command: each of them would look
/// after containers itself.
fn recorded(hull: &Hull, id: &str) -> Option<Value> {
    let path = hull.data_root().join("containers").join(id).join("state.json");
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[track_caller]
fn is_recorded(hull: &Hull, id: &str, test: impl Fn(&Value) -> bool) -> Value {
    let mut last = None;
    let so = eventually(Duration::from_secs(10), || {
        last = recorded(hull, id);
        last.as_ref().is_some_and(&test)
    });
    assert!(so, "{last:?}");
    last.expect("just seen")
}

fn shim(state: &Value) -> i32 {
    i32::try_from(state["shim_pid"].as_i64().expect("a number")).expect("a pid")
}

#[test]
fn privileged_a_daemon_notices_a_lost_supervisor_at_once() {
    let Some(hull) = Hull::with_probe() else { return };
    let run = |name: &str, more: &[&str], mode: &[&str]| {
        let words = ["run", "-d", "--name", name];
        hull.ok(&[&words[..], more, &["probe", "/probe"], mode].concat())
    };
    let always = ["--restart", "always"];
    // One that was there before the daemon, others that it hears of.
    let before = run("before", &[], &["sleep"]);
    let daemon = Daemon::start(&hull);
    let plain = run("plain", &[], &["sleep"]);
    let fleeting = run("fleeting", &["--rm"], &["sleep"]);
    let back = run("back", &always, &["sleep"]);
    for id in [&before, &plain, &fleeting] {
        kill_9(hull.shim_pid(id));
    }
    for id in [&before, &plain] {
        let state = is_recorded(&hull, id, |state| state["status"] == "exited");
        assert_eq!(state["exit_code"], 137, "{state}");
        assert_eq!(state["error"], "supervisor lost");
    }
    let folder = hull.data_root().join("containers").join(&fleeting);
    assert!(eventually(Duration::from_secs(10), || !folder.exists()));
    // The second time it is one that the daemon has started.
    for _ in 0..2 {
        let lost = shim(&is_recorded(&hull, &back, |state| state["status"] == "running"));
        kill_9(lost);
        is_recorded(&hull, &back, |state| {
            state["status"] == "running" && shim(state) != lost && state["pid"] != 0
        });
    }
    hull.ok(&["exec", "back", "/probe", "true"]);
    // A policy's restart leaves the supervisor the same, and it is still watched.
    let supervisor = hull.shim_pid(&back);
    kill_9(hull.inspect("back", "{{.State.Pid}}").parse().expect("a pid"));
    is_recorded(&hull, &back, |state| state["status"] == "running" && state["restart_count"] == 1);
    assert_eq!(hull.shim_pid(&back), supervisor);
    kill_9(supervisor);
    is_recorded(&hull, &back, |state| state["status"] == "running" && shim(state) != supervisor);
    hull.ok(&["rm", "-f", "back"]);
    assert_eq!(daemon.stop(), Some(0));
    hull.ok(&["rm", "before", "plain"]);
    hull.finish();
}
