//! Registries that lie to a pull. Each is refused in one line, and nothing of what it said is kept.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::{Duration, Instant};

use hull_test_support::busybox::probe_image;
use hull_test_support::image::{Compression, Image, compress};
use hull_test_support::registry::{Answer, ScriptedRegistry};
use hull_test_support::shelf::Shelf;
use hull_test_support::{Hull, archive::Tar};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn name(registry: &ScriptedRegistry) -> String {
    format!("{}/app:1", registry.address())
}

/// The pull fails with this, and leaves a store as it was.
#[track_caller]
fn refused(hull: &Hull, registry: &ScriptedRegistry, text: &str) {
    hull.fails(&["pull", "-q", &name(registry)], 1, text);
    assert_eq!(hull.ok(&["images", "-aq"]), "");
    hull.ok(&["system", "prune", "-f"]);
    for folder in ["blobs/sha256", "layers", "ingest", "images/sha256"] {
        let left = std::fs::read_dir(hull.data_root().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder} holds something");
    }
}

/// The manifest of an image, to be changed.
fn manifest(shelf: &Shelf, image: &Image) -> Value {
    serde_json::from_slice(&shelf.parts(image).1).unwrap()
}

fn put(shelf: &Shelf, kind: &str, document: &Value) {
    shelf.manifest("app", "1", kind, document.to_string().as_bytes());
}

fn layer(content: &str) -> Vec<u8> {
    compress(&Tar::new().file("f", 0o644, content.as_bytes()).finish(), Compression::Gzip)
}

#[test]
fn privileged_layers_that_are_not_what_was_promised() {
    let Some(hull) = Hull::new() else { return };
    let good = layer("what was promised");
    // Other bytes of the same length: only the digest tells.
    let mut other = good.clone();
    *other.last_mut().unwrap() ^= 1;
    let longer = [good.as_slice(), b"and more"].concat();
    let same_length =
        compress(&Tar::new().file("f", 0o644, b"what wos promised").finish(), Compression::Gzip);
    for lie in [other, longer, good[..good.len() - 9].to_vec(), same_length] {
        let shelf = Shelf::new();
        let tar = Tar::new().file("f", 0o644, b"what was promised").finish();
        shelf.image("app", "1", &Image::new().layer(tar, Compression::Gzip));
        let (digest, _) = shelf.blobs().into_iter().find(|(_, size)| *size == good.len()).unwrap();
        shelf.falsify(&digest, lie);
        let registry = shelf.serve();
        refused(&hull, &registry, &digest);
    }
    hull.finish();
}

#[test]
fn privileged_a_config_that_names_other_layers() {
    let Some(hull) = Hull::new() else { return };
    for known in [false, true] {
        let shelf = Shelf::new();
        let mut document = manifest(&shelf, &probe_image());
        let other = layer("other");
        document["layers"][0] =
            json!({"mediaType": LAYER, "digest": shelf.blob(&other), "size": other.len()});
        put(&shelf, MANIFEST, &document);
        let registry = shelf.serve();
        if known {
            // With layers here the config is read first, without it comes beside them.
            let tar = Tar::new().file("third", 0o644, b"third").finish();
            let there = shelf.image("app", "2", &Image::new().layer(tar, Compression::Gzip));
            let kept = format!("{}/app@{there}", registry.address());
            hull.ok(&["pull", "-q", &kept]);
            hull.fails(&["pull", "-q", &name(&registry)], 1, "the image config says");
        } else {
            refused(&hull, &registry, "the image config says");
        }
    }
    hull.ok(&["system", "prune", "-a", "-f"]);
    hull.finish();
}

/// CVE-2024-3727: a digest is no path, and nothing but lower-case hex of the right length.
#[test]
fn privileged_cve_2024_3727() {
    let Some(hull) = Hull::new() else { return };
    let hex = "a".repeat(64);
    for digest in [
        "sha256:../../../../etc/passwd".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}/", &hex[1..]),
        format!("sha512:{hex}"),
        format!("md5:{}", &hex[..32]),
        String::new(),
    ] {
        let shelf = Shelf::new();
        let mut document = manifest(&shelf, &probe_image());
        document["layers"][0]["digest"] = digest.as_str().into();
        put(&shelf, MANIFEST, &document);
        let registry = shelf.serve();
        refused(&hull, &registry, "cannot use the manifest");
        let asked = registry.requests();
        assert!(asked.iter().all(|request| !request.path().contains("/blobs/")), "{asked:?}");
    }
    hull.finish();
}

/// CVE-2021-41190: one set of bytes that is a manifest to one reader and an index to another.
#[test]
fn privileged_cve_2021_41190() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let mut both = manifest(&shelf, &probe_image());
    both["manifests"] = json!([]);
    let plain = manifest(&shelf, &probe_image());
    let mut untyped = plain.clone();
    untyped.as_object_mut().unwrap().remove("mediaType");
    for (kind, document, text) in [
        (MANIFEST, &both, "both a manifest and an index"),
        (INDEX, &both, "both a manifest and an index"),
        (INDEX, &plain, "announced or sent as"),
        (INDEX, &untyped, "announced or sent as"),
        ("application/vnd.docker.distribution.manifest.v2+json", &plain, "announced or sent as"),
    ] {
        let shelf = shelf.clone();
        put(&shelf, kind, document);
        refused(&hull, &shelf.serve(), text);
    }
    hull.finish();
}

/// CVE-2026-53493: an index that leads to indexes that lead to indexes.
#[test]
fn privileged_cve_2026_53493() {
    let Some(hull) = Hull::new() else { return };
    let other = json!({"os": "plan9", "architecture": "mips"});
    let entry = |kind: &str, digest: &str, size: usize| json!({"mediaType": kind, "digest": digest, "size": size, "platform": other});
    // More descriptors than anybody needs.
    let shelf = Shelf::new();
    let many: Vec<Value> =
        (0..1500).map(|n| entry(MANIFEST, &digest_of(&format!("{n}")), 7)).collect();
    put(&shelf, INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": many}));
    refused(&hull, &shelf.serve(), "lists too much or lies too deep");

    // Indexes in indexes, each twice: two to the power of thirty ways down.
    let shelf = Shelf::new();
    let mut inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    for level in 0..30 {
        let digest = shelf.manifest("app", &format!("l{level}"), INDEX, inner.as_bytes());
        let child = entry(INDEX, &digest, inner.len());
        inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child, child]})
            .to_string();
    }
    shelf.manifest("app", "1", INDEX, inner.as_bytes());
    let registry = shelf.serve();
    let begun = Instant::now();
    refused(&hull, &registry, "lists too much or lies too deep");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(registry.requests().len() < 20, "{} requests", registry.requests().len());

    // The same entry over and over is one entry.
    let shelf = Shelf::new();
    let one = entry(MANIFEST, &digest_of("one"), 7);
    let same = vec![one; 20_000];
    put(&shelf, INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": same}));
    refused(&hull, &shelf.serve(), "no matching manifest");
    hull.finish();
}

fn digest_of(text: &str) -> String {
    Shelf::new().blob(text.as_bytes())
}

/// CVE-2020-15157: the addresses that a manifest names for its layers are not asked, and nobody
/// gets a credential there.
#[test]
fn privileged_cve_2020_15157() {
    let Some(hull) = Hull::new() else { return };
    let elsewhere = ScriptedRegistry::start(|_| Answer::ok("a layer"));
    let shelf = Shelf::new();
    let mut document = manifest(&shelf, &probe_image());
    let url = format!("http://{}/layer", elsewhere.address());
    document["layers"][0] = json!({
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": digest_of("a layer"),
        "size": 7,
        "urls": [url],
    });
    put(&shelf, MANIFEST, &document);
    refused(&hull, &shelf.serve(), &url);
    assert!(elsewhere.requests().is_empty(), "{:?}", elsewhere.requests());
    hull.finish();
}

/// CVE-2021-20291: a layer that cannot be read must not hold up anything.
#[test]
fn privileged_cve_2021_20291() {
    let Some(hull) = Hull::new() else { return };
    let bad = [
        compress(&[7; 5000], Compression::Gzip),
        compress(&[7; 5000], Compression::Zstd),
        b"\x1f\x8b\x08 not gzip".to_vec(),
        Vec::new(),
    ];
    for bytes in bad {
        let shelf = Shelf::new();
        let image = (0..6).fold(probe_image(), |image, n| {
            let tar = Tar::new().file(&format!("{n}"), 0o644, &[n; 50_000]).finish();
            image.layer(tar, Compression::Gzip)
        });
        let mut document = manifest(&shelf, &image);
        document["layers"][3] =
            json!({"mediaType": LAYER, "digest": shelf.blob(&bytes), "size": bytes.len()});
        put(&shelf, MANIFEST, &document);
        shelf.image("app", "good", &image);
        let registry = shelf.serve();
        let begun = Instant::now();
        let output = hull.run(&["pull", "-q", &name(&registry)]);
        assert_eq!(output.code, 1, "{}", output.stdout);
        assert!(begun.elapsed() < Duration::from_secs(20));
        hull.ok(&["pull", "-q", &format!("{}/app:good", registry.address())]);
        hull.ok(&["system", "prune", "-a", "-f"]);
    }
    hull.finish();
}

#[test]
fn privileged_documents_that_no_honest_registry_sends() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let v1 = json!({"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [], "history": []});
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    put(&shelf, signed, &v1);
    let registry = shelf.serve();
    let failed = hull.fails(&["pull", "-q", &name(&registry)], 1, "schema version 1");
    assert!(failed.stderr.contains("hint: "), "{}", failed.stderr);

    let mut large = manifest(&shelf, &probe_image());
    large["annotations"] = json!({"a": "x".repeat(5 << 20)});
    put(&shelf, MANIFEST, &large);
    refused(&hull, &shelf.serve(), "app");

    let mut odd = manifest(&shelf, &probe_image());
    odd["layers"][0]["mediaType"] = "application/x-executable".into();
    put(&shelf, MANIFEST, &odd);
    refused(&hull, &shelf.serve(), "unknown media type");

    let mut many = manifest(&shelf, &probe_image());
    let one = many["layers"][0].clone();
    many["layers"] = Value::Array(vec![one; 600]);
    put(&shelf, MANIFEST, &many);
    refused(&hull, &shelf.serve(), "600 layers");

    let mut huge = manifest(&shelf, &probe_image());
    huge["layers"][0]["size"] = u64::MAX.into();
    put(&shelf, MANIFEST, &huge);
    refused(&hull, &shelf.serve(), "more than Hull reads");

    let mut config = manifest(&shelf, &probe_image());
    config["config"]["size"] = (1_u64 << 40).into();
    put(&shelf, MANIFEST, &config);
    refused(&hull, &shelf.serve(), "app");
    hull.finish();
}
