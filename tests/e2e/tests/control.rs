//! Commands that act on a container that runs: pause, rename, restart, update, top, stats, wait.

use std::process::Stdio;
use std::time::Duration;

use hull_test_support::{Hull, eventually};

#[test]
fn privileged_a_paused_container_does_nothing() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "trap 'exit 4' TERM; n=0; while :; do echo $n; n=$((n+1)); sleep 0.02; done";
    hull.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    hull.wait_for_log("box", "3\n");
    assert_eq!(hull.ok(&["pause", "box"]), "box");
    assert_eq!(
        hull.inspect("box", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"),
        "paused true true"
    );
    assert!(hull.ok(&["ps", "--format", "{{.Status}}"]).ends_with(" (Paused)"));
    let before = hull.ok(&["logs", "box"]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(hull.ok(&["logs", "box"]), before);
    hull.fails(&["pause", "box"], 1, "is already paused");
    hull.fails(&["exec", "box", "true"], 1, "is paused, unpause the container before exec");
    hull.fails(&["start", "box"], 1, "cannot start a paused container, try unpause instead");
    hull.fails(&["rm", "box"], 1, "container is paused and must be unpaused first");
    hull.ok(&["unpause", "box"]);
    hull.fails(&["unpause", "box"], 1, "is not paused");
    let goes_on = eventually(Duration::from_secs(5), || hull.ok(&["logs", "box"]) != before);
    assert!(goes_on);
    // Stopping and killing need no unpause.
    hull.ok(&["pause", "box"]);
    hull.ok(&["stop", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    hull.fails(&["pause", "box"], 1, "is not running");
    hull.ok(&["start", "box"]);
    hull.ok(&["pause", "box"]);
    hull.ok(&["kill", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.ExitCode}}"), "137");
    hull.finish();
}

#[test]
fn privileged_rename_while_it_runs() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--rm", "--name", "one", "probe", "/probe", "sleep"]);
    hull.ok(&["create", "--name", "taken", "probe"]);
    hull.fails(&["rename", "one", "taken"], 1, "already in use by container");
    hull.fails(&["rename", "one", "one"], 1, "same name as its current name");
    hull.fails(&["rename", "one", "no/good"], 1, "Invalid container name");
    hull.ok(&["rename", "one", "two"]);
    assert_eq!(hull.inspect("two", "{{.Name}}"), "/two");
    hull.fails(&["inspect", "one"], 1, "one");
    hull.ok(&["create", "--name", "one", "probe"]);
    // What removes itself takes its new name along, and not the one that is another's now.
    hull.ok(&["kill", "two"]);
    let names = hull.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(names, "one\ntaken");
    hull.ok(&["create", "--name", "two", "probe"]);
    hull.finish();
}

#[test]
fn privileged_restart_keeps_what_removes_itself() {
    let Some(hull) = Hull::with_busybox() else { return };
    hull.ok(&["run", "-d", "--rm", "--name", "box", "busybox", "sleep", "1000"]);
    let pid = hull.inspect("box", "{{.State.Pid}}");
    hull.ok(&["exec", "box", "touch", "/kept"]);
    assert_eq!(hull.ok(&["restart", "-t", "0", "box"]), "box");
    assert_ne!(hull.inspect("box", "{{.State.Pid}}"), pid);
    hull.ok(&["exec", "box", "ls", "/kept"]);
    hull.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(hull.ok(&["ps", "-aq"]), "");
    hull.ok(&["create", "--name", "new", "busybox", "sleep", "1000"]);
    hull.ok(&["restart", "new"]);
    assert_eq!(hull.inspect("new", "{{.State.Running}}"), "true");
    hull.finish();
}

#[test]
fn privileged_limits_change_while_it_runs() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "-m", "64m", "--name", "box", "probe", "/probe", "sleep"]);
    let words = ["update", "-m", "128m", "--cpus", "0.5", "--pids-limit", "33", "box"];
    assert_eq!(hull.ok(&words), "box");
    let stats = hull.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "box"]);
    assert!(stats.ends_with(" / 128MiB"), "{stats}");
    // Below the old limit of memory and swap, so the two must be written the other way round.
    hull.ok(&["update", "-m", "32m", "box"]);
    let stats = hull.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "box"]);
    assert!(stats.ends_with(" / 32MiB"), "{stats}");
    let shown = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}";
    assert_eq!(hull.inspect("box", shown), "33554432 500000000 33");
    hull.fails(&["update", "-m", "1k", "box"], 1, "Minimum memory limit allowed is 6MB");
    hull.fails(&["update", "box"], 1, "you must provide one or more flags");
    // What was changed holds after the next start.
    hull.ok(&["restart", "-t", "0", "box"]);
    let stats = hull.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "box"]);
    assert!(stats.ends_with(" / 32MiB"), "{stats}");
    hull.finish();
}

#[test]
fn privileged_top_and_stats() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "sleep 1000 & while :; do :; done";
    hull.ok(&["run", "-d", "-u", "33", "--name", "box", "busybox", "sh", "-c", script]);
    let pid = hull.inspect("box", "{{.State.Pid}}");
    let forked = eventually(Duration::from_secs(10), || {
        hull.ok(&["top", "box", "-o", "pid,comm"]).contains("sleep")
    });
    assert!(forked, "{}", hull.ok(&["top", "box"]));
    let listed = hull.ok(&["top", "box"]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = listed.lines().map(words);
    assert_eq!(lines.next().unwrap(), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let first = lines.next().unwrap();
    assert_eq!((&first[1], first[7..].join(" ")), (&pid, format!("sh -c {script}")));
    assert!(["www-data", "33"].contains(&first[0].as_str()), "{first:?}");
    let children = hull.ok(&["top", "box", "-eo", "pid,ppid,comm"]);
    let sleep = children.lines().map(words).find(|line| line[2] == "sleep");
    assert_eq!(sleep.expect("both processes are listed")[1], pid);
    hull.fails(&["top", "box", "-o", "comm"], 1, "Couldn't find PID field in ps output");
    let stats = hull.json(&["stats", "--no-stream", "--format", "json", "box"]);
    let share: f64 = stats["CPUPerc"].as_str().unwrap().trim_end_matches('%').parse().unwrap();
    assert!(share > 1.0, "{stats}");
    assert_eq!(stats["PIDs"], "2");
    hull.ok(&["kill", "box"]);
    hull.fails(&["top", "box"], 1, "is not running");
    let all = hull.ok(&["stats", "-a", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}}"]);
    assert_eq!(all, "box --");
    hull.finish();
}

#[test]
fn privileged_wait_hears_of_what_others_do() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["create", "--name", "box", "probe", "/probe", "exit", "6"]);
    let wait = |condition: &str| {
        let mut command = hull.command(&["wait", "--condition", condition, "box"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let waiters = [wait("next-exit"), wait("removed")];
    // Not running yet: this one ends at once.
    assert_eq!(hull.ok(&["wait", "box"]), "0");
    let watches = |waiter: &std::process::Child| {
        let watches = eventually(Duration::from_secs(10), || {
            let folder = std::fs::read_dir(format!("/proc/{}/fdinfo", waiter.id())).unwrap();
            let infos = folder.flatten().map(|file| std::fs::read_to_string(file.path()));
            infos.flatten().any(|info| info.contains("inotify wd:"))
        });
        assert!(watches, "it does not ask again and again");
    };
    waiters.iter().for_each(watches);
    let hears = |waiter: std::process::Child| {
        let output = waiter.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "6\n");
    };
    let [next_exit, removed] = waiters;
    hull.ok(&["start", "box"]);
    hears(next_exit);
    hull.ok(&["rm", "box"]);
    hears(removed);
    // One that is gone before anybody can look at it.
    hull.ok(&["create", "--rm", "--name", "box", "probe", "/probe", "exit", "6"]);
    let waiter = wait("next-exit");
    watches(&waiter);
    hull.ok(&["start", "box"]);
    hears(waiter);
    hull.finish();
}

#[test]
fn privileged_mounts_of_another_container() {
    let Some(hull) = Hull::with_busybox() else { return };
    hull.ok(&["run", "--name", "one", "-v", "/data", "busybox", "sh", "-c", "echo hers > /data/f"]);
    let read = ["cat", "/data/f"];
    let two = ["run", "--rm", "--volumes-from", "one:ro", "busybox"];
    assert_eq!(hull.ok(&[&two[..], &read].concat()), "hers");
    hull.fails(&[&two[..], &["touch", "/data/x"]].concat(), 1, "Read-only file system");
    // The volume stays the other's.
    assert_eq!(hull.ok(&["volume", "ls", "-q"]).lines().count(), 1);
    hull.fails(&["run", "--volumes-from", "nobody", "busybox"], 125, "No such container: nobody");
    // Not even one that removes itself takes along what another container was given.
    let words = ["run", "-d", "--rm", "--name", "brief", "-v", "/data", "busybox", "sleep", "1000"];
    hull.ok(&words);
    hull.ok(&["exec", "brief", "touch", "/data/kept"]);
    hull.ok(&["create", "--name", "heir", "--volumes-from", "brief", "busybox", "ls", "/data"]);
    hull.ok(&["kill", "brief"]);
    assert_eq!(hull.ok(&["start", "-a", "heir"]), "kept");
    hull.ok(&["rm", "heir"]);
    hull.ok(&["rm", "-v", "one"]);
    hull.ok(&["volume", "prune", "-f"]);
    hull.finish();
}

#[test]
fn privileged_no_log_is_kept_where_none_is_wanted() {
    let Some(hull) = Hull::with_busybox() else { return };
    let words = ["run", "--name", "box", "--log-driver", "none", "busybox", "echo", "said"];
    assert_eq!(hull.ok(&words), "said");
    hull.fails(&["logs", "box"], 1, "configured logging driver does not support reading");
    let words = ["run", "--name", "small", "--log-opt", "max-size=1k", "--log-opt", "max-file=2"];
    let script = "for n in $(seq 60); do echo line $n; sleep 0.01; done";
    hull.ok(&[&words[..], &["busybox", "sh", "-c", script]].concat());
    let logs = hull.ok(&["logs", "small"]);
    assert!(logs.ends_with("line 60") && !logs.starts_with("line 1\n"), "{logs}");
    hull.finish();
}

#[test]
fn privileged_init_passes_real_time_signals_on() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "trap 'echo got; exit 9' RTMIN+3; trap 'echo got; exit 9' 37; echo ready; \
                  while :; do sleep 0.05; done";
    let words = ["run", "-d", "--init", "--name", "box", "busybox", "sh", "-c", script];
    hull.ok(&words);
    hull.wait_for_log("box", "ready");
    hull.ok(&["kill", "-s", "RTMIN+3", "box"]);
    assert_eq!(hull.ok(&["wait", "box"]), "9");
    hull.finish();
}
