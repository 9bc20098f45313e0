//! The life of a container through the commands, as Docker's users know them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use hull_test_support::{Hull, eventually};

#[test]
fn privileged_exit_codes_are_the_containers_own() {
    let Some(hull) = Hull::with_probe() else { return };
    assert_eq!(hull.run(&["run", "--rm", "probe", "/probe", "true"]).code, 0);
    assert_eq!(hull.run(&["run", "--rm", "probe", "/probe", "exit", "7"]).code, 7);
    assert_eq!(hull.run(&["run", "--rm", "probe", "/probe", "exit", "255"]).code, 255);
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    assert_eq!(hull.run(&["exec", "box", "/probe", "exit", "9"]).code, 9);
    hull.ok(&["kill", "box"]);
    assert_eq!(hull.ok(&["wait", "box"]), "137");
    hull.finish();
}

#[test]
fn privileged_output_and_input() {
    let Some(hull) = Hull::with_probe() else { return };
    let output = hull.run(&["run", "--rm", "probe", "/probe", "both", "word"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("word out\n", "word err\n"));
    let input: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).map(|b| b % 26 + 97).collect();
    let output = hull.run_with_input(&["run", "--rm", "-i", "probe", "/probe", "cat"], &input);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stdout.as_bytes(), input);
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    let output = hull.run_with_input(&["exec", "-i", "box", "/probe", "cat"], &input);
    assert_eq!(output.stdout.as_bytes(), input);
    // Without -i there is no input, and no waiting for it.
    let output = hull.run_with_input(&["run", "--rm", "probe", "/probe", "cat"], b"unseen");
    assert_eq!((output.code, output.stdout.as_str()), (0, ""));
    hull.finish();
}

#[test]
fn privileged_much_output_is_complete() {
    let Some(hull) = Hull::with_probe() else { return };
    let lines = 100_000;
    let text = hull.ok(&["run", "--name", "box", "probe", "/probe", "spin-output", "100000"]);
    assert_eq!(text.lines().count(), lines);
    assert!(text.ends_with(&format!("{:063}", lines - 1)));
    // 6.4 MB is less than one log file: all of it is there.
    let logs = hull.ok(&["logs", "box"]);
    assert_eq!(logs, text);
    assert_eq!(hull.ok(&["logs", "--tail", "1", "box"]), format!("{:063}", lines - 1));
    hull.finish();
}

#[test]
fn privileged_create_start_stop_restart() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "trap 'echo stopping; exit 3' TERM; echo started; while :; do sleep 0.1; done";
    let id = hull.ok(&["create", "--name", "box", "busybox", "sh", "-c", script]);
    assert_eq!(id.len(), 64);
    assert_eq!(hull.inspect("box", "{{.State.Status}}"), "created");
    assert_eq!(hull.ok(&["ps", "-q"]), "");
    assert_eq!(hull.ok(&["start", "box"]), "box");
    hull.wait_for_log("box", "started");
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");
    assert_eq!(hull.ok(&["ps", "-q", "--no-trunc"]), id);
    assert_eq!(hull.ok(&["stop", "box"]), "box");
    assert_eq!(hull.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    assert_eq!(hull.ok(&["logs", "box"]), "started\nstopping");
    // What it wrote is still there the second time.
    hull.ok(&["start", "box"]);
    hull.ok(&["exec", "box", "sh", "-c", "echo kept > /file"]);
    hull.ok(&["stop", &id[..12]]);
    hull.ok(&["start", "box"]);
    assert_eq!(hull.ok(&["exec", "box", "cat", "/file"]), "kept");
    hull.fails(&["rm", "box"], 1, "running");
    assert_eq!(hull.ok(&["rm", "-f", "box"]), "box");
    hull.fails(&["inspect", "box"], 1, "box");
    hull.finish();
}

#[test]
fn privileged_stop_kills_after_its_timeout() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    hull.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    hull.wait_for_log("box", "ready");
    let start = Instant::now();
    hull.ok(&["stop", "-t", "1", "box"]);
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(hull.inspect("box", "{{.State.ExitCode}}"), "137");
    hull.finish();
}

#[test]
fn privileged_stop_signal() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "trap 'exit 42' INT; echo ready; while :; do sleep 0.1; done";
    let words =
        ["run", "-d", "--name", "box", "--stop-signal", "SIGINT", "busybox", "sh", "-c", script];
    hull.ok(&words);
    hull.wait_for_log("box", "ready");
    hull.ok(&["stop", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.ExitCode}}"), "42");
    hull.ok(&["start", "box"]);
    hull.ok(&["kill", "-s", "INT", "box"]);
    assert_eq!(hull.ok(&["wait", "box"]), "42");
    hull.finish();
}

#[test]
fn privileged_environment_user_and_folder() {
    let Some(hull) = Hull::with_busybox() else { return };
    let file = hull.file("env", b"# comment\nA=from file\nB=from file\nHOME_OF\n");
    let words =
        ["run", "--rm", "--env-file", &file, "-e", "B=given", "-e", "EMPTY=", "busybox", "env"];
    let environment = hull.ok(&words);
    for line in ["A=from file", "B=given", "EMPTY=", "HOME=/root"] {
        assert!(environment.lines().any(|l| l == line), "{line} in {environment}");
    }
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--rm"];
        all.extend(words);
        hull.ok(&all)
    };
    assert_eq!(
        run(&["-u", "www-data", "busybox", "id"]),
        "uid=33(www-data) gid=33(www-data) groups=33(www-data),50(staff)"
    );
    assert_eq!(
        run(&["-u", "33:7", "busybox", "sh", "-c", "id -u; id -g; echo $HOME"]),
        "33\n7\n/var/www"
    );
    assert_eq!(
        run(&["-u", "1234", "busybox", "sh", "-c", "id -u; id -g; echo $HOME"]),
        "1234\n0\n/"
    );
    assert_eq!(
        run(&["--group-add", "staff", "--group-add", "99", "busybox", "id", "-G"]),
        "0 50 99"
    );
    assert_eq!(run(&["-w", "/made/here", "busybox", "pwd"]), "/made/here");
    assert_eq!(run(&["--entrypoint", "/probe", "busybox", "echo", "a", "b c"]), "a b c");
    assert_eq!(run(&["--hostname", "box", "busybox", "hostname"]), "box");
    assert!(run(&["--hostname", "box", "busybox", "cat", "/etc/hosts"]).contains("box"));
    hull.finish();
}

#[test]
fn privileged_attach_and_wait() {
    let Some(hull) = Hull::with_busybox() else { return };
    hull.ok(&[
        "create",
        "-i",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "read x; echo got $x; exit 5",
    ]);
    let waiter = hull.command(&["wait", "box"]).stdout(Stdio::piped()).spawn().unwrap();
    hull.ok(&["start", "box"]);
    let output = hull.run_with_input(&["attach", "box"], b"word\n");
    assert_eq!((output.code, output.stdout.as_str()), (5, "got word\n"), "{}", output.stderr);
    let waited = waiter.wait_with_output().unwrap();
    assert!(["5\n", "0\n"].contains(&String::from_utf8_lossy(&waited.stdout).as_ref()));
    assert_eq!(hull.ok(&["wait", "box"]), "5");
    let output = hull.run_with_input(&["start", "-ai", "box"], b"again\n");
    assert_eq!((output.code, output.stdout.as_str()), (5, "got again\n"), "{}", output.stderr);
    hull.finish();
}

#[test]
fn privileged_no_byte_of_a_short_life_is_lost() {
    let Some(hull) = Hull::with_probe() else { return };
    for round in 0..20 {
        let word = format!("round-{round}");
        let text = hull.ok(&["run", "--rm", "probe", "/probe", "echo", &word]);
        assert_eq!(text, word);
    }
    hull.finish();
}

#[test]
fn privileged_logs_follow_and_options() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "for n in 1 2 3 4 5; do echo line $n; sleep 0.2; done";
    hull.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    let followed = hull.ok(&["logs", "-f", "box"]);
    assert_eq!(followed, "line 1\nline 2\nline 3\nline 4\nline 5");
    assert_eq!(hull.ok(&["logs", "--tail", "2", "box"]), "line 4\nline 5");
    let stamped = hull.ok(&["logs", "-t", "--tail", "1", "box"]);
    let (stamp, text) = stamped.split_once(' ').unwrap();
    assert_eq!(text, "line 5");
    assert!(stamp.starts_with("20") && stamp.ends_with('Z') && stamp.contains('T'), "{stamp}");
    hull.finish();
}

#[test]
fn privileged_auto_remove_and_names() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "--rm", "--name", "box", "probe", "/probe", "true"]);
    // The name is free as soon as the command is back.
    hull.ok(&["run", "--name", "box", "probe", "/probe", "true"]);
    hull.fails(&["run", "--name", "box", "probe"], 125, "box");
    hull.fails(&["run", "--name", "not/good", "probe"], 125, "not/good");
    let file = hull.folder().join("cid").display().to_string();
    let id =
        hull.ok(&["run", "-d", "--cidfile", &file, "--label", "a=b", "probe", "/probe", "sleep"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    hull.fails(&["run", "--rm", "--cidfile", &file, "probe"], 125, &file);
    assert_eq!(hull.ok(&["ps", "-q", "--no-trunc", "--filter", "label=a=b"]), id);
    let listed = hull.ok(&["ps", "-a", "--format", "{{.Names}} {{.Image}}"]);
    assert!(listed.lines().any(|line| line == "box probe"), "{listed}");
    hull.finish();
}

#[test]
fn privileged_init_reaps_and_forwards() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "trap 'exit 6' TERM; (sleep 0.1 &) ; echo ready; while :; do sleep 0.1; done";
    hull.ok(&["run", "-d", "--init", "--name", "box", "busybox", "sh", "-c", script]);
    hull.wait_for_log("box", "ready");
    assert_ne!(hull.ok(&["exec", "box", "sh", "-c", "cat /proc/1/comm"]), "sh");
    let zombies = "cat /proc/[0-9]*/stat | grep -c ') Z '";
    let reaped = eventually(Duration::from_secs(5), || {
        hull.run(&["exec", "box", "sh", "-c", zombies]).stdout.trim() == "0"
    });
    assert!(reaped);
    hull.ok(&["stop", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.ExitCode}}"), "6");
    hull.finish();
}

#[test]
fn privileged_many_at_once() {
    let Some(hull) = Hull::with_probe() else { return };
    std::thread::scope(|scope| {
        for n in 0..16 {
            let hull = &hull;
            let word = format!("number {n}");
            let mut command = hull.command(&["run", "--rm", "probe", "/probe", "echo", &word]);
            scope.spawn(move || {
                let output = command.output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "{said}");
                assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{word}\n"));
            });
        }
    });
    assert_eq!(hull.ok(&["ps", "-aq"]), "");
    hull.finish();
}
