//! `save`, and loading what it saved.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use hull_test_support::Hull;
use hull_test_support::archive::{Member, Tar, members};
use hull_test_support::busybox::base_tar;
use hull_test_support::image::{Compression, Image, multi_platform};
use serde_json::{Value, json};

/// Two layers in two compressions.
fn image() -> Image {
    let upper = Tar::new().file("data", 0o640, b"upper").finish();
    Image::new()
        .layer(base_tar().finish(), Compression::Gzip)
        .layer(upper, Compression::Zstd)
        .layer(Tar::new().directory("empty/", 0o700).finish(), Compression::Plain)
        .set("Cmd", json!(["/probe", "read", "/data"]))
}

/// Saves `names` and reads the archive back.
#[track_caller]
fn save(hull: &Hull, names: &[&str]) -> (String, Vec<Member>) {
    let path = hull.folder().join("saved.tar").display().to_string();
    let words: Vec<&str> = ["save", "-o", &path].iter().chain(names).copied().collect();
    assert_eq!(hull.ok(&words), "");
    let members = members(&std::fs::read(&path).unwrap());
    (path, members)
}

#[track_caller]
fn document(members: &[Member], name: &str) -> Value {
    let member = members.iter().find(|member| member.name == name);
    serde_json::from_slice(&member.unwrap_or_else(|| panic!("no {name}")).data).unwrap()
}

/// What one Hull saves another loads: the same ID, the same names, the same layers, byte for byte.
fn round_trip(mode: &str) {
    let Some(hull) = Hull::new() else { return };
    let hull = hull.with_env("HULL_LAYER_MODE", mode);
    let image = image();
    let path = hull.file("image.tar", &image.oci_archive("one:tag"));
    hull.ok(&["load", "-q", "-i", &path]);
    hull.ok(&["tag", "one:tag", "registry.example:5000/team/two:v1"]);
    let (path, saved) = save(&hull, &["one:tag", "registry.example:5000/team/two:v1"]);
    for (name, content) in image.oci_files("one:tag") {
        if name.starts_with("blobs/") {
            let found = saved.iter().find(|member| member.name == name);
            assert!(found.is_some_and(|member| member.data == content), "{name} as it came");
        }
    }
    let listed = document(&saved, "manifest.json");
    assert_eq!(
        listed[0]["RepoTags"],
        json!(["one:tag", "registry.example:5000/team/two:v1"]),
        "{listed}"
    );
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let names: Vec<_> = document(&saved, "index.json")["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"]["io.containerd.image.name"].clone())
        .collect();
    assert_eq!(
        names,
        [json!("docker.io/library/one:tag"), json!("registry.example:5000/team/two:v1")]
    );
    let Some(other) = Hull::new() else { return };
    let other = other.with_env("HULL_LAYER_MODE", if mode == "erofs" { "unpack" } else { "erofs" });
    other.ok(&["load", "-i", &path]);
    assert_eq!(other.ok(&["images", "-q", "--no-trunc", "one:tag"]), image.id());
    assert_eq!(other.ok(&["run", "--rm", "registry.example:5000/team/two:v1"]), "upper");
    let (again, _) = save(&other, &["one:tag", "registry.example:5000/team/two:v1"]);
    assert!(std::fs::read(path).unwrap() == std::fs::read(again).unwrap(), "not the same archive");
    other.finish();
    hull.finish();
}

#[test]
fn privileged_saved_erofs_layers_are_loaded() {
    round_trip("erofs");
}

#[test]
fn privileged_saved_unpacked_layers_are_loaded() {
    round_trip("unpack");
}

#[test]
fn privileged_save_by_id_repository_and_platform() {
    let Some(hull) = Hull::new() else { return };
    let foreign_arch = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let other_layer = Tar::new().file("other", 0o644, b"other").finish();
    let foreign = Image::new().architecture(foreign_arch).layer(other_layer, Compression::Gzip);
    let archive = multi_platform("multi:latest", &[foreign.clone(), image()]);
    let path = hull.file("multi.tar", &archive);
    hull.ok(&["load", "-q", "-i", &path]);
    hull.ok(&["tag", "multi", "multi:other"]);
    let (_, saved) = save(&hull, &["multi"]);
    let tags = document(&saved, "manifest.json")[0]["RepoTags"].clone();
    assert_eq!(tags, json!(["multi:latest", "multi:other"]));
    let config = |image: &Image| format!("blobs/sha256/{}", image.id().replace("sha256:", ""));
    let holds =
        |saved: &[Member], image: &Image| saved.iter().any(|member| member.name == config(image));
    assert!(holds(&saved, &foreign) && holds(&saved, &image()), "all platforms");
    let platform = format!("linux/{foreign_arch}");
    let (path, saved) = save(&hull, &["--platform", &platform, "multi:latest"]);
    assert!(holds(&saved, &foreign) && !holds(&saved, &image()), "one platform");
    let Some(other) = Hull::new() else { return };
    other.ok(&["load", "-q", "-i", &path]);
    assert_eq!(other.ok(&["images", "-q", "--no-trunc"]), foreign.id());
    other.finish();
    let (_, saved) = save(&hull, &[image().id().trim_start_matches("sha256:")]);
    assert_eq!(document(&saved, "manifest.json")[0]["RepoTags"], Value::Null);
    hull.fails(&["save", "-o", "x.tar", "no-such"], 1, "No such image: no-such:latest");
    let path = hull.folder().join("kept");
    std::fs::write(&path, "before").unwrap();
    hull.fails(&["save", "-o", path.to_str().unwrap(), "no-such"], 1, "No such image");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before", "a failed save keeps the file");
    hull.fails(&["save", "--platform", "linux/s390x", "-o", "x.tar", "multi"], 1, "linux/s390x");
    hull.finish();
}
