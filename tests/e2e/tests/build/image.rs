//! The config and history that a build writes, and where images go.

use crate::driver::Builds;
use serde_json::{Value, json};

#[test]
fn privileged_config_of_every_instruction() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "config",
        &[(
            "Dockerfile",
            "FROM busybox\nLABEL a=1 b=\"two words\"\nLABEL a=2\nENV X=1 Y=$X\nEXPOSE 80 8000-8001/udp\nVOLUME /v\nVOLUME [\"/w\"]\n\
             USER www-data\nWORKDIR /srv\nSTOPSIGNAL SIGQUIT\nHEALTHCHECK --interval=5s --retries=2 CMD test -e /x\n\
             ENTRYPOINT [\"echo\"]\nCMD [\"hi\"]\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nONBUILD RUN echo triggered > /tmp/triggered\nMAINTAINER me\n",
        )],
    );
    let config = |field: &str| builds.config("config", field);
    assert_eq!(config("Labels"), r#"{"a":"2","b":"two words"}"#);
    assert_eq!(config("ExposedPorts"), r#"{"80/tcp":{},"8000/udp":{},"8001/udp":{}}"#);
    assert!(config("Env").contains("\"X=1\",\"Y=\""), "{}", config("Env"));
    assert_eq!(config("WorkingDir"), "\"/srv\"");
    assert_eq!(config("User"), "\"www-data\"");
    assert_eq!(config("StopSignal"), "\"SIGQUIT\"");
    assert!(config("Healthcheck").contains("CMD-SHELL"));
    assert_eq!(config("Entrypoint"), r#"["echo"]"#);
    assert_eq!(config("Cmd"), r#"["hi"]"#);
    assert_eq!(config("OnBuild"), r#"["RUN echo triggered > /tmp/triggered"]"#);
    builds.build("child", &[("Dockerfile", "FROM config\nUSER 0\nENTRYPOINT []\nCMD []\n")]);
    assert_eq!(builds.sh("child", "cat /tmp/triggered"), "triggered\n");
    assert_eq!(builds.config("child", "OnBuild"), "null");
    let history =
        builds.hull.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "config"]);
    let lines: Vec<_> = history.lines().collect();
    assert_eq!(lines[0], "MAINTAINER me", "{history}");
    assert!(history.contains("LABEL a=1 b=two words"), "{history}");
    builds.finish();
}

#[test]
fn privileged_entrypoint_resets_an_inherited_command_only() {
    let Some(builds) = Builds::new() else { return };
    builds.build("base", &[("Dockerfile", "FROM busybox\nCMD [\"inherited\"]\n")]);
    builds.build("reset", &[("Dockerfile", "FROM base\nENTRYPOINT [\"/bin/echo\"]\n")]);
    assert_eq!(builds.config("reset", "Cmd"), "null");
    builds
        .build("kept", &[("Dockerfile", "FROM base\nCMD [\"own\"]\nENTRYPOINT [\"/bin/echo\"]\n")]);
    assert_eq!(builds.config("kept", "Cmd"), r#"["own"]"#);
    builds.finish();
}

#[test]
fn privileged_history_counts_layers_and_names_arguments() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "history",
        &[("Dockerfile", "FROM busybox\nARG A=x\nARG B=1\nRUN echo $B\nENV E=1\nCOPY f /f\nWORKDIR /w\nCMD [\"x\"]\n"), ("f", "")],
    );
    let text =
        builds.hull.ok(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", "history"]);
    let layers: Vec<String> = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(layers.len(), 1 + 3);
    let history =
        builds.hull.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "history"]);
    assert!(history.contains("RUN |2 A=x B=1 /bin/sh -c echo $B # buildkit"), "{history}");
    assert!(history.contains("COPY f /f # buildkit"), "{history}");
    assert!(history.contains("WORKDIR /w\n"), "{history}");
    builds.finish();
}

#[test]
fn privileged_several_names_targets_and_labels() {
    let Some(builds) = Builds::new() else { return };
    builds.context(
        "names",
        &[(
            "Dockerfile",
            "FROM busybox AS first\nRUN echo 1 > /1\nFROM first AS second\nRUN exit 1\n",
        )],
    );
    let answer = builds.with(
        "names",
        json!({"target": "first", "tags": ["a:1", "b", "localhost:5000/c/d:e"], "labels": {"own": "label"}}),
    );
    assert_eq!(
        answer.ended.as_ref().unwrap()["names"],
        json!(["a:1", "b:latest", "localhost:5000/c/d:e"])
    );
    for name in ["a:1", "b", "localhost:5000/c/d:e"] {
        assert_eq!(builds.config(name, "Labels"), r#"{"own":"label"}"#);
    }
    let bad = builds.ask("names", json!({"tags": ["UPPER"], "target": "first"}));
    assert!(bad.ended.unwrap_err()["message"].as_str().unwrap().contains("UPPER"));
    builds.finish();
}

#[test]
fn privileged_outputs_to_a_directory_a_tar_and_an_archive() {
    let Some(builds) = Builds::new() else { return };
    builds.context("out", &[("Dockerfile", "FROM busybox AS b\nRUN mkdir /o && echo x > /o/f && chmod 640 /o/f && ln -s f /o/l\nFROM scratch\nCOPY --from=b /o /\n")]);
    let to = |kind: &str, name: &str| {
        let dest = builds.hull.folder().join(name);
        let mut attributes = json!({"dest": dest});
        if kind == "oci" {
            attributes["name"] = "saved:1".into();
        }
        let output = json!([{"kind": kind, "attributes": attributes}]);
        builds.with("out", json!({"outputs": output, "tags": []}));
        dest
    };
    let directory = to("local", "exported");
    assert_eq!(std::fs::read_to_string(directory.join("l")).unwrap(), "x\n");
    let tar = to("tar", "exported.tar");
    let listed = std::process::Command::new("tar").arg("tf").arg(tar).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "f\nl\n");
    let archive = to("oci", "image.tar");
    let loaded = builds.hull.ok(&["load", "-i", archive.to_str().unwrap()]);
    assert!(loaded.contains("saved:1"), "{loaded}");
    builds.finish();
}

#[test]
fn privileged_other_platforms_without_run() {
    let Some(builds) = Builds::new() else { return };
    builds.context(
        "multi",
        &[
            (
                "Dockerfile",
                "FROM scratch\nARG TARGETARCH\nCOPY f /f\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\n",
            ),
            ("f", ""),
        ],
    );
    let answer = builds.with("multi", json!({"platforms": ["linux/amd64", "linux/arm64"]}));
    let digest = answer.ended.unwrap()["digest"].as_str().unwrap().to_owned();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let index =
        std::fs::read_to_string(builds.hull.data_root().join("blobs/sha256").join(hex)).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let architectures: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["platform"]["architecture"].clone())
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    builds.context("foreign", &[("Dockerfile", "FROM scratch\nRUN x\n")]);
    let failure = builds.ask("foreign", json!({"platforms": ["linux/riscv64"]})).ended.unwrap_err();
    assert!(
        failure["message"].as_str().unwrap().contains("runs no programs for linux/riscv64"),
        "{failure}"
    );
    builds.finish();
}

#[test]
fn privileged_the_docker_client_builds_by_the_classic_endpoint() {
    let Some(builds) = Builds::new() else { return };
    let Some(docker) = hull_test_support::needs::program("docker") else { return builds.finish() };
    let root = builds.context(
        "classic",
        &[
            ("Dockerfile", "FROM busybox\nARG A\nRUN echo says $A > /a && cat /a\nCOPY f /f\n"),
            ("f", "F"),
            ("no", ""),
            (".dockerignore", "no\n"),
        ],
    );
    let build = |more: &[&str]| {
        let mut command = std::process::Command::new(&docker);
        command.args(["build", "-t", "by-docker", "--build-arg", "A=hello"]).args(more).arg(&root);
        command
            .env_clear()
            .env("HOME", builds.hull.folder())
            .env("DOCKER_HOST", builds.daemon.host());
        command.env("DOCKER_BUILDKIT", "0").output().unwrap()
    };
    let output = build(&[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for part in [
        "Step 2/3 : RUN echo says",
        "says hello\n",
        "Successfully built",
        "Successfully tagged by-docker:latest",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(String::from_utf8_lossy(&build(&[]).stdout).contains("Using cache"));
    let quiet = String::from_utf8_lossy(&build(&["-q"]).stdout).into_owned();
    assert!(quiet.starts_with("sha256:") && quiet.lines().count() == 1, "{quiet}");
    let failed = build(&["--build-arg", "A=x; exit 7"]);
    assert!(failed.status.success());
    builds.finish();
}

#[test]
fn privileged_what_is_built_is_pushed_and_bases_are_pulled() {
    let Some(registry) = hull_test_support::registry::DebianRegistry::start() else { return };
    let name = format!("{}/team/base:1", registry.address());
    let Some(first) = Builds::new() else { return };
    first.context("pushed", &[("Dockerfile", "FROM busybox\nRUN echo pushed > /p\n")]);
    let output = json!([{"kind": "registry", "attributes": {}}]);
    first.with("pushed", json!({"tags": [name], "outputs": output}));
    first.finish();
    let Some(second) = Builds::new() else { return };
    let text = format!("FROM {name}\nRUN cat /p > /q\nCOPY --from={name} /p /copied\n");
    second.build("pulled", &[("Dockerfile", &text)]);
    assert_eq!(second.sh("pulled", "cat /q /copied"), "pushed\npushed\n");
    second.finish();
}
