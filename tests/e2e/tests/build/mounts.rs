//! `RUN --mount`.

use crate::driver::Builds;
use serde_json::json;

#[test]
fn privileged_bind_mounts_are_content_and_writes_are_discarded() {
    let Some(builds) = Builds::new() else { return };
    let files: &[(&str, &str)] = &[
        (
            "Dockerfile",
            "FROM busybox AS made\nRUN mkdir /o && echo made > /o/f && chown 33:50 /o/f\nFROM busybox\n\
             RUN --mount=target=/ctx ls -A /ctx > /listed && ! touch /ctx/x\n\
             RUN --mount=target=/ctx,rw cat /ctx/d/f > /read && echo > /ctx/d/new && rm /ctx/d/f\n\
             RUN --mount=source=d/f,target=/one/file cat /one/file > /single\n\
             RUN --mount=from=made,source=/o,target=/m stat -c '%u %g' /m/f > /owner && cat /m/f >> /owner\n\
             RUN --mount=from=busybox,source=/etc/passwd,target=/p head -n1 /p > /image\n",
        ),
        ("d/f", "content"),
        ("hidden", "no"),
        (".dockerignore", "hidden\n"),
    ];
    builds.build("bind", files);
    let sh = |command: &str| builds.sh("bind", command);
    assert_eq!(sh("cat /listed"), ".dockerignore\nDockerfile\nd\n");
    assert_eq!(sh("cat /read /single /owner"), "contentcontent33 50\nmade\n");
    assert!(sh("cat /image").starts_with("root:"));
    assert_eq!(sh("ls -d /ctx /m /one /p 2>/dev/null; true"), "");
    assert!(builds.hull.folder().join("bind/d/f").exists(), "the context is as it was");
    assert!(builds.again("bind").cached("cat /one/file"));
    std::fs::write(builds.hull.folder().join("bind/d/f"), "other").unwrap();
    let third = builds.again("bind");
    assert!(!third.cached("cat /one/file"));
    assert_eq!(builds.sh("bind", "cat /single"), "other");
    builds.finish();
}

#[test]
fn privileged_cache_mounts_survive_and_are_in_no_layer() {
    let Some(builds) = Builds::new() else { return };
    let text = |n: u32| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c echo {n} >> /c/log && cat /c/log > /seen\n\
             RUN --mount=type=cache,id=own,target=/o,uid=33,gid=50,mode=0750 stat -c '%u %g %a' /o > /mode\n\
             USER 33\nRUN --mount=type=cache,id=own,target=/o,uid=33,gid=50 echo {n} > /o/mine\n"
        )
    };
    builds.build("cache", &[("Dockerfile", &text(1))]);
    builds.build("cache", &[("Dockerfile", &text(2))]);
    assert_eq!(
        builds.sh("cache", "cat /seen /mode; ls -A /c 2>/dev/null; true"),
        "1\n2\n33 50 750\n"
    );
    let none = builds.with("cache", json!({"no_cache": true}));
    assert!(!none.cached("/c/log"));
    assert_eq!(builds.sh("cache", "cat /seen"), "1\n2\n2\n");
    builds.finish();
}

#[test]
fn privileged_cve_2024_9675_a_cache_id_is_no_path() {
    let Some(builds) = Builds::new() else { return };
    let canary = builds.hull.folder().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let id = format!("../../../../../..{}", canary.display());
    let text = format!(
        "FROM busybox\nRUN --mount=type=cache,id={id},target=/c echo x > /c/x\n\
         RUN --mount=type=cache,id={id},source=../../..,target=/c echo x > /c/y\n\
         RUN --mount=type=cache,id=links,target=/c ln -s / /c/out\n"
    );
    builds.build("ids", &[("Dockerfile", &text)]);
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    // CVE-2024-23651: a link in the directory is not followed on the host.
    builds.fails(
        "link",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN --mount=type=cache,id=links,source=out,target=/c ls /c\n",
        )],
        "cannot open /out in the cache",
    );
    builds.finish();
}

#[test]
fn privileged_secrets_are_in_no_layer_and_no_key() {
    let Some(builds) = Builds::new() else { return };
    let files: &[(&str, &str)] = &[(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /length; stat -c '%a %u' /run/secrets/s >> /length\n\
         RUN --mount=type=secret,id=s,env=TOKEN test -n \"$TOKEN\" && env | grep -c TOKEN > /env\n\
         USER 33\nRUN --mount=type=secret,id=s,target=/tmp/k,uid=33,mode=0440 cat /tmp/k > /dev/null && stat -c '%a %u' /tmp/k > /tmp/owner\n\
         RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n",
    )];
    builds.context("secret", files);
    let secret = |text: &str| json!({"secrets": {"s": text.as_bytes()}});
    builds.with("secret", secret("very-secret-word"));
    assert_eq!(
        builds.sh("secret", "cat /length /env /tmp/owner; ls /run/secrets 2>/dev/null; true"),
        "16\n400 0\n1\n440 33\n"
    );
    assert!(builds.with("secret", secret("another")).cached("wc -c"));
    let found = std::process::Command::new("grep")
        .args(["-r", "-l", "very-secret-word"])
        .arg(builds.hull.data_root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    builds.fails(
        "required",
        &[("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=token,required=true true\n")],
        "secret token is required and was not given",
    );
    builds.finish();
}

#[test]
fn privileged_ssh_agents_and_tmpfs() {
    let Some(builds) = Builds::new() else { return };
    let socket = builds.hull.folder().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    builds.context(
        "ssh",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /where\n\
             RUN --mount=type=tmpfs,target=/t,size=1m stat -f -c %T /t > /kind; dd if=/dev/zero of=/t/x bs=1M count=3 2>/dev/null; wc -c < /t/x >> /kind\n",
        )],
    );
    builds.with("ssh", json!({"ssh": {"default": socket}}));
    drop(listener);
    assert_eq!(builds.sh("ssh", "cat /where /kind"), "/run/buildkit/ssh_agent.0\ntmpfs\n1048576\n");
    builds.fails(
        "required",
        &[("Dockerfile", "FROM busybox\nRUN --mount=type=ssh,required=true true\n")],
        "ssh agent default is required and was not given",
    );
    builds.finish();
}

#[test]
fn privileged_cve_2024_23652_nothing_is_removed_through_a_symlink() {
    let Some(builds) = Builds::new() else { return };
    let canary = builds.hull.folder().join("canary");
    std::fs::create_dir_all(canary.join("stub")).unwrap();
    let text = format!(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/deep/er/stub true\n\
         RUN --mount=type=bind,source=Dockerfile,target=/p/stub rm -rf /p 2>/dev/null; mv /p /q 2>/dev/null; ln -sfn {} /p; true\n",
        canary.display()
    );
    builds.build("stubs", &[("Dockerfile", &text)]);
    assert!(canary.join("stub").exists());
    builds.finish();
}

#[test]
fn privileged_cve_2024_11218_writes_to_a_bind_mount_stay_in_the_build() {
    let Some(builds) = Builds::new() else { return };
    let root = builds.context(
        "race",
        &[
            (
                "Dockerfile",
                "FROM busybox AS a\nRUN --mount=target=/c,rw for i in 1 2 3; do ln -sfn / /c/d; echo a > /c/f; rm -rf /c/d; done; echo > /done\n\
                 FROM busybox AS b\nRUN --mount=target=/c,rw for i in 1 2 3; do echo b > /c/f; ln -sfn /etc /c/d; done; cat /c/f > /own\n\
                 FROM busybox\nCOPY --from=a /done /\nCOPY --from=b /own /\nCOPY f /f\n",
            ),
            ("f", "context"),
            ("d/x", "x"),
        ],
    );
    builds.again("race");
    assert_eq!(builds.sh("race", "cat /own /f"), "b\ncontext");
    assert_eq!(std::fs::read_to_string(root.join("f")).unwrap(), "context");
    assert!(!root.join("d").is_symlink());
    builds.finish();
}

#[test]
fn privileged_cve_2024_9407_a_mount_has_no_options_of_the_hosts() {
    let Some(builds) = Builds::new() else { return };
    for option in ["bind-propagation=shared", "Z", "dev", "suid"] {
        let text = format!("FROM busybox\nRUN --mount=type=bind,target=/x,{option} true\n");
        let name = option.split('=').next().unwrap();
        builds.fails("option", &[("Dockerfile", &text)], name);
    }
    builds.finish();
}

#[test]
fn privileged_cve_2025_4953_what_is_only_mounted_is_not_in_the_image() {
    let Some(builds) = Builds::new() else { return };
    builds.build(
        "only",
        &[
            ("Dockerfile", "FROM busybox\nRUN --mount=target=/c,rw cp /c/secret /c/copy && cat /c/secret > /dev/null\n"),
            ("secret", "only-in-the-context"),
        ],
    );
    let path = builds.hull.folder().join("only.tar");
    builds.hull.ok(&["save", "-o", path.to_str().unwrap(), "only"]);
    let found = std::process::Command::new("grep")
        .args(["-c", "only-in-the-context"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "0");
    builds.finish();
}
