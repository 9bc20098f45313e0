//! Images without a registry: `load`, `import` and what can be done with what they leave.

use hull_test_support::Hull;
use hull_test_support::archive::{Tar, bzip2, xz};
use hull_test_support::busybox::{base_tar, probe_image};
use hull_test_support::image::{Compression, Image, multi_platform};
use serde_json::json;

/// Three layers in three compressions: the top one replaces, removes and hides.
fn layered() -> Image {
    let lower = base_tar()
        .directory("data/", 0o755)
        .file("data/replaced", 0o644, b"lower")
        .file("data/removed", 0o644, b"lower")
        .directory("data/opaque/", 0o755)
        .file("data/opaque/hidden", 0o644, b"lower")
        .hard_link("data/hard", "data/replaced")
        .symlink("data/soft", "replaced")
        .finish();
    let middle = Tar::new().file("data/middle", 0o600, b"middle").finish();
    let upper = Tar::new()
        .file("data/replaced", 0o644, b"upper")
        .file("data/.wh.removed", 0o644, b"")
        .directory("data/opaque/", 0o700)
        .file("data/opaque/.wh..wh..opq", 0o644, b"")
        .file("data/opaque/new", 0o644, b"upper")
        .finish();
    Image::new()
        .layer(lower, Compression::Gzip)
        .layer(middle, Compression::Zstd)
        .layer(upper, Compression::Plain)
        .set("Cmd", json!(["/probe", "read", "/data/replaced"]))
        .set("Env", json!(["PATH=/bin", "FROM_IMAGE=yes"]))
        .set("Labels", json!({"made": "by a test"}))
}

#[track_caller]
fn shows_its_layers(hull: &Hull, image: &str) {
    assert_eq!(hull.ok(&["run", "--rm", image]), "upper");
    for (path, content) in [
        ("/data/middle", "middle"),
        ("/data/hard", "lower"),
        ("/data/soft", "upper"),
        ("/data/opaque/new", "upper"),
    ] {
        assert_eq!(hull.ok(&["run", "--rm", image, "/probe", "read", path]), content, "{path}");
    }
    for path in ["/data/removed", "/data/opaque/hidden", "/data/.wh.removed"] {
        let output = hull.run(&["run", "--rm", image, "/probe", "read", path]);
        assert_eq!(output.code, 99, "{path} is there: {}", output.stdout);
    }
}

#[test]
fn privileged_docker_archive() {
    let Some(hull) = Hull::new() else { return };
    let image = layered();
    let path = hull.file("image.tar", &image.docker_archive(&["layered:one", "layered:two"]));
    let said = hull.ok(&["load", "-i", &path]);
    assert!(said.contains("Loaded image: layered:one"), "{said}");
    assert!(said.contains("Loaded image: layered:two"), "{said}");
    assert_eq!(hull.ok(&["images", "-q", "--no-trunc", "layered:one"]), image.id());
    shows_its_layers(&hull, "layered:two");
    hull.finish();
}

#[test]
fn privileged_unpacked_layers_are_the_same() {
    let Some(hull) = Hull::new() else { return };
    let hull = hull.with_env("HULL_LAYER_MODE", "unpack");
    hull.load(&layered(), "layered");
    shows_its_layers(&hull, "layered");
    hull.finish();
}

#[test]
fn privileged_oci_layout() {
    let Some(hull) = Hull::new() else { return };
    let image = layered();
    let path = hull.file("image.tar", &image.oci_archive("oci:tagged"));
    hull.ok(&["load", "-i", &path]);
    shows_its_layers(&hull, "oci:tagged");
    hull.ok(&["rmi", "oci:tagged"]);
    let folder = hull.folder().join("layout");
    image.oci_directory("folder:tagged", &folder);
    hull.ok(&["load", "-i", &folder.display().to_string()]);
    shows_its_layers(&hull, "folder:tagged");
    let archive = std::fs::read(&path).unwrap();
    let output = hull.run_with_input(&["load"], &archive);
    assert_eq!(output.code, 0, "{}", output.stderr);
    shows_its_layers(&hull, "oci:tagged");
    hull.finish();
}

#[test]
fn privileged_multi_platform_index() {
    let Some(hull) = Hull::new() else { return };
    let own = layered();
    let foreign_arch = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let other_layer = Tar::new().file("other", 0o644, b"other").finish();
    let foreign = Image::new().architecture(foreign_arch).layer(other_layer, Compression::Gzip);
    let path = hull.file("image.tar", &multi_platform("multi:latest", &[foreign, own]));
    hull.ok(&["load", "-i", &path]);
    shows_its_layers(&hull, "multi");
    assert_eq!(hull.ok(&["image", "inspect", "--format", "{{.Os}}", "multi"]), "linux");
    hull.finish();
}

#[test]
fn privileged_compressed_archives() {
    let Some(hull) = Hull::new() else { return };
    for (name, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
        let tag = format!("{name}:latest");
        let archive = layered().docker_archive(&[&tag]);
        let path = hull.file("image", &hull_test_support::image::compress(&archive, compression));
        hull.ok(&["load", "-q", "-i", &path]);
        assert_eq!(hull.ok(&["run", "--rm", name]), "upper");
    }
    hull.finish();
}

#[test]
fn privileged_import_with_changes() {
    let Some(hull) = Hull::new() else { return };
    let path = hull.file("root.tar", &base_tar().finish());
    let id = hull.ok(&[
        "import",
        "--change",
        r#"CMD ["/probe", "echo", "hello"]"#,
        "--change",
        "ENV A=b",
        "--change",
        "WORKDIR /var/www",
        "--change",
        "USER www-data",
        "-m",
        "made by import",
        &path,
        "made:here",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(hull.ok(&["run", "--rm", "made:here"]), "hello");
    let view = hull.json(&["run", "--rm", "made:here", "/probe"]);
    assert_eq!(view["cwd"], "/var/www");
    assert_eq!(view["uids"], json!([33, 33, 33, 33]));
    assert!(view["environment"].as_array().unwrap().contains(&json!("A=b")));
    assert!(hull.ok(&["history", "made:here"]).contains("made by import"));
    let bytes = std::fs::read(&path).unwrap();
    let output = hull.run_with_input(&["import", "-", "piped"], &bytes);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(hull.ok(&["run", "--rm", "piped", "/probe", "echo", "x"]), "x");
    hull.finish();
}

#[test]
fn privileged_archives_in_xz_and_bzip2() {
    let Some(hull) = Hull::new() else { return };
    let (image, root) = (layered(), base_tar().finish());
    for (name, pack) in [("xz", xz as fn(&[u8]) -> Vec<u8>), ("bzip2", bzip2)] {
        let path = hull.file("image", &pack(&image.docker_archive(&[&format!("loaded:{name}")])));
        hull.ok(&["load", "-i", &path]);
        shows_its_layers(&hull, &format!("loaded:{name}"));
        let path = hull.file("root", &pack(&root));
        let id = hull.ok(&["import", &path, &format!("imported:{name}")]);
        let said = hull.ok(&["run", "--rm", &format!("imported:{name}"), "/probe", "echo", "x"]);
        assert_eq!(said, "x");
        // Layers are never in these: what is kept is the tar.
        let layers = hull.ok(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", &id]);
        let plain = format!("[\"{}\"]", hull_test_support::serve::digest("sha256", &root));
        assert_eq!(layers, plain, "{name}");
        let short = pack(&root);
        let output = hull.run_with_input(&["import", "-"], &short[..short.len() - 20]);
        assert_ne!(output.code, 0);
        assert!(output.stderr.contains(&format!("{name} stream at byte")), "{}", output.stderr);
        let saved = hull.folder().join("saved");
        hull.ok(&["save", "-o", &saved.display().to_string(), &format!("imported:{name}")]);
    }
    assert!(hull.ok(&["system", "check"]).contains("no problems"));
    hull.finish();
}

#[test]
fn privileged_tags_and_removal() {
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    let id = hull.ok(&["images", "-q", "--no-trunc"]);
    hull.ok(&["tag", "probe", "example.test:5000/team/probe:v1"]);
    assert_eq!(
        hull.ok(&["image", "inspect", "--format", "{{.Id}}", "example.test:5000/team/probe:v1"]),
        id
    );
    let listed = hull.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(listed.lines().any(|line| line == "probe:latest"), "{listed}");
    let said = hull.ok(&["rmi", "probe"]);
    assert!(said.contains("Untagged: probe:latest") && !said.contains("Deleted"), "{said}");
    hull.ok(&["create", "--name", "user", "example.test:5000/team/probe:v1"]);
    let refused = hull.run(&["rmi", &id]);
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    hull.ok(&["rm", "user"]);
    let said = hull.ok(&["rmi", &id]);
    assert!(said.contains("Deleted: sha256:"), "{said}");
    assert_eq!(hull.ok(&["images", "-aq"]), "");
    hull.finish();
}

#[test]
fn privileged_history_inspect_and_json() {
    let Some(hull) = Hull::new() else { return };
    let image = layered();
    hull.load(&image, "layered");
    let history = hull.ok(&["history", "--format", "{{.CreatedBy}}", "layered"]);
    assert_eq!(history, "step 2\nstep 1\nstep 0");
    let inspected = hull.json(&["image", "inspect", "layered"]);
    assert_eq!(inspected[0]["Id"], image.id());
    assert_eq!(inspected[0]["RepoTags"], json!(["layered:latest"]));
    assert_eq!(inspected[0]["Config"]["Labels"], json!({"made": "by a test"}));
    assert_eq!(inspected[0]["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    let line = hull.json(&["images", "--format", "json"]);
    assert_eq!(line["Repository"], "layered");
    hull.finish();
}

/// After everything is pruned the store is as small as an empty one, and the numbers agree with
/// the disk.
#[test]
fn privileged_prune_leaves_nothing() {
    let Some(hull) = Hull::new() else { return };
    hull.ok(&["images"]);
    let empty = disk_usage(&hull);
    hull.load(&layered(), "layered");
    hull.load(&probe_image(), "layered");
    hull.ok(&["run", "--name", "box", "layered", "/probe", "true"]);
    assert!(disk_usage(&hull) > empty + 100_000);
    let dangling = hull.ok(&["images", "-q", "--filter", "dangling=true"]);
    assert_eq!(dangling.lines().count(), 1, "{dangling}");
    hull.ok(&["image", "prune", "-f"]);
    assert_eq!(hull.ok(&["images", "-q"]).lines().count(), 1);
    hull.ok(&["rm", "box"]);
    hull.ok(&["system", "prune", "-a", "-f", "--volumes"]);
    assert_eq!(hull.ok(&["images", "-aq"]), "");
    let left = disk_usage(&hull);
    assert!(left <= empty + (64 << 10), "{left} bytes are left, {empty} when empty");
    hull.finish();
}

/// Bytes of blocks below the data root.
fn disk_usage(hull: &Hull) -> u64 {
    let output = std::process::Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(hull.data_root())
        .output()
        .expect("du starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).expect("du prints a number")
}
