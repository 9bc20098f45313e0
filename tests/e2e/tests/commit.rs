//! What a container changed: `diff`, `export`, `commit`.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use hull_test_support::archive::{Entry, Member, Tar, members};
use hull_test_support::busybox::{busybox_image, probe_image};
use hull_test_support::image::Compression;
use hull_test_support::{Hull, set_xattr};
use serde_json::json;

/// Changes of every kind, over files of an image's layer.
const SCRIPT: &str = "cd /data && echo changed > changed && rm removed \
    && rm -r replaced && mkdir replaced && echo new > replaced/new \
    && mkdir new && echo linked > new/one && ln new/one new/two && chmod 4711 new/one \
    && chown 33:50 owned && ln -s ../etc/passwd new/link && mkfifo new/pipe \
    && chmod 700 /var/www && touch -d @1600000000 kept";

/// A Hull with the image `base`, in this layer mode.
fn set_up(mode: &str) -> Option<Hull> {
    let hull = Hull::new()?.with_env("HULL_LAYER_MODE", mode);
    let mut tar = Tar::new().directory("data/", 0o755).directory("data/replaced/", 0o755);
    for name in ["changed", "removed", "replaced/old", "owned", "kept", "same"] {
        let name = format!("data/{name}");
        tar = tar.entry(&Entry { name: &name, data: b"before", ..Entry::default() });
    }
    let image = busybox_image()?.layer(tar.finish(), Compression::Gzip);
    hull.load(&image, "base");
    Some(hull)
}

#[track_caller]
fn export(hull: &Hull, container: &str) -> Vec<Member> {
    let path = hull.folder().join("exported.tar");
    hull.ok(&["export", "-o", path.to_str().unwrap(), container]);
    let mut members = members(&std::fs::read(path).unwrap());
    // Where the engine mounts something.
    let stubs = ["dev/", "proc/", "sys/", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
    members.retain(|member| !stubs.contains(&member.name.as_str()));
    // And so the time of this one is when the container was started.
    for member in members.iter_mut().filter(|member| member.name == "etc/") {
        member.pax.clear();
    }
    members
}

#[track_caller]
fn same(left: &[Member], right: &[Member]) {
    let names = |members: &[Member]| -> Vec<String> {
        members.iter().map(|member| member.name.clone()).collect()
    };
    assert_eq!(names(left), names(right));
    for (left, right) in left.iter().zip(right) {
        assert!(left.data == right.data, "content of {}", left.name);
        let without_data = |member: &Member| Member { data: Vec::new(), ..member.clone() };
        assert_eq!(without_data(left), without_data(right));
    }
}

fn find<'m>(members: &'m [Member], name: &str) -> &'m Member {
    members.iter().find(|member| member.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn changes_of_every_kind(mode: &str) {
    let Some(hull) = set_up(mode) else { return };
    hull.ok(&["run", "--name", "box", "base", "sh", "-c", SCRIPT]);
    let id = hull.inspect("box", "{{.Id}}");
    let upper = hull.data_root().join("containers").join(id).join("rw");
    set_xattr(&upper.join("data/changed"), "user.note", b"kept");
    assert_eq!(
        hull.ok(&["diff", "box"]),
        "C /data\nC /data/changed\nC /data/kept\nA /data/new\nA /data/new/link\nA /data/new/one\n\
         A /data/new/pipe\nA /data/new/two\nC /data/owned\nD /data/removed\nC /data/replaced\n\
         A /data/replaced/new\nD /data/replaced/old\nC /var\nC /var/www"
    );

    let exported = export(&hull, "box");
    assert_eq!(find(&exported, "data/changed").data, b"changed\n");
    assert_eq!(
        find(&exported, "data/changed").record("SCHILY.xattr.user.note"),
        Some(&b"kept"[..])
    );
    let (one, two) = (find(&exported, "data/new/one"), find(&exported, "data/new/two"));
    assert_eq!((one.mode, one.data.as_slice()), (0o4711, &b"linked\n"[..]));
    assert_eq!((two.kind, two.link.as_str()), (b'1', "data/new/one"));
    let owned = find(&exported, "data/owned");
    assert_eq!((owned.uid, owned.gid, owned.data.as_slice()), (33, 50, &b"before"[..]));
    assert_eq!(find(&exported, "data/new/link").link, "../etc/passwd");
    assert_eq!(find(&exported, "data/new/pipe").kind, b'6');
    let gone = |name: &str| exported.iter().all(|member| member.name != name);
    assert!(gone("data/removed") && gone("data/replaced/old"));

    let id = hull.ok(&[
        "commit",
        "-a",
        "Ada",
        "-m",
        "why",
        "-c",
        "ENV A=b",
        "-c",
        r#"CMD ["cat", "/data/changed"]"#,
        "box",
        "made:v1",
    ]);
    assert_eq!(hull.ok(&["images", "-q", "--no-trunc", "made:v1"]), id);
    assert_eq!(hull.ok(&["run", "--rm", "made:v1"]), "changed");
    let inspected = hull.json(&["image", "inspect", "made:v1"]);
    assert_eq!(inspected[0]["Author"], "Ada");
    assert_eq!(inspected[0]["Comment"], "why");
    assert!(inspected[0]["Config"]["Env"].as_array().unwrap().contains(&json!("A=b")));
    assert_eq!(inspected[0]["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    assert!(hull.ok(&["history", "made:v1"]).lines().nth(1).unwrap().contains("why"));

    // A container of the new image has what the old one had, down to the last attribute.
    hull.ok(&["create", "--name", "again", "made:v1"]);
    same(&export(&hull, "again"), &exported);
    assert_eq!(hull.ok(&["diff", "again"]), "");

    // And so has one of that image saved and loaded elsewhere, in the other layer mode.
    let saved = hull.folder().join("saved.tar").display().to_string();
    hull.ok(&["save", "-o", &saved, "made:v1"]);
    let Some(other) = Hull::new() else { return };
    let other = other.with_env("HULL_LAYER_MODE", if mode == "erofs" { "unpack" } else { "erofs" });
    other.ok(&["load", "-q", "-i", &saved]);
    other.ok(&["create", "--name", "again", "made:v1"]);
    same(&export(&other, "again"), &exported);
    other.finish();
    hull.finish();
}

#[test]
fn privileged_changes_of_every_kind_erofs() {
    changes_of_every_kind("erofs");
}

#[test]
fn privileged_changes_of_every_kind_unpack() {
    changes_of_every_kind("unpack");
}

#[test]
fn privileged_commit_without_changes_and_refusals() {
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    hull.ok(&["run", "--name", "box", "probe", "/probe", "true"]);
    assert_eq!(hull.ok(&["diff", "box"]), "");
    let id = hull.ok(&["commit", "-c", "LABEL a=b", "box"]);
    let inspected = hull.json(&["image", "inspect", &id]);
    assert_eq!(inspected[0]["RootFS"]["Layers"].as_array().unwrap().len(), 1, "no empty layer");
    assert_eq!(inspected[0]["Config"]["Labels"], json!({"a": "b"}));
    assert_eq!(hull.ok(&["run", "--rm", &id, "/probe", "echo", "x"]), "x");
    hull.fails(&["commit", "box", "Not/A/Name"], 1, "repository name");
    hull.fails(&["commit", "-c", "RUN x", "box"], 1, "RUN is not a valid change command");
    hull.fails(&["commit", "no-such"], 1, "No such container: no-such");
    hull.fails(&["diff", "no-such"], 1, "No such container: no-such");
    hull.fails(&["export", "-o", "x.tar", "no-such"], 1, "No such container: no-such");
    // In a layer such a file would say that another one is deleted.
    let upper = hull.data_root().join("containers").join(hull.inspect("box", "{{.Id}}")).join("rw");
    std::fs::write(upper.join(".wh.probe"), "").unwrap();
    hull.fails(&["commit", "box", "bad"], 1, ".wh.");
    assert_eq!(hull.ok(&["images", "-q", "bad"]), "");
    hull.finish();
}

#[test]
fn privileged_changes_of_a_running_container() {
    let Some(hull) = set_up("erofs") else { return };
    let script = "echo one > /data/one; echo ready; while true; do sleep 60; done";
    hull.ok(&["run", "-d", "--init", "--name", "box", "base", "sh", "-c", script]);
    hull.wait_for_log("box", "ready");
    assert_eq!(hull.ok(&["diff", "box"]), "C /data\nA /data/one");
    assert_eq!(find(&export(&hull, "box"), "data/one").data, b"one\n");
    hull.ok(&["commit", "box", "made"]);
    assert_eq!(hull.ok(&["run", "--rm", "made", "cat", "/data/one"]), "one");
    assert_eq!(hull.inspect("box", "{{.State.Status}}"), "running");
    hull.ok(&["commit", "--pause=false", "box", "made"]);
    let until = (std::time::SystemTime::now() + std::time::Duration::from_secs(1))
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .to_string();
    let events = [
        "events",
        "--since",
        "0",
        "--until",
        &until,
        "-f",
        "container=box",
        "--format",
        "{{.Action}}",
    ];
    let events = hull.ok(&events).replace('\n', " ");
    assert!(events.contains("start export pause commit unpause commit"), "{events}");
    hull.finish();
}
