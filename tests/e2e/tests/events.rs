//! What happened, told to everybody, whoever did it.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use hull_test_support::daemon::Daemon;
use hull_test_support::{Hull, kill_9};

/// Somebody who follows.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Lines up to the one that is `last`.
    fn until(&mut self, last: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|line| line != last) {
            seen.push(self.lines.next().expect("it still follows").unwrap());
        }
        seen
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // One that has ended is no loss.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn privileged_events_are_told_across_processes() {
    let Some(hull) = Hull::with_probe() else { return };
    let daemon = Daemon::start(&hull);
    let host = daemon.host();
    let format = ["--since", "1h", "--format", "{{.Type}} {{.Action}}"];
    let mut alone = Follower::start(hull.command(&[&["events"], &format[..]].concat()));
    let mut served =
        Follower::start(hull.command(&[&["--host", &host, "events"], &format[..]].concat()));
    // What is past is told first; from then on they follow.
    alone.until("image load");
    served.until("image load");
    hull.ok(&["run", "--rm", "--name", "one", "probe", "/probe", "true"]);
    let life =
        ["create", "attach", "start", "die", "destroy"].map(|one| format!("container {one}"));
    assert_eq!(alone.until("container destroy"), life);
    assert_eq!(served.until("container destroy"), life);
    hull.ok(&["--host", &host, "run", "-d", "--name", "two", "probe", "/probe", "sleep"]);
    hull.ok(&["--host", &host, "exec", "two", "/probe", "true"]);
    hull.ok(&["pause", "two"]);
    hull.ok(&["unpause", "two"]);
    hull.ok(&["rename", "two", "three"]);
    hull.ok(&["--host", &host, "restart", "-t", "0", "three"]);
    hull.ok(&["stop", "-t", "0", "three"]);
    hull.ok(&["--host", &host, "rm", "three"]);
    let expected = [
        "create",
        "start",
        "exec_create: /probe true",
        "exec_start: /probe true",
        "exec_die",
        "pause",
        "unpause",
        "rename",
        "kill",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "kill",
        "kill",
        "die",
        "stop",
        "destroy",
    ]
    .map(|one| format!("container {one}"));
    assert_eq!(alone.until("container destroy"), expected);
    assert_eq!(served.until("container destroy"), expected);
    drop((alone, served));
    assert_eq!(daemon.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_events_of_the_past_are_chosen_by_time_and_filter() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "--name", "red", "-l", "color=red", "probe", "/probe", "true"]);
    assert_eq!(hull.run(&["run", "--name", "blue", "probe", "/probe", "exit", "3"]).code, 3);
    hull.ok(&["volume", "create", "data"]);
    hull.ok(&["volume", "rm", "data"]);
    let told = |more: &[&str]| {
        let arguments = [&["events", "--since", "1h", "--until", "0s"], more].concat();
        hull.ok(&arguments).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let of_red = told(&["--filter", "label=color=red", "--format", "{{.Action}}"]);
    assert_eq!(of_red, ["create", "attach", "start", "die"]);
    let dead = told(&["--filter", "container=blue", "--filter", "event=die"]);
    let id = hull.inspect("blue", "{{.Id}}");
    assert_eq!(dead.len(), 1, "{dead:?}");
    let line = format!(" container die {id} (execDuration=0, exitCode=3, image=probe, name=blue)");
    assert!(dead[0].ends_with(&line), "{dead:?}");
    let volumes = told(&["--filter", "type=volume", "--format", "{{.Action}} {{.Actor.ID}}"]);
    assert_eq!(volumes, ["create data", "destroy data"]);
    assert!(told(&["--until", "30m"]).is_empty(), "nothing is that old");
    hull.fails(&["events", "--filter", "x=y"], 1, "invalid filter 'x'");
    hull.fails(&["events", "--since", "yesterday"], 1, "yesterday");
    hull.finish();
}

#[test]
fn privileged_volumes_are_mounted_and_unmounted_with_each_run() {
    let Some(hull) = Hull::with_probe() else { return };
    let mounts = ["-v", "data:/data:ro", "-v", "/anonymous", "-v", "/tmp:/bind"];
    let words = ["run", "--name", "box", "--restart", "on-failure:1"];
    let run = [&words[..], &mounts, &["probe", "/probe", "exit", "1"]].concat();
    assert_eq!(hull.run(&run).code, 1);
    hull.becomes("box", "{{.State.Status}} {{.RestartCount}}", "exited 1");
    let id = hull.inspect("box", "{{.Id}}");
    let told = hull.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "volume=data",
        "--format",
        "{{.Action}} {{json .Actor.Attributes}}",
    ]);
    let mount = format!(
        "mount {{\"container\":\"{id}\",\"destination\":\"/data\",\"driver\":\"local\",\
         \"propagation\":\"\",\"read/write\":\"false\"}}"
    );
    let unmount = format!("unmount {{\"container\":\"{id}\",\"driver\":\"local\"}}");
    let create = "create {\"driver\":\"local\"}".to_owned();
    let expected = [&create, &mount, &unmount, &mount, &unmount];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    let order = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}}"];
    let order = hull.ok(&order);
    let run = "volume mount\nvolume mount\ncontainer start\nvolume unmount\nvolume unmount\n\
               container die";
    assert!(order.ends_with(&format!("{run}\n{run}")), "{order}");
    hull.ok(&["rm", "-v", "box"]);
    hull.ok(&["volume", "rm", "data"]);
    hull.finish();
}

#[test]
fn privileged_a_lost_supervisor_is_told_too() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    kill_9(hull.shim_pid(&hull.inspect("box", "{{.Id}}")));
    hull.ok(&["ps", "-a"]);
    let told = hull.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=die",
        "--format",
        "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}",
    ]);
    assert_eq!(told, "box 137");
    hull.finish();
}

#[test]
fn privileged_images_that_are_made_are_told_of() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.ok(&["run", "--name", "box", "probe", "/probe", "true"]);
    let id = hull.ok(&["commit", "-m", "why", "box", "made"]);
    let told = |filter: &str, template: &str| {
        let words = ["events", "--since", "1h", "--until", "0s", "--filter", filter];
        hull.ok(&[&words[..], &["--format", template]].concat())
    };
    let images = told("type=image", "{{.Action}} {{.Actor.Attributes.name}}");
    assert!(images.ends_with(&format!("create {id}\ntag made:latest")), "{images}");
    let named = told("event=commit", "{{.Actor.Attributes.imageRef}}");
    assert_eq!(named, "made:latest");
    hull.finish();
}
