//! Images to registries: `push`.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use hull_test_support::busybox::{base_tar, probe_image};
use hull_test_support::image::{Compression, Image, multi_platform};
use hull_test_support::registry::DebianRegistry;
use hull_test_support::shelf::{Shelf, ask};
use hull_test_support::{Hull, archive::Tar};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Text that compresses.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| b"the quick brown fox\n"[n % 20] ^ u8::from(n % 977 == 0)).collect()
}

fn layer(name: &str) -> Vec<u8> {
    Tar::new().file(name, 0o644, &text(400_000)).file("name", 0o644, name.as_bytes()).finish()
}

/// An image whose layers are not compressed, as an archive of `docker save` has them.
fn plain() -> Image {
    Image::new()
        .layer(base_tar().finish(), Compression::Plain)
        .layer(layer("top"), Compression::Plain)
        .set("Cmd", json!(["/probe", "read", "/name"]))
        .set("Labels", json!({"made": "by a test"}))
}

/// The digest that a push says it sent.
#[track_caller]
fn digest_in(said: &str) -> String {
    let line = said.lines().find(|line| line.contains(": digest: sha256:"));
    let line = line.unwrap_or_else(|| panic!("no digest in {said}"));
    line.split(' ').nth(2).unwrap().to_owned()
}

/// A manifest as a registry has it.
#[track_caller]
fn manifest_of(registry: &DebianRegistry, repository: &str, reference: &str) -> Value {
    let path = format!("/v2/{repository}/manifests/{reference}");
    let (status, _, body) = ask(registry.address(), "GET", &path, "", b"");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn privileged_what_was_made_here_is_compressed_once_and_stays() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    hull.load(&plain(), "made");
    let name = format!("{}/team/made:1", registry.address());
    hull.ok(&["tag", "made", &name]);
    let said = hull.ok(&["push", &name]);
    let repository = format!("{}/team/made", registry.address());
    assert!(said.contains(&format!("The push refers to repository [{repository}]")), "{said}");
    assert_eq!(said.matches(": Pushed").count(), 2, "{said}");
    assert!(said.contains("Layers were compressed"), "{said}");
    let digest = digest_in(&said);
    let sent = manifest_of(&registry, "team/made", "1");
    for layer in sent["layers"].as_array().unwrap() {
        assert_eq!(
            layer["mediaType"],
            format!("{}+gzip", "application/vnd.oci.image.layer.v1.tar")
        );
    }
    assert_eq!(sent["config"]["digest"], plain().id(), "the image is the same");
    let digests = hull.ok(&["image", "inspect", "--format", "{{.RepoDigests}}", &name]);
    assert_eq!(digests, format!("[{repository}@{digest}]"));
    assert_eq!(hull.ok(&["images", "-q", "--no-trunc", &name]), plain().id());

    let again = hull.ok(&["push", &name]);
    assert_eq!(again.matches("Layer already exists").count(), 2, "{again}");
    assert!(!again.contains("compressed"), "{again}");
    assert_eq!(digest_in(&again), digest);
    // Another name of the manifest as it was: the same bytes come of it.
    let other = format!("{}/team/made:2", registry.address());
    hull.ok(&["tag", "made", &other]);
    assert_eq!(digest_in(&hull.ok(&["push", &other])), digest);
    let events = hull.ok(&["events", "--since", "1", "--until", "0s", "--filter", "event=push"]);
    let expected = format!("image push {name} (made=by a test, name={repository})");
    assert_eq!(events.matches(&expected).count(), 2, "{events}");

    // Somebody else makes the same of it, on however many processors, and gets what was sent.
    let Some(far) = Hull::new() else { return };
    far.load(&plain(), "made");
    far.ok(&["tag", "made", &name]);
    assert_eq!(digest_in(&far.ok(&["push", &name])), digest);
    far.ok(&["rmi", "-f", "made", &name]);
    assert!(far.ok(&["pull", &name]).contains(&format!("Digest: {digest}")));
    assert_eq!(far.ok(&["run", "--rm", &name]), "top");
    far.finish();
    hull.ok(&["system", "prune", "-a", "-f"]);
    hull.finish();
}

#[test]
fn privileged_zstd_and_unpacked_layers() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let hull = hull.with_env("HULL_LAYER_MODE", "unpack");
    hull.load(&plain(), "made");
    let name = format!("{}/made:1", registry.address());
    hull.ok(&["tag", "made", &name]);
    let said = hull.ok(&["push", "--compression", "zstd", &name]);
    let sent = manifest_of(&registry, "made", "1");
    let kinds: Vec<_> =
        sent["layers"].as_array().unwrap().iter().map(|l| &l["mediaType"]).collect();
    assert_eq!(kinds, ["application/vnd.oci.image.layer.v1.tar+zstd"; 2]);
    hull.ok(&["rmi", "-f", "made", &name]);
    assert!(hull.ok(&["pull", &name]).contains(&digest_in(&said)));
    assert_eq!(hull.ok(&["run", "--rm", &name]), "top");
    hull.fails(&["push", "--compression", "lzma", &name], 1, "compression");
    hull.finish();
}

#[test]
fn privileged_what_was_pulled_is_sent_as_it_came() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    // Written as nobody else would, and with a layer that is not compressed.
    let shelf = Shelf::new();
    let (_, bytes) = shelf.parts(&plain());
    let mut bytes =
        serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&bytes).unwrap()).unwrap();
    bytes.push(b'\n');
    let digest = shelf.manifest("app", "1", MANIFEST, &bytes);
    let source = shelf.serve();
    let from = format!("{}/app:1", source.address());
    hull.ok(&["pull", "-q", &from]);
    let name = format!("{}/copy:1", registry.address());
    hull.ok(&["tag", &from, &name]);
    let said = hull.ok(&["push", &name]);
    assert_eq!(digest_in(&said), digest);
    assert!(!said.contains("compressed"), "{said}");
    // A repository of the same registry gets the layers without a byte being sent.
    let sibling = format!("{}/sibling:1", registry.address());
    hull.ok(&["tag", &from, &sibling]);
    let said = hull.ok(&["push", &sibling]);
    assert_eq!(said.matches("Mounted from copy").count(), 2, "{said}");
    assert_eq!(digest_in(&said), digest);
    hull.finish();
}

#[test]
fn privileged_copies_that_are_gone_are_fetched_again() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let hull = hull.with_env("HULL_COMPRESSED_BUDGET", "0");
    let shelf = Shelf::new();
    let image = probe_image().layer(layer("top"), Compression::Gzip);
    let digest = shelf.image("app", "1", &image);
    let source = shelf.serve();
    let from = format!("{}/app:1", source.address());
    hull.ok(&["pull", "-q", &from]);
    let before = source.requests().len();
    let name = format!("{}/copy:1", registry.address());
    hull.ok(&["tag", &from, &name]);
    let said = hull.ok(&["push", &name]);
    assert_eq!(digest_in(&said), digest);
    assert_eq!(source.requests().len(), before + 2, "both layers came from their origin again");
    drop(source);
    // Now that it has gone, the one that has them is the other.
    let other = DebianRegistry::start().unwrap();
    let name = format!("{}/copy:1", other.address());
    hull.ok(&["tag", &from, &name]);
    assert_eq!(digest_in(&hull.ok(&["push", &name])), digest);
    drop((registry, other));
    let third = DebianRegistry::start().unwrap();
    let name = format!("{}/copy:1", third.address());
    hull.ok(&["tag", &from, &name]);
    hull.fails(&["push", "-q", &name], 1, "is not kept here, and cannot be fetched again");
    hull.finish();
}

#[test]
fn privileged_indexes_and_what_is_about_them() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let images =
        ["amd64", "arm64"].map(|name| probe_image().architecture(name).set("User", json!(name)));
    let path = hull.file("both.tar", &multi_platform("both:1", &images));
    hull.ok(&["load", "-q", "-i", &path]);
    let name = format!("{}/both:1", registry.address());
    hull.ok(&["tag", "both:1", &name]);
    let said = hull.ok(&["push", &name]);
    let sent = manifest_of(&registry, "both", "1");
    let members = sent["manifests"].as_array().unwrap();
    assert_eq!(members.len(), 2);
    for member in members {
        let manifest = manifest_of(&registry, "both", member["digest"].as_str().unwrap());
        assert!(manifest["layers"].is_array());
    }
    let digest = digest_in(&said);

    // One platform of it alone.
    let one = format!("{}/one:1", registry.address());
    hull.ok(&["tag", "both:1", &one]);
    hull.ok(&["push", "--platform", "linux/arm64", &one]);
    assert!(manifest_of(&registry, "one", "1")["layers"].is_array());

    // Where not all of it is here, the index cannot be sent.
    let Some(far) = Hull::new() else { return };
    far.ok(&["pull", "-q", &name]);
    let part = format!("{}/part:1", registry.address());
    far.ok(&["tag", &name, &part]);
    let said = far.ok(&["push", &part]);
    assert!(said.contains("Not every platform of"), "{said}");
    assert_ne!(digest_in(&said), digest);
    assert!(manifest_of(&registry, "part", "1")["layers"].is_array());
    far.finish();
    hull.finish();
}

#[test]
fn privileged_referrers_go_along() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let shelf = Shelf::new();
    let subject = shelf.image("app", "1", &probe_image());
    let size = shelf.blobs().into_iter().find(|(digest, _)| *digest == subject).unwrap().1;
    let (config, note) = (shelf.blob(b"{}"), shelf.blob(b"signed, a test"));
    let about = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.note",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": note, "size": 14}],
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": size},
    });
    let about = shelf.manifest("app", "note", MANIFEST, about.to_string().as_bytes());
    let source = shelf.serve();
    for tag in ["1", "note"] {
        hull.ok(&["pull", "-q", &format!("{}/app:{tag}", source.address())]);
    }
    let name = format!("{}/app:1", registry.address());
    hull.ok(&["tag", &format!("{}/app:1", source.address()), &name]);
    hull.ok(&["push", "-q", &name]);
    assert_eq!(manifest_of(&registry, "app", &about)["subject"]["digest"], subject);
    hull.finish();
}

#[test]
fn privileged_all_tags_and_what_is_not_here() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    hull.load(&probe_image(), "probe");
    let repository = format!("{}/probe", registry.address());
    for tag in ["1", "2"] {
        hull.ok(&["tag", "probe", &format!("{repository}:{tag}")]);
    }
    let said = hull.ok(&["push", "--all-tags", &repository]);
    assert_eq!(said.matches(": digest: sha256:").count(), 2, "{said}");
    manifest_of(&registry, "probe", "1");
    manifest_of(&registry, "probe", "2");
    hull.fails(&["push", "-q", &format!("{repository}:3")], 1, "tag does not exist");
    let none = format!("{}/none", registry.address());
    hull.fails(
        &["push", "-q", "--all-tags", &none],
        1,
        "An image does not exist locally with the tag",
    );
    hull.ok(&["tag", "probe", "localhost:1/probe:1"]);
    hull.fails(&["push", "-q", "localhost:1/probe:1"], 1, "localhost:1");
    hull.finish();
}

#[test]
fn privileged_a_commit_is_pushed_and_runs_elsewhere() {
    let Some(hull) = Hull::with_busybox() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    hull.ok(&["run", "--name", "work", "busybox", "sh", "-c", "echo done > /result"]);
    let name = format!("{}/work:1", registry.address());
    hull.ok(&["commit", "work", &name]);
    let digest = digest_in(&hull.ok(&["push", &name]));
    let Some(far) = Hull::new() else { return };
    let output = far.run(&["run", "--rm", &name, "cat", "/result"]);
    assert_eq!(output.stdout, "done\n", "{}", output.stderr);
    let digests = far.ok(&["image", "inspect", "--format", "{{.RepoDigests}}", &name]);
    assert!(digests.contains(&digest), "{digests}");
    far.finish();
    hull.finish();
}

#[test]
fn privileged_a_build_is_pushed_compressed() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let context = hull.folder().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY data /data\n").unwrap();
    std::fs::write(context.join("data"), text(300_000)).unwrap();
    let name = format!("{}/built:1", registry.address());
    hull.ok(&["build", "-q", "-t", &name, &context.display().to_string()]);
    let digest = digest_in(&hull.ok(&["push", &name]));
    let sent = manifest_of(&registry, "built", "1");
    assert_eq!(sent["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert!(sent["layers"][0]["size"].as_u64().unwrap() < 100_000, "{sent}");
    assert_eq!(digest_in(&hull.ok(&["push", &name])), digest);
    hull.ok(&["system", "prune", "-a", "-f"]);
    hull.finish();
}
