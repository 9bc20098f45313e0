//! `RUN` and what it runs in.

use crate::driver::Builds;
use serde_json::json;

#[test]
fn privileged_run_forms_shell_user_and_environment() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "forms",
        &[(
            "Dockerfile",
            "FROM busybox\nARG WORD=from-arg\nENV KEPT=env\n\
             RUN echo \"$WORD $KEPT\" > /shell\n\
             RUN [\"sh\", \"-c\", \"echo exec $0 > /exec\"]\n\
             SHELL [\"sh\", \"-e\", \"-c\"]\nRUN false || true; echo own > /own\n\
             USER www-data\nRUN id -u > /tmp/user && id -g >> /tmp/user && echo $HOME >> /tmp/user\n\
             USER 5:staff\nRUN id > /tmp/numeric\n\
             USER root\nWORKDIR /deep/er\nRUN pwd > here\n\
             RUN <<EOF\necho one > /heredoc\necho two >> /heredoc\nEOF\n\
             RUN <<EOF\n#!/bin/cat\nverbatim $KEPT\nEOF\n\
             RUN cat > /from-heredoc <<EOF\nfed ${KEPT}\nEOF\n",
        )],
    );
    let sh = |command: &str| builds.sh("forms", command);
    assert_eq!(sh("cat /shell"), "from-arg env\n");
    assert_eq!(sh("cat /exec"), "exec sh\n");
    assert_eq!(sh("cat /own"), "own\n");
    assert_eq!(sh("cat /tmp/user"), "33\n33\n/var/www\n");
    assert!(sh("cat /tmp/numeric").starts_with("uid=5 gid=50(staff)"));
    assert_eq!(sh("cat /deep/er/here"), "/deep/er\n");
    assert_eq!(sh("cat /heredoc"), "one\ntwo\n");
    assert_eq!(sh("cat /from-heredoc"), "fed env\n");
    assert_eq!(builds.config("forms", "User"), "\"root\"");
    builds.finish();
}

#[test]
fn privileged_the_sandbox_of_a_run_is_a_containers() {
    let Some(builds) = Builds::new() else { return };
    let answer = builds.build(
        "sandbox",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status\n\
             RUN cat /proc/self/uid_map && hostname && env && ls -a /sys\n\
             RUN touch /sys/x 2>&1; mount -t tmpfs x /tmp 2>&1; true\n\
             RUN --network=none cat /proc/net/dev\n",
        )],
    );
    let output = &answer.output;
    assert!(output.contains("NoNewPrivs:\t1"), "{output}");
    assert!(output.contains("Seccomp:\t2"), "{output}");
    assert!(!output.contains("CapBnd:\t000001ffffffffff"), "{output}");
    let map = output.lines().find(|line| line.trim().ends_with("65536")).expect("a map of ids");
    assert!(!map.split_whitespace().nth(1).unwrap().starts_with("0 "), "{map}");
    assert!(output.contains("buildkitsandbox\n"), "{output}");
    assert!(output.contains("touch: /sys/x: Read-only file system"), "{output}");
    assert!(output.contains("mount: "), "{output}");
    let devices = output.split("Inter-|").nth(1).unwrap();
    assert!(devices.contains("lo:") && !devices.contains("eth0"), "{devices}");
    builds.finish();
}

#[test]
fn privileged_cve_2021_3602_nothing_of_the_engines_environment_is_seen() {
    let Some(hull) = hull_test_support::Hull::with_busybox() else { return };
    let hull = hull.with_env("HULL_TEST_SECRET", "must-not-be-seen");
    let daemon = hull_test_support::daemon::Daemon::start(&hull);
    let builds = Builds { daemon, hull };
    let answer =
        builds.build("env", &[("Dockerfile", "FROM busybox\nRUN env; cat /proc/1/environ\n")]);
    assert!(!answer.output.contains("must-not-be-seen"), "{}", answer.output);
    builds.finish();
}

#[test]
fn privileged_nothing_that_was_mounted_on_gets_into_a_layer() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "clean",
        &[(
            "Dockerfile",
            "FROM busybox AS full\nFROM scratch\nCOPY --from=full /bin /bin\n\
             RUN [\"/bin/sh\", \"-c\", \"test -s /etc/hosts && test -e /etc/resolv.conf\"]\n\
             RUN --mount=type=tmpfs,target=/not/there --mount=type=cache,target=/cache/deep \
             [\"/bin/sh\", \"-c\", \"echo x > /not/there/x && test -d /cache/deep\"]\n\
             RUN [\"/bin/sh\", \"-c\", \"ls -a / > /seen; ls -a /etc >> /seen\"]\n",
        )],
    );
    let path = builds.hull.folder().join("tree.tar");
    let id = builds.hull.ok(&["create", "clean", "/bin/sh"]);
    builds.hull.ok(&["export", "-o", path.to_str().unwrap(), id.trim()]);
    builds.hull.ok(&["rm", id.trim()]);
    let listed = std::process::Command::new("tar").arg("tf").arg(&path).output().unwrap();
    let mut listed: Vec<_> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("bin/"))
        .map(str::to_owned)
        .collect();
    listed.sort();
    assert_eq!(listed, ["seen"]);
    builds.finish();
}

#[test]
fn privileged_deleted_replaced_and_linked_files_across_layers() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "layers",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN mkdir -p /d/sub && echo 1 > /d/a && echo 2 > /d/sub/b && ln /d/a /d/hard && ln -s a /d/soft\n\
             RUN rm /d/a && rm -r /d/sub && mkdir /d/sub && echo 3 > /d/sub/c\n\
             RUN rm -rf /d/sub && echo file > /d/sub\n\
             RUN chown 33:50 /d/hard && chmod 4711 /d/hard\n",
        )],
    );
    for _ in 0..2 {
        let sh = |command: &str| builds.sh("layers", command);
        assert_eq!(sh("ls /d"), "hard\nsoft\nsub\n");
        assert_eq!(sh("cat /d/hard /d/sub"), "1\nfile\n");
        assert_eq!(sh("stat -c '%a %u %g' /d/hard; readlink /d/soft"), "4711 33 50\na\n");
        // The same from the cache.
        builds.again("layers");
    }
    builds.finish();
}

#[test]
fn privileged_security_and_network_have_to_be_granted() {
    let Some(builds) = Builds::new() else { return };
    let insecure: &[(&str, &str)] = &[(
        "Dockerfile",
        "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status && mount -t tmpfs x /tmp\n",
    )];
    // CVE-2024-23653: whatever asks for it.
    let failure = builds.fails("insecure", insecure, "security.insecure is not allowed");
    assert_eq!(failure["kind"], "denied");
    builds.fails(
        "host",
        &[("Dockerfile", "FROM busybox\nRUN --network=host true\n")],
        "network.host is not allowed",
    );
    let granted = builds.with("insecure", json!({"allow": ["security.insecure"]}));
    assert!(granted.output.contains("CapEff:\t000001ff"), "{}", granted.output);
    builds.with("host", json!({"allow": ["network.host"]}));
    builds.finish();
}

#[test]
fn privileged_what_a_command_leaves_running_ends_with_it() {
    let Some(builds) = Builds::new() else { return };
    let started = std::time::Instant::now();
    builds.build(
        "left",
        &[("Dockerfile", "FROM busybox\nRUN sleep 1000 & echo > /done\nRUN ps | grep -v grep | grep -c 'sleep 1000' > /left || true\n")],
    );
    assert_eq!(builds.sh("left", "cat /left"), "0\n");
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
    builds.finish();
}
