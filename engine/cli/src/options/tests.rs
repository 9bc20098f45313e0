use clap::Command;

use super::*;

fn body(words: &[&str]) -> Result<ContainerCreateBody> {
    let command = with_container_options(Command::new("create"));
    create_body(&command.try_get_matches_from([&["create"], words].concat())?)
}

#[test]
fn words_after_the_image_are_the_containers_own() {
    let body = body(&[
        "-i",
        "--rm",
        "alpine",
        "sh",
        "-c",
        "echo -e --rm=false",
        "--name",
        "x",
        "--",
        "-t",
    ])
    .unwrap();
    assert_eq!(body.config.image, "alpine");
    let expected = ["sh", "-c", "echo -e --rm=false", "--name", "x", "--", "-t"];
    assert_eq!(body.config.cmd.unwrap(), expected);
    assert!(body.config.open_stdin && body.host_config.auto_remove && !body.config.tty);
}

#[test]
fn short_switches_combine() {
    for words in [
        &["-it", "alpine"][..],
        &["-ti", "alpine"],
        &["-i", "-t", "alpine"],
        &["--interactive=true", "--tty", "alpine"],
    ] {
        let config = body(words).unwrap().config;
        assert!(config.tty && config.open_stdin, "{words:?}");
        assert_eq!(config.image, "alpine", "{words:?}");
    }
    assert!(!body(&["--rm=false", "alpine"]).unwrap().host_config.auto_remove);
}

#[test]
fn values() {
    let body = body(&[
        "--name",
        "n",
        "-e",
        "A=1",
        "--env=B=two words",
        "-w",
        "/x",
        "-u",
        "1:2",
        "-m",
        "64m",
        "--memory-swap",
        "-1",
        "--cpus",
        "1.5",
        "--pids-limit",
        "-1",
        "--ulimit",
        "nofile=10:20",
        "--label",
        "a=b",
        "--label",
        "c",
        "--entrypoint",
        "",
        "--add-host",
        "db:10.0.0.1",
        "--tmpfs",
        "/t:size=1m",
        "-v",
        "/data",
        "-v",
        "name:/b:ro",
        "--stop-timeout",
        "3",
        "--cap-add",
        "NET_ADMIN",
        "--security-opt",
        "no-new-privileges=false",
        "alpine",
    ])
    .unwrap();
    assert_eq!(body.config.env, ["A=1", "B=two words"]);
    assert_eq!((body.config.working_dir.as_str(), body.config.user.as_str()), ("/x", "1:2"));
    assert_eq!((body.host_config.memory, body.host_config.memory_swap), (64 << 20, -1));
    assert_eq!(
        (body.host_config.nano_cpus, body.host_config.pids_limit),
        (1_500_000_000, Some(-1))
    );
    let limit = &body.host_config.ulimits[0];
    assert_eq!((limit.name.as_str(), limit.soft, limit.hard), ("nofile", 10, 20));
    assert_eq!(body.config.labels["a"], "b");
    assert_eq!(body.config.labels["c"], "");
    assert_eq!(body.config.entrypoint.unwrap(), [""]);
    assert_eq!(body.host_config.extra_hosts, ["db:10.0.0.1"]);
    assert_eq!(body.host_config.tmpfs["/t"], "size=1m");
    assert!(body.config.volumes.contains_key("/data"));
    assert_eq!(body.host_config.binds, ["name:/b:ro"]);
    assert_eq!(body.config.stop_timeout, Some(3));
}

#[test]
fn mounts() {
    let mounts =
        |text: &str| body(&["--mount", text, "alpine"]).map(|body| body.host_config.mounts);
    let bind = mounts("type=bind,source=/a,target=/b,readonly").unwrap().remove(0);
    assert_eq!(
        (bind.kind.as_str(), bind.source.as_str(), bind.target.as_str(), bind.read_only),
        ("bind", "/a", "/b", true)
    );
    let tmpfs = mounts("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap().remove(0);
    let options = tmpfs.tmpfs_options.unwrap();
    assert_eq!((options.size_bytes, options.mode), (1 << 20, 0o1770));
    let quoted = mounts("type=bind,\"source=/a,b\",target=/b").unwrap().remove(0);
    assert_eq!(quoted.source, "/a,b");
    for bad in [
        "type=bind,source=/a",
        "type=tmpfs,target=/t,volume-nocopy",
        "target=/a,colour=red",
        "target",
        "type=tmpfs,target=/t,tmpfs-mode=9",
    ] {
        assert!(mounts(bad).is_err(), "{bad}");
    }
}

#[test]
fn refused() {
    for words in [
        &["--memory", "many", "alpine"][..],
        &["--ulimit", "nofile=2:1", "alpine"],
        &["-e", "=x", "alpine"],
        &["--add-host", "db", "alpine"],
        &["-a", "stdfoo", "alpine"],
        &["--nonsense", "alpine"],
        &[],
    ] {
        assert!(body(words).is_err(), "{words:?}");
    }
}
