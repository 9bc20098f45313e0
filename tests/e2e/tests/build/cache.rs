//! When a step is run again.

use std::fs;
use std::time::SystemTime;

use crate::driver::Builds;
use serde_json::json;

#[test]
fn privileged_keys_are_of_content_and_never_of_time() {
    let Some(builds) = Builds::new() else { return };
    let root = builds.context(
        "key",
        &[
            ("Dockerfile", "FROM busybox\nARG A=1\nRUN echo $A > /a\nCOPY f /f\nRUN cat /f > /g\n"),
            ("f", "1"),
        ],
    );
    let first = builds.again("key");
    fs::File::open(root.join("f")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let touched = builds.again("key");
    assert_eq!(first.id(), touched.id());
    assert!(
        touched.steps.iter().all(|(name, cached)| *cached
            || !name.starts_with('[')
            || name.starts_with("[internal]"))
    );
    fs::write(root.join("f"), "2").unwrap();
    let changed = builds.with("key", json!({"explain": true}));
    assert!(changed.cached("echo") && !changed.cached("COPY f") && !changed.cached("cat /f"));
    assert_eq!(changed.reason("COPY f").unwrap(), "what /f holds changed");
    assert_eq!(changed.reason("cat /f").unwrap(), "the step before changed");
    let argument = builds.with("key", json!({"explain": true, "build_args": {"A": "2"}}));
    assert!(!argument.cached("echo"));
    assert_eq!(argument.reason("echo").unwrap(), "variable A changed");
    // Back to what was built before.
    fs::write(root.join("f"), "1").unwrap();
    assert_eq!(builds.again("key").id(), first.id());
    builds.finish();
}

#[test]
fn privileged_no_cache_for_all_or_for_some_stages() {
    let Some(builds) = Builds::new() else { return };
    let files: &[(&str, &str)] = &[(
        "Dockerfile",
        "FROM busybox AS one\nRUN echo one > /one\nFROM busybox AS two\nRUN echo two > /two\n\
         FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /\n",
    )];
    builds.build("filter", files);
    let filtered = builds.with("filter", json!({"no_cache_filter": ["ONE"]}));
    assert!(!filtered.cached("echo one") && filtered.cached("echo two"));
    assert!(filtered.cached("COPY --from=one"), "the content is the same");
    let none = builds.with("filter", json!({"no_cache": true}));
    assert!(!none.cached("echo one") && !none.cached("echo two"));
    builds.finish();
}

#[test]
fn privileged_a_moved_tag_is_another_base() {
    let Some(builds) = Builds::new() else { return };
    builds.build("base", &[("Dockerfile", "FROM busybox\nRUN echo 1 > /version\n")]);
    builds.build("child", &[("Dockerfile", "FROM base\nRUN cat /version > /seen\n")]);
    builds.build("base", &[("Dockerfile", "FROM busybox\nRUN echo 2 > /version\n")]);
    assert!(!builds.again("child").cached("cat /version"));
    assert_eq!(builds.sh("child", "cat /seen"), "2\n");
    builds.finish();
}

#[test]
fn privileged_cve_2024_24557_a_forged_history_hits_nothing() {
    let Some(builds) = Builds::new() else { return };
    let honest = builds.build("honest", &[("Dockerfile", "FROM busybox\nRUN echo honest > /x\n")]);
    // An image of the same history as the step would have, with other content.
    builds.hull.ok(&["run", "--name", "evil", "busybox", "sh", "-c", "echo evil > /x"]);
    builds.hull.ok(&["commit", "--change", "LABEL a=b", "evil", "evil"]);
    builds.hull.ok(&["rm", "evil"]);
    builds.context("honest", &[("Dockerfile", "FROM busybox\nRUN echo honest > /x\n")]);
    let from = json!({"no_cache": false, "cache_from": [{"type": "registry", "ref": "evil"}]});
    let again = builds.with("honest", from);
    assert_eq!(again.id(), honest.id());
    assert_eq!(builds.sh("honest", "cat /x"), "honest\n");
    builds.finish();
}

#[test]
fn privileged_prune_frees_what_it_says_and_keeps_images() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "pruned",
        &[("Dockerfile", "FROM busybox AS big\nRUN dd if=/dev/urandom of=/big bs=1M count=8 2>/dev/null\nFROM busybox\nCOPY --from=big /etc/passwd /p\n")],
    );
    let bytes = || {
        let output = std::process::Command::new("du")
            .args(["-s", "-B1"])
            .arg(builds.hull.data_root())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let (status, usage) = builds.daemon.ask("GET /system/df", "");
    assert_eq!(status, 200);
    let usage: serde_json::Value = serde_json::from_str(&usage).unwrap();
    let classes = usage["Classes"].as_array().unwrap();
    let cache = classes.iter().find(|class| class["Name"] == "build cache").unwrap();
    assert!(cache["Size"].as_u64().unwrap() > 8 << 20, "{cache}");
    let total: u64 = classes.iter().map(|class| class["Size"].as_u64().unwrap()).sum();
    let before = bytes();
    assert_eq!(total, before);
    assert_eq!(usage["BuildCache"].as_array().unwrap().len(), 2);
    let (status, answer) = builds.daemon.ask("POST /build/prune?all=1", "");
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["SpaceReclaimed"].as_u64().unwrap() > 8 << 20, "{answer}");
    assert_eq!(before - bytes(), answer["SpaceReclaimed"].as_u64().unwrap());
    assert!(builds.sh("pruned", "cat /p").starts_with("root"));
    assert!(!builds.again("pruned").cached("dd if"));
    builds.finish();
}

#[test]
fn privileged_two_builds_at_once_do_the_work_once() {
    let Some(builds) = Builds::new() else { return };
    let root = builds.context(
        "once",
        &[("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/runs; sleep 1; cat /c/runs > /seen\n")],
    );
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (daemon, root) = (&builds.daemon, &root);
                scope.spawn(move || {
                    let request = json!({"context": {"directory": {"path": root}}, "tags": [format!("once{number}")]});
                    daemon.ask("POST /hull/build", &request.to_string())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (status, text) in &answers {
        assert!(*status == 200 && text.contains("\"result\""), "{text}");
    }
    assert_eq!(builds.sh("once0", "cat /seen"), "x\n");
    builds.finish();
}

#[test]
fn privileged_the_same_inputs_and_source_date_epoch_give_the_same_digest() {
    let files: &[(&str, &str)] = &[
        (
            "Dockerfile",
            "FROM busybox AS one\nRUN date > /dev/null; mkdir /d && echo 1 > /d/f && touch -d '2099-01-01' /d/future\n\
             FROM busybox\nCOPY --from=one /d /d\nCOPY f /made/deep/f\nWORKDIR /w\nRUN echo 2 > /g\nLABEL a=b\n",
        ),
        ("f", "F"),
    ];
    let mut digests = Vec::new();
    for _ in 0..2 {
        let Some(builds) = Builds::new() else { return };
        builds.context("same", files);
        let epoch = json!({"build_args": {"SOURCE_DATE_EPOCH": "1000000000"}});
        let first = builds.with("same", epoch.clone());
        let mut again = epoch;
        again["no_cache"] = json!(true);
        let second = builds.with("same", again);
        assert_eq!(first.id(), second.id());
        digests.push(first.ended.unwrap()["digest"].clone());
        assert_eq!(
            builds.sh("same", "stat -c %Y /made /made/deep/f /g /w /d/future"),
            "1000000000\n".repeat(5)
        );
        builds.finish();
    }
    assert_eq!(digests[0], digests[1]);
}
