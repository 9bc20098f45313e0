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
fn privileged_stages_begin_with_files_and_contexts_take_the_place_of_stages() {
    let Some(builds) = Builds::new() else { return };
    let files: &[(&str, &str)] =
        &[("etc/f", "first"), ("l", "-> etc/f"), ("skip", "x"), (".dockerignore", "skip\n")];
    let dep = builds.context("dep", files);
    let text = "FROM busybox AS dep\nRUN echo never && false\nFROM dep AS more\nCOPY own /own\n\
                FROM busybox\nCOPY --from=more / /whole/\nCOPY --from=dep /etc/f /part\n\
                RUN --mount=from=dep,target=/m cat /m/l > /mounted\n";
    builds.context("stages", &[("Dockerfile", text), ("own", "own")]);
    let contexts = json!({"contexts": {"dep": dep}});
    builds.with("stages", contexts.clone());
    let sh = |command: &str| builds.sh("stages", command);
    assert_eq!(
        sh("cd /whole; ls -A . etc; readlink l; cat own"),
        ".:\n.dockerignore\netc\nl\nown\n\netc:\nf\netc/f\nown"
    );
    assert_eq!(sh("stat -c '%u %a' /whole/etc; cat /part /mounted"), "0 755\nfirstfirst");
    let again = builds.with("stages", contexts.clone());
    assert!(again.steps.iter().all(|(name, cached)| *cached || !name.contains('/')), "{again:#?}");
    // All of it is one layer with an entry in the history.
    let more = json!({"contexts": {"dep": dep}, "target": "more", "tags": ["more"]});
    builds.with("stages", more);
    let history = builds.hull.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "more"]);
    assert_eq!(history, "COPY own /own # buildkit\nFROM dep # build context");
    let layers =
        builds.hull.ok(&["image", "inspect", "--format", "{{len .RootFS.Layers}}", "more"]);
    assert_eq!(layers, "2");
    std::fs::write(dep.join("etc/f"), "second").unwrap();
    let changed = builds.with("stages", contexts);
    assert!(!changed.cached("] FROM dep") && !changed.cached("/part"));
    assert_eq!(builds.sh("stages", "cat /whole/etc/f"), "second");
    builds.finish();
}

#[test]
fn privileged_a_context_is_a_stage_or_nothing() {
    let Some(builds) = Builds::new() else { return };
    let text = "FROM busybox AS debug\nRUN echo debug > /kind\nFROM busybox AS release\n\
                RUN echo release > /kind\nFROM busybox\nCOPY --from=kind /kind /kind\nCOPY --from=none / /none/\n";
    builds.context("stage", &[("Dockerfile", text)]);
    for kind in ["debug", "release"] {
        let contexts = json!({"kind": format!("target:{kind}"), "none": "docker-image://scratch"});
        builds.with("stage", json!({"contexts": contexts}));
        assert_eq!(builds.sh("stage", "cat /kind; ls -A /none"), format!("{kind}\n"));
    }
    let wrong = builds.ask("stage", json!({"contexts": {"kind": "target:nope"}}));
    let said = wrong.ended.unwrap_err()["message"].as_str().unwrap().to_owned();
    assert!(
        said.contains("build context kind is target:nope, and no stage is called nope"),
        "{said}"
    );
    let wrong = builds.ask("stage", json!({"contexts": {"kind": "ftp://x/y"}}));
    let said = wrong.ended.unwrap_err()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("cannot use ftp://x/y as build context kind"), "{said}");
    builds.finish();
}

#[test]
fn privileged_oci_layouts_as_contexts() {
    let Some(builds) = Builds::new() else { return };
    for (name, content) in [("saved:one", "one"), ("saved:two", "two")] {
        let text =
            format!("FROM busybox\nENV FROM_LAYOUT={content}\nRUN echo {content} > /which\n");
        builds.context("save", &[("Dockerfile", &text)]);
        builds.with("save", json!({"tags": [name]}));
    }
    let layout = builds.context("layout", &[]);
    let tar = builds.hull.folder().join("saved.tar");
    builds.hull.ok(&["save", "-o", tar.to_str().unwrap(), "saved:one", "saved:two"]);
    let mut unpack = std::process::Command::new("tar");
    assert!(unpack.arg("-xf").arg(&tar).arg("-C").arg(&layout).status().unwrap().success());
    builds.hull.ok(&["rmi", "saved:one", "saved:two"]);
    builds.hull.ok(&["image", "prune", "-f"]);
    let images = builds.hull.ok(&["images", "-aq"]);

    let text = "FROM kept AS a\nRUN echo $FROM_LAYOUT > /env\nFROM busybox\nCOPY --from=a /env /which /\n\
                COPY --from=kept /which /again\n";
    builds.context("of", &[("Dockerfile", text)]);
    let place = format!("oci-layout://{}", layout.display());
    let with = |place: &str| json!({"contexts": {"kept": place}, "tags": ["of"]});
    for tag in ["one", "two"] {
        builds.with("of", with(&format!("{place}:{tag}")));
        let told = builds.sh("of", "cat /env /which /again");
        assert_eq!(told, format!("{tag}\n{tag}\n{tag}\n"));
    }
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let by_digest = builds.with("of", with(&format!("{place}@{digest}")));
    assert!(by_digest.cached("COPY --from=kept"));
    builds.hull.ok(&["rmi", "of"]);
    // What was called so before.
    builds.hull.ok(&["image", "prune", "-f"]);
    assert_eq!(builds.hull.ok(&["images", "-aq"]), images, "nothing of the layout is listed");

    let fails = |place: &str, message: &str| {
        let failure = builds.ask("of", with(place)).ended.expect_err("it was built");
        let said = failure["message"].as_str().unwrap();
        assert!(said.contains(message), "{said}");
    };
    fails(&place, "the layout has no image latest, it has 2 others");
    fails("oci-layout:///no/such:one", "cannot use /no/such as build context");
    fails("oci-layout://relative:one", "the layout has no absolute path");
    // Other bytes of the same length in the place of those that are needed: another file, or in a
    // gzip another system that wrote it, so that it can still be inflated.
    builds.hull.ok(&["system", "prune", "-af"]);
    builds.hull.ok(&["builder", "prune", "-af"]);
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if !bytes.starts_with(b"{") {
            let gzip = bytes.starts_with(&[0x1f, 0x8b]);
            bytes[if gzip { 9 } else { 600 }] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    fails(&format!("{place}:one"), "has digest");
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
