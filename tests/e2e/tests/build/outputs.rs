//! What a build makes of its result.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::driver::Builds;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A document of a layout by its digest.
fn blob(layout: &Path, digest: &Value) -> Value {
    read(&layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/")))
}

/// The types of a manifest: its own, its config's, those of its layers.
fn types(manifest: &Value) -> Vec<String> {
    let of = |value: &Value| value["mediaType"].as_str().unwrap().to_owned();
    let layers = manifest["layers"].as_array().unwrap().iter().map(of);
    [of(manifest), of(&manifest["config"])].into_iter().chain(layers).collect()
}

/// Builds with one output into a directory; the manifest that is there.
fn layout(builds: &Builds, name: &str, more: &Value) -> Value {
    let place = builds.hull.folder().join(name);
    let _fresh = fs::remove_dir_all(&place);
    let mut attributes = json!({"dest": place, "tar": "false"});
    attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let outputs = json!([{"kind": "oci", "attributes": attributes}]);
    builds.with("image", json!({"outputs": outputs, "tags": []}));
    let index = read(&place.join("index.json"));
    blob(&place, &index["manifests"][0]["digest"])
}

#[test]
fn privileged_layouts_with_the_compression_and_types_that_are_asked_for() {
    let Some(builds) = Builds::new() else { return };
    let dockerfile = "FROM scratch\nCOPY text /text\nCOPY text /more/text\n";
    let text = "the same line again\n".repeat(50_000);
    builds.context("image", &[("Dockerfile", dockerfile), ("text", &text)]);
    let images = builds.hull.ok(&["images", "-aq"]);
    let oci = |layer: &str| {
        let layer = format!("application/vnd.oci.image.layer.v1.tar{layer}");
        let image = "application/vnd.oci.image";
        vec![
            format!("{image}.manifest.v1+json"),
            format!("{image}.config.v1+json"),
            layer.clone(),
            layer,
        ]
    };
    assert_eq!(types(&layout(&builds, "plain", &json!({}))), oci(""));
    let gzip = layout(&builds, "gzip", &json!({"compression": "gzip"}));
    assert_eq!(types(&gzip), oci("+gzip"));
    let digest = gzip["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
    let path = builds.hull.folder().join("gzip/blobs").join(digest);
    let listed = Command::new("tar").arg("-tzf").arg(path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "text\n");
    let zstd = json!({"compression": "zstd"});
    assert_eq!(types(&layout(&builds, "zstd", &zstd)), oci("+zstd"));

    let size = |manifest: &Value| manifest["layers"][0]["size"].as_u64().unwrap();
    let least = layout(&builds, "least", &json!({"compression": "gzip", "compression-level": "0"}));
    let most = layout(&builds, "most", &json!({"compression": "gzip", "compression-level": "9"}));
    assert!(size(&least) > text.len() as u64 && size(&most) < 20_000, "{least} {most}");

    let docker = layout(&builds, "docker", &json!({"oci-mediatypes": "false"}));
    let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    assert_eq!(
        types(&docker),
        [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            layer,
            layer
        ]
    );
    let annotated = json!({"annotation.a": "1", "annotation-manifest[linux/s390x].b": "2"});
    let annotated = layout(&builds, "annotated", &annotated);
    assert_eq!(annotated["annotations"], json!({"a": "1"}));
    assert_eq!(builds.hull.ok(&["images", "-aq"]), images, "what was only exported is not kept");

    // What comes out goes in again.
    let place = format!("oci-layout://{}", builds.hull.folder().join("docker").display());
    builds.context("again", &[("Dockerfile", "FROM busybox\nCOPY --from=made /more/text /t\n")]);
    builds.with("again", json!({"contexts": {"made": place}}));
    assert_eq!(builds.sh("again", "wc -l < /t").trim(), "50000");
    builds.finish();
}

#[test]
fn privileged_layers_of_a_base_are_compressed_anew_if_forced() {
    let Some(builds) = Builds::new() else { return };
    builds.context("image", &[("Dockerfile", "FROM base\nRUN echo x > /x\n")]);
    builds.context("base", &[("Dockerfile", "FROM busybox\nRUN echo base > /base\n")]);
    let output = |attributes: Value| json!([{"kind": "image", "attributes": attributes}]);
    builds.with("base", json!({"outputs": output(json!({"compression": "zstd"}))}));
    let kinds = |manifest: &Value| -> Vec<String> {
        let kind = |kind: &String| kind.rsplit(['+', '.']).next().unwrap().to_owned();
        types(manifest)[2..].iter().map(kind).collect()
    };
    let kept = kinds(&layout(&builds, "kept", &json!({"compression": "gzip"})));
    assert_eq!(kept[kept.len() - 2..], ["zstd", "gzip"], "{kept:?}");
    let forced = json!({"compression": "gzip", "force-compression": "true"});
    let forced = kinds(&layout(&builds, "forced", &forced));
    assert!(forced.iter().all(|kind| kind == "gzip"), "{forced:?}");
    let plain = json!({"compression": "uncompressed", "force-compression": "true"});
    let plain = kinds(&layout(&builds, "plain", &plain));
    assert!(plain.iter().all(|kind| kind == "tar"), "{plain:?}");
    builds.finish();
}

#[test]
fn privileged_annotations_of_an_index() {
    let Some(builds) = Builds::new() else { return };
    builds.context("image", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let place = builds.hull.folder().join("several");
    let more = json!({
        "platforms": ["linux/amd64", "linux/arm64"],
        "tags": [],
        "annotations": {"index:i": "1", "manifest[linux/arm64]:m": "2", "index,manifest:both": "3"},
        "outputs": [{"kind": "oci", "attributes": {"dest": place, "tar": "false", "annotation-manifest-descriptor.d": "4"}}],
    });
    builds.with("image", more);
    let top = read(&place.join("index.json"));
    let index = blob(&place, &top["manifests"][0]["digest"]);
    assert_eq!(index["annotations"], json!({"i": "1", "both": "3"}));
    for manifest in index["manifests"].as_array().unwrap() {
        assert_eq!(manifest["annotations"], json!({"d": "4"}));
        let expected = match manifest["platform"]["architecture"].as_str() {
            Some("arm64") => json!({"m": "2", "both": "3"}),
            _ => json!({"both": "3"}),
        };
        assert_eq!(blob(&place, &manifest["digest"])["annotations"], expected);
    }
    let one = builds.ask("image", json!({"annotations": {"index:i": "1"}}));
    let said = one.ended.unwrap_err()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("has no index to annotate"), "{said}");
    builds.finish();
}
