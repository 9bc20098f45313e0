//! The service with real containers.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod engine;

use engine::{Engine, frames, is_digest, split_frames};
use hull_test_support::archive::Tar;
use hull_test_support::image::{Compression, Image, multi_platform};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn privileged_a_command_runs_to_its_end() {
    let Some(engine) = Engine::new().await else { return };
    let script = "echo out; echo err >&2; echo $FROM_IMAGE $MINE; exit 3";
    let more = json!({"Env": ["MINE=1"], "HostConfig": {"AutoRemove": true}});
    let (code, out, err) = engine.run(&["sh", "-c", script], more).await;
    assert_eq!((code, out.as_str(), err.as_str()), (3, "out\nyes 1\n", "err\n"));
    engine.finish().await;
}

#[tokio::test]
async fn privileged_a_container_lives_its_life() {
    let Some(engine) = Engine::new().await else { return };
    let answer = engine.try_create("web", &["sh", "-c", "echo up; sleep 60"], json!({})).await;
    let id = answer.expect(201).json()["Id"].as_str().unwrap().to_owned();
    let taken = engine.try_create("web", &["true"], json!({})).await.expect(409).json();
    let message = taken["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("\"/web\" is already in use by container \"{id}\"")),
        "{message}"
    );
    assert_eq!(taken["kind"], "already-exists");

    let listed = engine.get("/containers/json?all=1").await.json();
    assert_eq!(listed[0]["State"], "created");
    assert_eq!(listed[0]["Names"], json!(["/web"]));
    assert_eq!(listed[0]["Image"], "box");
    engine.post("/containers/web/start").await.expect(204);
    engine.post("/containers/web/start").await.expect(304);
    let listed = engine.get("/containers/json").await.json();
    assert!(listed[0]["Status"].as_str().unwrap().starts_with("Up "), "{listed}");
    let inspected = engine.get("/containers/web/json").await.json();
    assert_eq!(inspected["Config"]["Hostname"], id[..12]);
    assert_eq!(inspected["HostConfig"]["NetworkMode"], "none");
    assert!(inspected["State"]["Pid"].as_i64().unwrap() > 0);
    assert!(is_digest(inspected["Image"].as_str().unwrap()));
    let refused = engine.ask("DELETE /containers/web", &Value::Null).await.expect(409).json();
    assert!(refused["message"].as_str().unwrap().contains("container is running"));

    // The shell is process 1 and has no handler: only SIGKILL ends it.
    let begun = Instant::now();
    engine.post("/containers/web/stop?t=1").await.expect(204);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    engine.post("/containers/web/stop").await.expect(304);
    let inspected = engine.get("/containers/web/json").await.json();
    assert_eq!(inspected["State"]["ExitCode"], 137);
    let listed = engine.get("/containers/json?all=1").await.json();
    assert!(listed[0]["Status"].as_str().unwrap().starts_with("Exited (137) "), "{listed}");
    let waited = engine.post("/containers/web/wait").await.json();
    assert_eq!(waited["StatusCode"], 137);
    let killed = engine.post("/containers/web/kill").await.expect(409).json();
    assert!(killed["message"].as_str().unwrap().contains("is not running"), "{killed}");
    let logs = engine.get("/containers/web/logs?stdout=1&stderr=1").await;
    assert_eq!(split_frames(&logs.body).0, "up\n");
    engine.ask("DELETE /containers/web", &Value::Null).await.expect(204);
    engine.get("/containers/web/json").await.expect(404);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_commands_that_cannot_run_say_so() {
    let Some(engine) = Engine::new().await else { return };
    for (command, kind) in [("/missing", "command-not-found"), ("/etc", "command-not-executable")] {
        let more = json!({"HostConfig": {"AutoRemove": true}});
        let id = engine.create(&[command], more).await;
        let refused = engine.post(&format!("/containers/{id}/start")).await.expect(400).json();
        assert_eq!(refused["kind"], kind, "{refused}");
        engine.get(&format!("/containers/{id}/json")).await.expect(404);
    }
    engine.finish().await;
}

#[tokio::test]
async fn privileged_input_reaches_the_container() {
    let Some(engine) = Engine::new().await else { return };
    let more = json!({"OpenStdin": true, "StdinOnce": true, "HostConfig": {"AutoRemove": true}});
    let id = engine.create(&["cat"], more).await;
    let attach = format!("POST /containers/{id}/attach?stream=1&stdin=1&stdout=1");
    let mut stream = engine.stream(&attach, &Value::Null).await.ok().unwrap();
    engine.post(&format!("/containers/{id}/start")).await.expect(204);
    stream.write_all(b"hello\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(frames(stream).await.0, "hello\n");
    engine.finish().await;
}

#[tokio::test]
async fn privileged_exec_runs_beside() {
    let Some(engine) = Engine::new().await else { return };
    let id = engine.create(&["sleep", "60"], json!({"Env": ["A=1"]})).await;
    let body = json!({"Cmd": ["id"], "AttachStdout": true});
    let refused = engine.ask(&format!("POST /containers/{id}/exec"), &body).await.expect(409);
    assert!(refused.text().contains("is not running"), "{}", refused.text());
    engine.post(&format!("/containers/{id}/start")).await.expect(204);
    for (command, user, code, expected) in [
        (vec!["sh", "-c", "echo $A $B; exit 4"], "", 4, "1 2\n"),
        (vec!["id", "-u"], "web", 0, "33\n"),
    ] {
        let body = json!({"Cmd": command, "User": user, "Env": ["B=2"], "AttachStdout": true, "AttachStderr": true});
        let made = engine.ask(&format!("POST /containers/{id}/exec"), &body).await.expect(201);
        let exec = made.json()["Id"].as_str().unwrap().to_owned();
        let stream = engine.stream(&format!("POST /exec/{exec}/start"), &json!({})).await;
        assert_eq!(frames(stream.ok().unwrap()).await.0, expected);
        let inspected = engine.get(&format!("/exec/{exec}/json")).await.json();
        assert_eq!((&inspected["Running"], &inspected["ExitCode"]), (&json!(false), &json!(code)));
        let again = engine.stream(&format!("POST /exec/{exec}/start"), &json!({})).await;
        assert_eq!(again.err().unwrap().status, 409);
    }
    // What cannot be run is told in the stream, or refused to who asks for that.
    for refuse in ["", "?refuse=1"] {
        let body = json!({"Cmd": ["nope"]});
        let made = engine.ask(&format!("POST /containers/{id}/exec"), &body).await;
        let exec = made.json()["Id"].as_str().unwrap().to_owned();
        let start = format!("POST /exec/{exec}/start{refuse}");
        match engine.stream(&start, &json!({})).await {
            Ok(stream) => {
                assert!(refuse.is_empty());
                let (told, _) = frames(stream).await;
                assert!(told.starts_with("OCI runtime exec failed: "), "{told}");
            }
            Err(refused) => {
                assert!(!refuse.is_empty());
                assert_eq!(refused.json()["kind"], "command-not-found");
            }
        }
        let inspected = engine.get(&format!("/exec/{exec}/json")).await.json();
        assert_eq!(inspected["ExitCode"], 127);
    }
    engine.ask(&format!("DELETE /containers/{id}?force=1"), &Value::Null).await.expect(204);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_a_terminal_has_a_size() {
    let Some(engine) = Engine::new().await else { return };
    let more = json!({"Tty": true, "OpenStdin": true, "HostConfig": {"ConsoleSize": [11, 22]}});
    let id = engine.create(&["sh"], more).await;
    let attach = format!("POST /containers/{id}/attach?stream=1&stdin=1&stdout=1");
    let mut stream = engine.stream(&attach, &Value::Null).await.ok().unwrap();
    engine.post(&format!("/containers/{id}/start")).await.expect(204);
    engine.post(&format!("/containers/{id}/resize?h=33&w=44")).await.expect(200);
    stream.write_all(b"echo $TERM; busybox stty size; exit 5\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("xterm\r\n") && text.contains("33 44\r\n"), "{text:?}");
    let waited = engine.post(&format!("/containers/{id}/wait")).await.json();
    assert_eq!(waited["StatusCode"], 5);
    engine.ask(&format!("DELETE /containers/{id}"), &Value::Null).await.expect(204);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_mounts_are_what_was_asked_for() {
    let Some(engine) = Engine::new().await else { return };
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("file"), "from the host\n").unwrap();
    std::os::unix::fs::chown(host.path().join("file"), Some(33), Some(33)).unwrap();
    let bind = format!("{}:/bound:ro", host.path().display());
    let more = json!({
        "Volumes": {"/data": {}},
        "HostConfig": {
            "AutoRemove": true,
            "Binds": [bind, "kept:/kept"],
            "Tmpfs": {"/scratch": "size=1m"},
        },
    });
    let script = "cat /bound/file /data/seed; stat -c %u:%a /bound/file /data/seed /data; \
        echo x 2>/dev/null >/bound/new || echo refused; echo x >/scratch/x; echo kept >/kept/file";
    let (code, out, err) = engine.run(&["sh", "-c", script], more).await;
    let expected = "from the host\nseed\n33:644\n0:640\n0:750\nrefused\n";
    assert_eq!((code, out.as_str()), (0, expected), "{err}");
    // The anonymous volume went with the container, the named one did not.
    let volumes = engine.get("/volumes").await.json();
    let names: Vec<_> = volumes["Volumes"].as_array().unwrap().iter().map(|v| &v["Name"]).collect();
    assert_eq!(names, [&json!("kept")]);
    let kept = engine.data().join("volumes/kept/_data/file");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "kept\n");
    let more = json!({"HostConfig": {"Mounts": [
        {"Type": "bind", "Source": "/no/such/path", "Target": "/x"}
    ]}});
    let refused = engine.try_create("", &["true"], more).await.expect(400);
    assert!(refused.text().contains("bind source path does not exist: /no/such/path"));
    engine.ask("DELETE /volumes/kept", &Value::Null).await.expect(204);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_a_volume_in_use_is_kept() {
    let Some(engine) = Engine::new().await else { return };
    let id = engine.create(&["true"], json!({"Volumes": {"/data": {}}})).await;
    let volumes = engine.get("/volumes").await.json();
    let name = volumes["Volumes"][0]["Name"].as_str().unwrap().to_owned();
    let refused = engine.ask(&format!("DELETE /volumes/{name}"), &Value::Null).await.expect(409);
    assert!(refused.text().contains("volume is in use"), "{}", refused.text());
    let pruned = engine.post("/volumes/prune").await.json();
    assert_eq!(pruned["VolumesDeleted"], json!([]));
    engine.ask(&format!("DELETE /containers/{id}?v=1"), &Value::Null).await.expect(204);
    engine.get(&format!("/volumes/{name}")).await.expect(404);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_logs_are_followed_to_the_end() {
    let Some(engine) = Engine::new().await else { return };
    let script = "echo one; echo two >&2; sleep 1; echo three";
    let id = engine.create(&["sh", "-c", script], json!({})).await;
    engine.post(&format!("/containers/{id}/start")).await.expect(204);
    let logs = format!("/containers/{id}/logs");
    let followed = engine.get(&format!("{logs}?stdout=1&stderr=1&follow=1")).await;
    let (out, err) = split_frames(&followed.body);
    assert_eq!((out.as_str(), err.as_str()), ("one\nthree\n", "two\n"));
    let tail = engine.get(&format!("{logs}?stdout=1&tail=1&timestamps=1")).await;
    let tail = split_frames(&tail.body).0;
    let (time, text) = tail.split_once(' ').unwrap();
    assert_eq!(text, "three\n");
    let since = engine.get(&format!("{logs}?stdout=1&stderr=1&since={time}")).await;
    assert_eq!(split_frames(&since.body), ("three\n".to_owned(), String::new()));
    engine.ask(&format!("DELETE /containers/{id}?force=1"), &Value::Null).await.expect(204);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_a_killed_supervisor_is_noticed() {
    let Some(engine) = Engine::new().await else { return };
    let id = engine.create(&["sleep", "60"], json!({})).await;
    engine.post(&format!("/containers/{id}/start")).await.expect(204);
    let state = engine.data().join(format!("containers/{id}/state.json"));
    let state: Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
    let shim = i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap();
    let shim = rustix::process::Pid::from_raw(shim).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let wait = format!("/containers/{id}/wait");
    let waited = engine.post(&wait);
    let waited = tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
    assert_eq!(waited.json()["StatusCode"], 137);
    let inspected = engine.get(&format!("/containers/{id}/json")).await.json();
    assert_eq!(inspected["State"]["Status"], "exited");
    assert_eq!(inspected["State"]["Error"], "supervisor lost");
    engine.ask(&format!("DELETE /containers/{id}"), &Value::Null).await.expect(204);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_filters_and_prune() {
    let Some(engine) = Engine::new().await else { return };
    let more = json!({"Labels": {"tier": "front"}});
    engine.try_create("first", &["sh", "-c", "exit 7"], more).await.expect(201);
    engine.try_create("second", &["sleep", "60"], json!({})).await.expect(201);
    for name in ["first", "second"] {
        engine.post(&format!("/containers/{name}/start")).await.expect(204);
    }
    engine.post("/containers/first/wait").await.expect(200);
    for (filters, expected) in [
        (json!({"label": ["tier=front"]}), vec!["/first"]),
        (json!({"label": ["of=image"]}), vec!["/second", "/first"]),
        (json!({"name": ["^sec"]}), vec!["/second"]),
        (json!({"status": ["exited"]}), vec!["/first"]),
        (json!({"exited": ["7"]}), vec!["/first"]),
        (json!({"exited": ["0"]}), vec![]),
        (json!({"ancestor": ["box:latest"]}), vec!["/second", "/first"]),
        (json!({"before": ["second"]}), vec!["/first"]),
        (json!({"network": ["none"]}), vec!["/second", "/first"]),
    ] {
        let text: String = filters.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
        let listed = engine.get(&format!("/containers/json?all=1&filters={text}")).await.json();
        let names: Vec<_> =
            listed.as_array().unwrap().iter().map(|c| c["Names"][0].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{filters}");
    }
    let pruned = engine.post("/containers/prune").await.json();
    assert_eq!(pruned["ContainersDeleted"].as_array().unwrap().len(), 1);
    engine.get("/containers/first/json").await.expect(404);
    engine.post("/containers/second/kill").await.expect(204);
    engine.ask("DELETE /containers/second", &Value::Null).await.expect(204);
    engine.finish().await;
}

#[tokio::test]
async fn privileged_an_image_of_several_platforms_has_containers() {
    let Some(engine) = Engine::new().await else { return };
    let one = |architecture: &'static str| {
        let tar = Tar::new().file("file", 0o755, architecture.as_bytes()).finish();
        let image = Image::new().architecture(architecture).layer(tar, Compression::Zstd);
        image.set("Cmd", json!(["/file"]))
    };
    let archive = multi_platform("two:latest", &[one("amd64"), one("arm64")]);
    engine.ask_bytes("POST /images/load", &archive).await.expect(200);
    let made = engine.ask("POST /containers/create?name=of-two", &json!({"Image": "two"})).await;
    made.expect(201);
    let listed = engine.get("/containers/json?all=1").await.json();
    assert_eq!(listed[0]["Image"], "two", "{listed}");
    // A text is no program: it has the mode of one, and no interpreter.
    let refused = engine.post("/containers/of-two/start").await.expect(400).json();
    assert_eq!(refused["kind"], "command-not-executable", "{refused}");
    engine.ask("DELETE /containers/of-two", &Value::Null).await.expect(204);
    engine.finish().await;
}
