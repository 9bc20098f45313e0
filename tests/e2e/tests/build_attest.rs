//! What a build says of its image in statements beside it.

#![expect(clippy::unwrap_used, reason = "a test without its fixture has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use hull_test_support::Hull;
use serde_json::Value;

const STATUS: &str =
    "Package: sample\nStatus: install ok installed\nArchitecture: all\nVersion: 1.2\n";

/// A context of two stages whose image has a database of packages.
fn context(hull: &Hull) -> String {
    let folder = hull.folder().join("context");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("status"), STATUS).unwrap();
    let lines = "FROM busybox AS early\nARG WHO\nRUN echo $WHO > /who\nFROM busybox\n\
                 COPY --from=early /who /who\nCOPY status /var/lib/dpkg/status\n";
    fs::write(folder.join("Dockerfile"), lines).unwrap();
    folder.to_str().unwrap().to_owned()
}

/// The documents of a saved image: its index, and a blob by its digest.
struct Saved(tempfile::TempDir);

impl Saved {
    fn of(hull: &Hull, image: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("image.tar");
        hull.ok(&["save", "-o", archive.to_str().unwrap(), image]);
        let mut tar = Command::new("tar");
        assert!(
            tar.arg("-C").arg(folder.path()).arg("-xf").arg(archive).status().unwrap().success()
        );
        Self(folder)
    }

    fn read(&self, path: impl AsRef<Path>) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join(path)).unwrap()).unwrap()
    }

    fn blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().unwrap();
        self.read(format!("blobs/{}", digest.replace(':', "/")))
    }

    /// The descriptors of the image's index, and the statements about it by their kind.
    fn statements(&self) -> (Vec<Value>, Vec<(String, Value)>) {
        let outer = self.read("index.json");
        let index = self.blob(&outer["manifests"][0]);
        let manifests = index["manifests"].as_array().unwrap().clone();
        let said = self.blob(&manifests[1]);
        let layers = said["layers"].as_array().unwrap();
        let statements = layers.iter().map(|layer| {
            let kind = layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap();
            (kind.to_owned(), self.blob(layer))
        });
        (manifests, statements.collect())
    }
}

#[test]
fn privileged_packages_and_origin_are_told_beside_the_image() {
    let Some(hull) = Hull::with_busybox() else { return };
    let context = context(&hull);
    let provenance = "--provenance=mode=max,builder-id=https://builds.test/7";
    let words = ["build", "-t", "told", "--sbom=true", provenance];
    let arguments = ["--build-arg", "WHO=somebody", "--build-arg", "https_proxy=http://u:hidden@p"];
    hull.ok(&[&words[..], &arguments, &[&context]].concat());
    assert_eq!(hull.run(&["run", "--rm", "told", "cat", "/who"]).stdout, "somebody\n");

    let (manifests, statements) = Saved::of(&hull, "told").statements();
    let [image, said] = &manifests[..] else { panic!("{manifests:?}") };
    assert_eq!(said["platform"]["architecture"], "unknown");
    assert_eq!(said["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(said["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let kinds: Vec<&str> = statements.iter().map(|(kind, _)| &kind[..]).collect();
    assert_eq!(kinds, ["https://spdx.dev/Document", "https://slsa.dev/provenance/v1"]);
    let hex = image["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    for (_, statement) in &statements {
        assert_eq!(statement["subject"][0]["digest"]["sha256"], hex);
    }
    let packages = statements[0].1["predicate"]["packages"].to_string();
    assert!(packages.contains("pkg:deb/sample@1.2?arch=all"), "{packages}");
    let origin = &statements[1].1["predicate"]["buildDefinition"];
    let request = &origin["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:WHO"], "somebody");
    let statement = &statements[1].1;
    assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "https://builds.test/7");
    assert!(!statement.to_string().contains("hidden"), "a proxy's password: {statement}");
    let materials = origin["resolvedDependencies"].to_string();
    assert!(materials.contains("pkg:docker/busybox@latest"), "{materials}");
    hull.finish();
}

#[test]
fn privileged_what_is_told_is_no_more_than_asked_for() {
    let Some(hull) = Hull::with_busybox() else { return };
    let context = context(&hull);
    let secret = ["--build-arg", "WHO=not-for-everybody"];
    let words = ["build", "-t", "told", "--provenance=true"];
    hull.ok(&[&words[..], &secret, &[&context]].concat());
    let (_, statements) = Saved::of(&hull, "told").statements();
    let [(kind, statement)] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!(kind, "https://slsa.dev/provenance/v1");
    assert!(!statement.to_string().contains("not-for-everybody"), "{statement}");

    hull.ok(&[&["build", "-t", "silent"][..], &secret, &[&context]].concat());
    let outer = Saved::of(&hull, "silent");
    let manifest = outer.blob(&outer.read("index.json")["manifests"][0]);
    assert!(manifest["manifests"].is_null(), "nothing is said unless asked: {manifest}");
    hull.finish();
}

#[test]
fn privileged_statements_of_a_reproducible_build_are_the_same() {
    let Some(hull) = Hull::with_busybox() else { return };
    let context = context(&hull);
    let index = || {
        let words = ["build", "-t", "told", "--sbom=true", "--provenance=true", "--no-cache"];
        hull.ok(&[&words[..], &["--build-arg", "SOURCE_DATE_EPOCH=1700000000", &context]].concat());
        Saved::of(&hull, "told").read("index.json")["manifests"][0]["digest"].clone()
    };
    assert_eq!(index(), index());
    hull.finish();
}
