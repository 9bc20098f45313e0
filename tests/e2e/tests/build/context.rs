//! What belongs to a build context.

use crate::driver::Builds;
use serde_json::json;

#[test]
fn privileged_dockerignore_of_the_file_and_of_the_context() {
    let Some(builds) = Builds::new() else { return };
    let files: &[(&str, &str)] = &[
        ("Dockerfile", "FROM busybox\nCOPY . /c\n"),
        ("other.Dockerfile", "FROM busybox\nCOPY . /c\n"),
        (".dockerignore", "# comment\n*\n!keep\n!dir\ndir/**/*.o\n!dir/sub/want.o\n"),
        ("other.Dockerfile.dockerignore", "keep\n"),
        ("keep", "k"),
        ("drop", "d"),
        ("dir/a.o", "o"),
        ("dir/a.c", "c"),
        ("dir/sub/want.o", "w"),
        ("dir/sub/not.o", "n"),
        ("hidden/x", "x"),
    ];
    builds.build("ignore", files);
    let listed = builds.sh("ignore", "cd /c; find . -type f | sort");
    assert_eq!(listed, "./dir/a.c\n./dir/sub/want.o\n./keep\n");
    builds.with("ignore", json!({"dockerfile": "other.Dockerfile"}));
    let listed = builds.sh("ignore", "cd /c; ls -A");
    assert!(!listed.contains("keep") && listed.contains("drop"), "{listed}");
    builds.fails(
        "excluded",
        &[
            ("Dockerfile", "FROM busybox\nCOPY secret /\n"),
            ("secret", ""),
            (".dockerignore", "secret\n"),
        ],
        "\"secret\": not found: it is excluded",
    );
    builds.finish();
}

#[test]
fn privileged_files_that_no_step_uses_change_nothing() {
    let Some(builds) = Builds::new() else { return };
    let first = builds.build(
        "used",
        &[
            ("Dockerfile", "FROM busybox\nCOPY a /a\nCOPY d /d\n"),
            ("a", "1"),
            ("d/x", "1"),
            ("z", "1"),
        ],
    );
    std::fs::write(builds.hull.folder().join("used/z"), "2").unwrap();
    std::fs::write(builds.hull.folder().join("used/new"), "2").unwrap();
    let second = builds.again("used");
    assert_eq!(first.id(), second.id());
    assert!(second.cached("COPY a") && second.cached("COPY d"));
    std::fs::write(builds.hull.folder().join("used/d/x"), "2").unwrap();
    let third = builds.again("used");
    assert!(third.cached("COPY a") && !third.cached("COPY d"));
    builds.finish();
}

#[test]
fn privileged_named_contexts_and_a_dockerfile_alone() {
    let Some(builds) = Builds::new() else { return };
    let named =
        builds.context("named", &[("f", "named"), ("skip", "x"), (".dockerignore", "skip\n")]);
    builds.context("main", &[("Dockerfile", "FROM base\nCOPY --from=extra . /x/\n")]);
    let contexts = json!({"extra": named, "base": "docker-image://busybox"});
    builds.with("main", json!({"contexts": contexts}));
    assert_eq!(builds.sh("main", "ls /x; cat /x/f"), "f\nnamed");
    let text = "FROM busybox\nCOPY <<EOF /alone\nyes\nEOF\n";
    builds.with("alone", json!({"context": "none", "dockerfile_text": text}));
    assert_eq!(builds.sh("alone", "cat /alone"), "yes\n");
    builds.finish();
}

#[test]
fn privileged_cve_2024_1753_no_symlink_leads_out_of_a_context() {
    let Some(builds) = Builds::new() else { return };
    let secret = builds.hull.folder().join("outside-secret");
    std::fs::write(&secret, "outside").unwrap();
    let target = format!("-> {}", secret.display());
    let up = "-> ../outside-secret";
    for link in [target.as_str(), up, "-> ../../../../../../etc/shadow"] {
        builds.fails(
            "escape",
            &[("Dockerfile", "FROM busybox\nCOPY link /x\n"), ("link", link)],
            "\"link\": not found",
        );
        builds.fails(
            "escape",
            &[
                (
                    "Dockerfile",
                    "FROM busybox\nRUN --mount=type=bind,source=link,target=/x cat /x\n",
                ),
                ("link", link),
            ],
            "\"link\": not found",
        );
    }
    builds.fails(
        "escape",
        &[("Dockerfile", "FROM busybox\nCOPY dir/outside-secret /x\n"), ("dir", "-> ..")],
        "not found",
    );
    // The same out of a stage.
    builds.fails(
        "escape",
        &[(
            "Dockerfile",
            "FROM busybox AS evil\nRUN ln -s /../../../../etc/shadow /l && ln -s / /d\n\
             FROM busybox\nRUN --mount=type=bind,from=evil,source=/l,target=/x cat /x\n",
        )],
        "\"l\": not found",
    );
    builds.finish();
}
