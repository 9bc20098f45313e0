//! The command as a program: standard output, standard error and exit code against an engine
//! that answers by a script.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod build;
mod engine;
mod registry;
mod screen;

use engine::{Answer, Engine};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const CONTAINERS: &str = r#"[{"Id":"13a9a413db9ac37e4ca0f2e347dfaa5bd3118833ff9a7b51e78f1aa0ce6a312c",
    "Names":["/web"],"Image":"busybox","ImageID":"sha256:9f775c5d3a028ff4","Command":"sleep 1000",
    "Created":1795475100,"Ports":[],"Labels":{},"State":"running","Status":"Up 2 seconds",
    "NetworkSettings":{"Networks":{"none":{}}},"Mounts":[]}]"#;

const ID: &str = "ec43b72ae4134c5f201deed5663f119027d92d9ab5e2113c07cbcf6d2bd10c86";

fn hull() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hull"));
    command.env_clear().env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs `words` against `engine`.
fn run(engine: &Engine, words: &[&str]) -> Output {
    hull().arg("--host").arg(engine.address()).args(words).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str(), text(&output.stderr).as_str()),
        (Some(code), stdout, stderr)
    );
}

#[test]
fn listings_go_to_stdout() {
    let engine = Engine::new(vec![("GET", "/containers/json", Answer::json(200, CONTAINERS))]);
    check(&run(&engine, &["ps", "-q"]), 0, "13a9a413db9a\n", "");
    check(
        &run(&engine, &["container", "ls", "--format", "table {{.ID}}\\t{{.Names}}"]),
        0,
        "CONTAINER ID   NAMES\n13a9a413db9a   web\n",
        "",
    );
    check(
        &run(&engine, &["ps", "--format", "{{.CreatedAt}} {{upper .State}} {{len .Names}}"]),
        0,
        "2026-11-23 23:05:00 +0000 UTC RUNNING 3\n",
        "",
    );
    check(
        &run(&engine, &["ps", "-a", "--filter", "name=web", "-f", "label=a=b", "-n", "2", "-q"]),
        0,
        "13a9a413db9a\n",
        "",
    );
    assert_eq!(
        engine.requests().pop().unwrap().target,
        "/v1.51/containers/json?all=1&limit=2&filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%2C\
         %22name%22%3A%7B%22web%22%3Atrue%7D%7D"
    );
}

#[test]
fn templates_that_fail_say_what_go_says() {
    let engine = Engine::new(vec![("GET", "/containers/json", Answer::json(200, CONTAINERS))]);
    check(
        &run(&engine, &["ps", "--format", "{{.Foo}}"]),
        1,
        "",
        "hull: template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate \
         field Foo in type *formatter.ContainerContext\n",
    );
    check(
        &run(&engine, &["ps", "--format", "{{.ID"]),
        1,
        "",
        "hull: template parsing error: template: :1: unclosed action\n",
    );
}

#[test]
fn refusals_have_the_engines_words_and_hint() {
    let refused = r#"{"message":"No such image: nosuch:1","hint":"load one","kind":"not-found"}"#;
    let engine = Engine::new(vec![
        ("POST", "/containers/create", Answer::json(404, refused)),
        ("DELETE", "/containers/", Answer::json(404, r#"{"message":"No such container: x"}"#)),
    ]);
    check(
        &run(&engine, &["run", "--rm", "--pull", "never", "nosuch:1"]),
        125,
        "",
        "hull: No such image: nosuch:1\nhint: load one\n",
    );
    check(
        &run(&engine, &["rm", "x", "y"]),
        1,
        "",
        "hull: No such container: x\nhull: No such container: x\n",
    );
}

#[test]
fn wrong_command_lines_end_with_dockers_codes() {
    let engine = Engine::new(vec![]);
    let usage = "\n\nUsage:  hull run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'hull run --help' for more information\n";
    check(
        &run(&engine, &["run"]),
        1,
        "",
        &format!("hull: 'hull run' requires at least 1 argument{usage}"),
    );
    check(
        &run(&engine, &["run", "--nope"]),
        125,
        "",
        &format!("hull: unknown flag: --nope{usage}"),
    );
    check(
        &run(&engine, &["nosuch"]),
        1,
        "",
        "hull: unknown command: hull nosuch\n\nRun 'hull --help' for more information\n",
    );
    for words in
        [&["run", "-m", "x", "i"][..], &["run", "-it", "i"], &["run", "-d", "-a", "stdin", "i"]]
    {
        assert_eq!(run(&engine, words).status.code(), Some(125), "{words:?}");
    }
    assert!(engine.requests().is_empty());
}

#[test]
fn help_and_version_need_no_engine() {
    let output = hull().args(["--host", "unix:///nonexistent", "rm", "--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(
            "Usage:  hull rm [OPTIONS] CONTAINER [CONTAINER...]\n\nRemove one or more containers\n"
        ),
        "{text}"
    );
    assert!(text.contains("\n  -f, --force "), "{text}");
    let output = hull().arg("--version").output().unwrap();
    assert!(output.stdout.starts_with(b"Hull version "));
}

#[test]
fn an_engine_that_is_not_there_is_told_with_advice() {
    let output = hull().args(["-H", "unix:///nonexistent.sock", "ps"]).output().unwrap();
    check(
        &output,
        1,
        "",
        "hull: cannot connect to the engine at unix:///nonexistent.sock: No such file or directory (os error 2)\n\
         hint: is its daemon running? hull daemon serves the engine on a socket\n",
    );
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let many = format!("[{}]", vec![CONTAINERS.trim_matches(['[', ']']); 2000].join(","));
    let engine = Engine::new(vec![("GET", "/containers/json", Answer::json(200, &many))]);
    let mut child = hull()
        .arg("--host")
        .arg(engine.address())
        .args(["ps", "-q", "--no-trunc"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn logs_keep_the_streams_apart() {
    let engine = Engine::new(vec![(
        "GET",
        "/containers/web/logs",
        Answer::frames(&[(1, "out\n"), (2, "err\n")]),
    )]);
    check(&run(&engine, &["logs", "--tail", "5", "web"]), 0, "out\n", "err\n");
    assert_eq!(
        engine.requests().pop().unwrap().target,
        "/v1.51/containers/web/logs?stdout=1&stderr=1&tail=5"
    );
}

#[test]
fn inspection_is_indented_and_takes_templates() {
    let json = r#"{"Id":"1","State":{"Running":true,"Pid":7},"Config":{"Labels":null,"Env":[]}}"#;
    let engine = Engine::new(vec![("GET", "/containers/web/json", Answer::json(200, json))]);
    check(
        &run(&engine, &["inspect", "-f", "{{.State}} {{.Config.Labels}}", "web"]),
        0,
        "{true 7} map[]\n",
        "",
    );
    check(
        &run(&engine, &["inspect", "web"]),
        0,
        "[\n    {\n        \"Id\": \"1\",\n        \"State\": {\n            \"Running\": true,\n            \"Pid\": 7\n        },\n        \"Config\": {\n            \"Labels\": null,\n            \"Env\": []\n        }\n    }\n]\n",
        "",
    );
    check(&run(&engine, &["inspect", "nosuch"]), 1, "[]\n", "hull: No such object: nosuch\n");
    check(
        &run(&engine, &["inspect", "-f", "{{", "web"]),
        64,
        "",
        "hull: template parsing error: template: :1: unclosed action\n",
    );
}

fn container(code: i64, frames: &[(u8, &str)], start: Answer) -> Engine {
    Engine::new(vec![
        (
            "POST",
            "/containers/create",
            Answer::json(201, &format!(r#"{{"Id":"{ID}","Warnings":null}}"#)),
        ),
        ("POST", "/attach", Answer::upgrade(frames)),
        ("POST", "/wait", Answer::json(200, &format!(r#"{{"StatusCode":{code}}}"#))),
        ("POST", "/start", start),
    ])
}

#[test]
fn an_attached_run_ends_with_the_containers_code() {
    let engine = container(7, &[(1, "out\n"), (2, "err\n")], Answer::empty(204));
    check(
        &run(&engine, &["run", "--rm", "-e", "A=b", "busybox", "sh", "-c", "exit 7"]),
        7,
        "out\n",
        "err\n",
    );
    let requests = engine.requests();
    let body: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body["Image"], "busybox");
    assert_eq!(body["Cmd"], serde_json::json!(["sh", "-c", "exit 7"]));
    assert_eq!(body["Env"], serde_json::json!(["A=b"]));
    assert_eq!((&body["AttachStdin"], &body["AttachStdout"]), (&false.into(), &true.into()));
    assert_eq!(body["HostConfig"]["AutoRemove"], true);
    // Nothing the container says or does may be missed.
    let order: Vec<&str> = requests
        .iter()
        .map(|request| request.target.split('?').next().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(order, ["create", "attach", "wait", "start"]);
    assert!(requests[2].target.ends_with("condition=removed"));
}

#[test]
fn input_reaches_the_container_and_ends() {
    let engine = container(0, &[], Answer::empty(204));
    let mut child = hull()
        .arg("--host")
        .arg(engine.address())
        .args(["run", "-i", "busybox", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"typed").unwrap();
    let output = child.wait_with_output().unwrap();
    // The scripted engine sends back what it gets until the end of the input.
    check(&output, 0, "typed", "");
}

#[test]
fn a_start_that_fails_has_its_own_code() {
    for (kind, code) in
        [("command-not-found", 127), ("command-not-executable", 126), ("invalid", 125)]
    {
        let refused = format!(r#"{{"message":"it does not start","kind":"{kind}"}}"#);
        let engine = container(0, &[], Answer::json(400, &refused));
        check(&run(&engine, &["run", "busybox", "x"]), code, "", "hull: it does not start\n");
    }
}

#[test]
fn a_detached_run_prints_the_id() {
    let engine = container(0, &[], Answer::empty(204));
    check(&run(&engine, &["run", "-d", "busybox"]), 0, &format!("{ID}\n"), "");
    assert_eq!(engine.requests().len(), 2);
}

#[test]
fn archives_and_directories_are_sent_as_they_are() {
    let engine = Engine::new(vec![(
        "POST",
        "/images/load",
        Answer::json(200, "{\"stream\":\"Loaded image: busybox:latest\\n\"}\n"),
    )]);
    let folder = engine.folder().join("layout");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("oci-layout"), b"{}").unwrap();
    let path = folder.to_str().unwrap();
    check(&run(&engine, &["load", "-i", path]), 0, "Loaded image: busybox:latest\n", "");
    let sent = engine.requests().pop().unwrap().body;
    assert_eq!((sent.len(), &sent[..10]), (4 * 512, &b"oci-layout"[..]));
    let file = folder.join("file.tar.gz");
    std::fs::write(&file, b"compressed, whatever it is").unwrap();
    check(
        &run(&engine, &["load", "--input", file.to_str().unwrap()]),
        0,
        "Loaded image: busybox:latest\n",
        "",
    );
    assert_eq!(engine.requests().pop().unwrap().body, b"compressed, whatever it is");
    let output = run(&engine, &["load", "-i", "/nonexistent"]);
    check(
        &output,
        1,
        "",
        "hull: cannot read /nonexistent: No such file or directory (os error 2)\n",
    );
}

#[test]
fn a_failed_load_shows_its_reason_and_hint() {
    let engine = Engine::new(vec![(
        "POST",
        "/images/load",
        Answer::json(
            200,
            r#"{"error":"bad","errorDetail":{"message":"the archive is cut off","hint":"send all of it"}}"#,
        ),
    )]);
    check(&run(&engine, &["load"]), 1, "", "hull: the archive is cut off\nhint: send all of it\n");
}

#[test]
fn questions_take_no_for_an_answer() {
    let engine = Engine::new(vec![(
        "POST",
        "/containers/prune",
        Answer::json(200, r#"{"ContainersDeleted":["a","b"],"SpaceReclaimed":1500}"#),
    )]);
    check(
        &run(&engine, &["container", "prune"]),
        0,
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ",
        "",
    );
    assert!(engine.requests().is_empty());
    check(
        &run(&engine, &["container", "prune", "-f"]),
        0,
        "Deleted Containers:\na\nb\n\nTotal reclaimed space: 1.5kB\n",
        "",
    );
}
