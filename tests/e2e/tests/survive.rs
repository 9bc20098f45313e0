//! Ends that nobody wished for: of the command, of the shim, in the middle of a load.

use std::process::Stdio;
use std::time::Duration;

use hull_test_support::archive::Tar;
use hull_test_support::busybox::probe_image;
use hull_test_support::image::{Compression, Image};
use hull_test_support::writes::{End, kill_before_change};
use hull_test_support::{Hull, eventually, kill_9, needs};

#[test]
fn privileged_killing_the_command_leaves_the_container() {
    let Some(hull) = Hull::with_busybox() else { return };
    let script = "n=0; while [ $n -lt 40 ]; do echo line $n; n=$((n+1)); sleep 0.05; done; exit 4";
    let mut command = hull.command(&["run", "--name", "box", "busybox", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    hull.wait_for_log("box", "line 3");
    kill_9(i32::try_from(child.id()).unwrap());
    child.wait().unwrap();
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");
    assert_eq!(hull.ok(&["wait", "box"]), "4");
    let expected: Vec<String> = (0..40).map(|n| format!("line {n}")).collect();
    assert_eq!(hull.ok(&["logs", "box"]), expected.join("\n"));
    hull.finish();
}

#[test]
fn privileged_killing_the_command_of_rm_still_removes() {
    let Some(hull) = Hull::with_busybox() else { return };
    let words = ["run", "--rm", "-v", "/made", "--name", "box", "busybox", "sleep", "1"];
    let mut child = hull.command(&words).spawn().unwrap();
    let running = eventually(Duration::from_secs(10), || !hull.ok(&["ps", "-q"]).is_empty());
    assert!(running);
    kill_9(i32::try_from(child.id()).unwrap());
    child.wait().unwrap();
    let gone = eventually(Duration::from_secs(10), || hull.ok(&["ps", "-aq"]).is_empty());
    assert!(gone);
    hull.finish();
}

#[test]
fn privileged_killing_the_command_of_exec_leaves_the_container() {
    let Some(hull) = Hull::with_busybox() else { return };
    hull.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "100"]);
    let mut child = hull.command(&["exec", "box", "sleep", "1"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    kill_9(i32::try_from(child.id()).unwrap());
    child.wait().unwrap();
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");
    hull.ok(&["exec", "box", "true"]);
    hull.finish();
}

#[test]
fn privileged_killing_the_shim_ends_the_container_and_the_record_says_why() {
    let Some(hull) = Hull::with_busybox() else { return };
    let id =
        hull.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", "sleep 100 & sleep 100"]);
    let pid: i32 = hull.inspect("box", "{{.State.Pid}}").parse().unwrap();
    kill_9(hull.shim_pid(&id));
    let state = hull.inspect("box", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}");
    assert_eq!(state, "exited 137 supervisor lost");
    let gone = eventually(Duration::from_secs(5), || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
    assert!(gone, "the container runs on without its shim");
    // It can be started again.
    hull.ok(&["start", "box"]);
    assert_eq!(hull.inspect("box", "{{.State.Running}}"), "true");
    hull.finish();
}

#[test]
fn privileged_killing_the_shim_of_rm_still_removes() {
    let Some(hull) = Hull::with_busybox() else { return };
    let id =
        hull.ok(&["run", "-d", "--rm", "-v", "/made", "--name", "box", "busybox", "sleep", "100"]);
    kill_9(hull.shim_pid(&id));
    let gone = eventually(Duration::from_secs(5), || hull.ok(&["ps", "-aq"]).is_empty());
    assert!(gone);
    hull.assert_nothing_left();
    hull.finish();
}

#[test]
fn privileged_a_waiting_command_hears_of_the_shims_end() {
    let Some(hull) = Hull::with_busybox() else { return };
    let id = hull.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "100"]);
    let waiter = hull.command(&["wait", "box"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    kill_9(hull.shim_pid(&id));
    let output = waiter.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "137\n");
    hull.finish();
}

/// An image small enough to be loaded again for every write.
fn small_image() -> Image {
    let lower = Tar::new()
        .directory("etc/", 0o755)
        .file("etc/passwd", 0o644, b"root:x:0:0::/:/x\n")
        .symlink("link", "etc/passwd")
        .finish();
    let upper = Tar::new().file("etc/.wh.passwd", 0o644, b"").file("new", 0o644, b"new").finish();
    Image::new().layer(lower, Compression::Gzip).layer(upper, Compression::Plain)
}

/// Returns how many changes a load makes.
#[track_caller]
fn load_survives_a_kill_at_every_change(hull: Hull, mode: &str) -> usize {
    let hull = hull.with_env("HULL_LAYER_MODE", mode);
    // The first command creates the store: the kills are to hit the load.
    hull.ok(&["images"]);
    let path = hull.file("image.tar", &small_image().docker_archive(&["small:one", "small:two"]));
    let words = ["load", "-q", "-i", &path];
    let mut kills = 0;
    loop {
        match kill_before_change(&hull.command(&words), &hull.data_root(), kills) {
            End::Exited { code, .. } => {
                assert_eq!(code, 0, "load under trace");
                break;
            }
            End::Killed { call } => {
                let check = hull.run(&["system", "check", "--deep"]);
                assert_eq!(
                    check.code, 0,
                    "{mode}: killed before change {kills} ({call}):\n{}{}",
                    check.stdout, check.stderr
                );
                let again = hull.run(&words);
                assert_eq!(again.code, 0, "{mode}: load after {kills} ({call}): {}", again.stderr);
                hull.ok(&["system", "prune", "-a", "-f"]);
                hull.assert_nothing_left();
            }
        }
        kills += 1;
    }
    assert!(kills > 10, "{mode}: only {kills} changes were seen");
    assert_eq!(hull.ok(&["images", "-q", "small"]).lines().count(), 2);
    hull.finish();
    kills
}

#[test]
fn privileged_load_killed_before_every_change_erofs() {
    let Some(hull) = Hull::new() else { return };
    println!("{} changes", load_survives_a_kill_at_every_change(hull, "erofs"));
}

#[test]
fn privileged_load_killed_before_every_change_unpack() {
    let Some(hull) = Hull::new() else { return };
    println!("{} changes", load_survives_a_kill_at_every_change(hull, "unpack"));
}

/// A hundred kills at moments of chance, of commands that change the store side by side.
#[test]
fn privileged_random_kills_under_load() {
    if !needs::full() {
        return;
    }
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    let path = hull.file("image.tar", &small_image().docker_archive(&["small"]));
    for round in 0..100u64 {
        let commands = [
            &["load", "-q", "-i", &path][..],
            &["run", "--rm", "probe", "/probe", "true"],
            &["system", "prune", "-f"],
        ];
        let mut children: Vec<_> = commands
            .iter()
            .map(|words| {
                hull.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_micros(500 + round * 7919 % 30_000));
        for child in &mut children {
            // It may have ended by itself, which is fine too.
            let _ = child.kill();
            child.wait().unwrap();
        }
        // A kill may leave what the next collection sweeps; never what is broken.
        let swept = hull.run(&["system", "prune", "-f"]);
        assert_eq!(swept.code, 0, "round {round}: {}", swept.stderr);
        let mut said = String::new();
        let sound = eventually(Duration::from_secs(5), || {
            let check = hull.run(&["system", "check"]);
            said = format!("{}{}", check.stdout, check.stderr);
            check.code == 0
        });
        assert!(sound, "round {round}: {said}");
    }
    hull.ok(&["load", "-q", "-i", &path]);
    hull.finish();
}
