//! Bad input: one clear message each, and nothing left.

use crate::driver::Builds;
use hull_test_support::image::{Compression, Image};

#[test]
fn privileged_what_is_wrong_with_a_dockerfile() {
    let Some(builds) = Builds::new() else { return };
    let check = |text: &str, message: &str| builds.fails("bad", &[("Dockerfile", text)], message);
    let failure = check("FROM busybox\nRUNN true\n", "unknown instruction: RUNN");
    assert_eq!(failure["lines"], serde_json::json!([2, 2]));
    assert!(failure["hint"].as_str().unwrap().contains("RUN"), "{failure:#}");
    assert!(failure["excerpt"].as_str().unwrap().contains(">>> RUNN true"), "{failure:#}");
    check("FROM a AS b\nFROM b AS a\nCOPY --from=c /x /\nFROM a AS c\n", "circular dependency");
    check("FROM busybox\nCOPY --from=0 /a /\n", "circular dependency");
    check("FROM busybox\nCOPY --from=7 /a /\n", "invalid stage index 7");
    check("FROM busybox\nRUN cat <<EOF\nnever ends\n", "unterminated heredoc");
    check("", "Dockerfile");
    check("FROM localhost:1/nosuchimage:1\n", "nosuchimage:1");
    check("FROM busybox\nCOPY nothing /x\n", "\"nothing\": not found");
    let target = builds.context("target", &[("Dockerfile", "FROM busybox AS known\n")]);
    assert!(target.exists());
    let failure = builds.ask("target", serde_json::json!({"target": "knwon"})).ended.unwrap_err();
    assert!(failure["hint"].as_str().unwrap().contains("known"), "{failure:#}");
    builds.context("none", &[("x", "")]);
    let failure = builds.ask("none", serde_json::json!({})).ended.unwrap_err();
    assert!(failure["message"].as_str().unwrap().contains("cannot find Dockerfile"), "{failure:#}");
    builds.finish();
}

#[test]
fn privileged_a_run_that_fails_is_shown_with_its_line_and_output() {
    let Some(builds) = Builds::new() else { return };
    let failure = builds.fails(
        "fails",
        &[(
            "Dockerfile",
            "FROM busybox\n\nRUN echo before; \\\n  echo oops >&2; exit 42\nRUN echo after\n",
        )],
        "did not complete successfully: exit code: 42",
    );
    assert_eq!(failure["exit_code"], 42);
    assert_eq!(failure["lines"], serde_json::json!([3, 4]));
    assert_eq!(failure["output"], serde_json::json!(["before", "oops"]));
    assert!(failure["step"].as_str().unwrap().contains("RUN echo before"));
    builds.fails("missing", &[("Dockerfile", "FROM busybox\nRUN [\"/no/such\"]\n")], "/no/such");
    builds.fails("user", &[("Dockerfile", "FROM busybox\nUSER ghost\nRUN true\n")], "ghost");
    assert!(!builds.hull.run(&["image", "inspect", "fails"]).stdout.contains("Id"));
    builds.finish();
}

#[test]
fn privileged_a_base_for_another_machine() {
    let Some(builds) = Builds::new() else { return };
    let other = if cfg!(target_arch = "aarch64") { "amd64" } else { "s390x" };
    let image = Image::new()
        .layer(hull_test_support::busybox::base_tar().finish(), Compression::Gzip)
        .architecture(other);
    builds.hull.load(&image, "foreign");
    let failure = builds.fails("arch", &[("Dockerfile", "FROM foreign\nRUN true\n")], "");
    let said = failure.to_string();
    assert!(said.contains(other), "{said}");
    builds.finish();
}

#[test]
fn privileged_a_build_that_nobody_waits_for_ends() {
    let Some(builds) = Builds::new() else { return };
    let root =
        builds.context("left", &[("Dockerfile", "FROM busybox\nRUN echo begun; sleep 1000\n")]);
    let body = serde_json::json!({"context": {"directory": {"path": root}}}).to_string();
    let request = format!(
        "POST /hull/build HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(builds.daemon.socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    // `begun` in base64, at the begin of a line of output.
    while !seen.contains("YmVndW4K") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    drop(stream);
    let work = builds.hull.data_root().join("cache/work");
    let gone = hull_test_support::eventually(std::time::Duration::from_secs(20), || {
        std::fs::read_dir(&work).unwrap().count() == 0
    });
    assert!(gone, "the build goes on");
    builds.finish();
}

/// Docker answers with a status until the first line of its stream, which is that of the first step.
#[test]
fn privileged_the_classic_answer_has_a_status_until_it_begins() {
    let Some(builds) = Builds::new() else { return };
    let post = |dockerfile: &str, query: &str| {
        let tar = hull_test_support::archive::Tar::new();
        let tar = tar.file("Dockerfile", 0o644, dockerfile.as_bytes()).finish();
        let tar = String::from_utf8(tar).unwrap();
        builds.daemon.ask(&format!("POST /build?{query}"), &tar)
    };
    for (dockerfile, query, message) in [
        ("FROM scratch\nFRM x\n", "", "unknown instruction"),
        ("# nothing\n", "", "no instructions"),
        (
            "FROM scratch\nCOPY Dockerfile /\n",
            "target=nope",
            "target stage \\\"nope\\\" could not be found",
        ),
        ("FROM scratch\n", "dockerfile=other", "cannot find other"),
        ("FROM scratch\nFRM x\n", "q=1", "unknown instruction"),
        ("FROM scratch\nCOPY Dockerfile /\n", "platform=a/b/c/d", "a/b/c/d"),
        ("FROM scratch\nCOPY Dockerfile /\n", "t=UPPER", "UPPER"),
    ] {
        let (status, text) = post(dockerfile, query);
        assert_eq!(status, 400, "{dockerfile:?} {query}: {text}");
        let body: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert!(body["message"].is_string() && text.contains(message), "{text}");
    }
    for (dockerfile, query) in [
        ("FROM busybox\nRUN exit 3\n", ""),
        ("FROM busybox\nRUN exit 3\n", "q=1"),
        ("FROM scratch\nCOPY nope /\n", ""),
    ] {
        let (status, text) = post(dockerfile, query);
        assert_eq!(status, 200, "{dockerfile:?} {query}: {text}");
        assert!(text.contains("\"errorDetail\""), "{text}");
        assert_eq!(text.contains("\"code\":3"), dockerfile.contains("exit 3"), "{text}");
    }
    let (status, text) = post("FROM busybox\nCOPY Dockerfile /\n", "t=made");
    assert!(status == 200 && text.contains("Successfully tagged made:latest"), "{text}");
    builds.finish();
}
