//! What a load makes of the documents of an archive. Reading layers is tested where there is a
//! worker.

use std::fs::File;
use std::io::Write;

use hull_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use serde_json::{Value, json};

use super::*;

/// An archive being put together.
#[derive(Default)]
struct Builder {
    members: Vec<(String, Vec<u8>)>,
}

impl Builder {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.members.push((name.into(), bytes.into()));
    }

    fn remove(&mut self, descriptor: &Value) {
        let name = blob_name(descriptor);
        self.members.retain(|(member, _)| *member != name);
    }

    /// Adds a blob, returns its descriptor.
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        self.add(format!("blobs/sha256/{}", digest.hex()), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Adds an image of one layer, returns the descriptor of its manifest.
    fn image(&mut self, architecture: &str) -> Value {
        let layer = format!("layer for {architecture}").into_bytes();
        let config = config(architecture, &[&layer]);
        let config = self.blob(OCI_CONFIG, &config);
        let layer = self.blob(OCI_LAYER, &layer);
        let mut manifest =
            self.document(OCI_MANIFEST, json!({"config": config, "layers": [layer]}));
        manifest["platform"] = json!({"os": "linux", "architecture": architecture});
        manifest
    }

    fn index(&mut self, manifests: &[Value]) -> Value {
        self.document(OCI_INDEX, json!({ "manifests": manifests }))
    }

    fn document(&mut self, media_type: &str, mut document: Value) -> Value {
        document["schemaVersion"] = json!(2);
        document["mediaType"] = json!(media_type);
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Adds `index.json` and finishes.
    fn layout(mut self, manifests: &[Value]) -> Archive {
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        self.add("index.json", index);
        self.add("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        self.archive()
    }

    fn archive(self) -> Archive {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut spool = File::from(rustix::fs::memfd_create("archive", flags).unwrap());
        let mut offset = 0;
        let mut members = Vec::new();
        for (name, bytes) in self.members {
            spool.write_all(&bytes).unwrap();
            let size = bytes.len() as u64;
            members.push(hull_worker::job::ArchiveMember { name, offset, size });
            offset += size;
        }
        Archive::new(spool, members)
    }
}

fn blob_name(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"))
}

fn config(architecture: &str, layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::sha256(layer)).collect();
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    let config = json!({"architecture": architecture, "os": "linux", "rootfs": rootfs});
    config.to_string().into_bytes()
}

fn named(mut descriptor: Value, key: &str, name: &str) -> Value {
    descriptor["annotations"] = json!({ key: name });
    descriptor
}

fn plan(archive: &Archive, platform: Option<&str>) -> Result<Plan, LoadError> {
    let platform = platform.map(|platform| platform.parse().unwrap());
    layout::plan(archive, platform.as_ref(), &|_| false)
}

#[track_caller]
fn refused(archive: &Archive, words: &str) {
    let error = plan(archive, None).expect_err("it should be refused");
    let line = crate::error::chain(&error);
    assert!(line.contains(words), "{line}");
}

fn architectures(target: &Target) -> Vec<&str> {
    target.images.iter().map(|image| image.platform.architecture.as_str()).collect()
}

const NAME: &str = "io.containerd.image.name";
const REF: &str = "org.opencontainers.image.ref.name";

#[test]
fn one_image_under_several_names() {
    let mut builder = Builder::default();
    let image = builder.image("amd64");
    let archive = builder.layout(&[
        named(image.clone(), NAME, "docker.io/library/busybox:1"),
        named(image.clone(), REF, "example.com/a/b"),
        named(image, REF, "latest"),
    ]);
    let plan = plan(&archive, None).unwrap();
    assert_eq!(plan.targets.len(), 1);
    let names: Vec<_> = plan.targets[0].names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["busybox:1", "example.com/a/b:latest"]);
    assert_eq!(plan.layers().len(), 1);
}

#[test]
fn indexes_in_indexes() {
    let mut builder = Builder::default();
    let amd64 = builder.image("amd64");
    let arm64 = builder.image("arm64");
    let mut attestation = builder.blob(OCI_MANIFEST, b"not even json");
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let inner = builder.index(&[arm64, attestation]);
    let outer = builder.index(&[amd64, inner]);
    let archive = builder.layout(&[outer]);
    let both = plan(&archive, None).unwrap();
    assert_eq!(architectures(&both.targets[0]), ["amd64", "arm64"]);
    let Root::Found { documents, .. } = &both.targets[0].root else { panic!() };
    assert_eq!(documents.len(), 4, "two manifests and two indexes, no attestation");
    let one = plan(&archive, Some("linux/arm64")).unwrap();
    assert_eq!(architectures(&one.targets[0]), ["arm64"]);
    assert!(matches!(plan(&archive, Some("linux/riscv64")), Err(LoadError::NoPlatform { .. })));
}

use super::plan::Root;

#[test]
fn absent_platforms() {
    let mut builder = Builder::default();
    let amd64 = builder.image("amd64");
    let arm64 = builder.image("arm64");
    let s390x = builder.image("s390x");
    builder.remove(&arm64);
    // Of s390x the manifest is there and its layer is not.
    let layer = json!({ "digest": Digest::sha256(b"layer for s390x") });
    builder.remove(&layer);
    let index = builder.index(&[arm64.clone(), s390x, amd64]);
    let archive = builder.layout(&[index]);
    let plan = plan(&archive, None).unwrap();
    assert_eq!(architectures(&plan.targets[0]), ["amd64"]);

    let mut builder = Builder::default();
    let index = builder.index(&[arm64]);
    refused(&builder.layout(&[index]), "is missing from the archive");
}

#[test]
fn a_layer_that_the_store_has_may_be_absent() {
    let mut builder = Builder::default();
    let image = builder.image("amd64");
    builder.remove(&json!({ "digest": Digest::sha256(b"layer for amd64") }));
    let archive = builder.layout(&[image]);
    refused(&archive, "is missing from the archive");
    let plan = layout::plan(&archive, None, &|_| true).unwrap();
    assert_eq!(plan.targets[0].images[0].layers[0].range, None);
}

#[test]
fn names_go_to_what_the_host_runs() {
    let mut builder = Builder::default();
    let other = builder.image("made-up");
    let host = builder.image(&Platform::host().architecture);
    let archive = builder.layout(&[named(other, NAME, "a:b"), named(host, NAME, "a:b")]);
    let mut plan = plan(&archive, None).unwrap();
    plan.settle_names(&Platform::host());
    let names: Vec<_> = plan.targets.iter().map(|target| target.names.len()).collect();
    assert_eq!(names, [0, 1]);
}

#[test]
fn wrong_digest_and_size() {
    for part in ["manifest", "config"] {
        let mut builder = Builder::default();
        let image = builder.image("amd64");
        let config = json!({ "digest": Digest::sha256(&config("amd64", &[b"layer for amd64"])) });
        let name = blob_name(if part == "manifest" { &image } else { &config });
        let (_, bytes) = builder.members.iter_mut().find(|(member, _)| *member == name).unwrap();
        *bytes.last_mut().unwrap() = b' ';
        refused(&builder.layout(std::slice::from_ref(&image)), "has digest");
    }
    let mut builder = Builder::default();
    let mut image = builder.image("amd64");
    image["size"] = json!(7);
    refused(&builder.layout(&[image]), "its descriptor says 7");
}

#[test]
fn indexes_that_lead_nowhere() {
    refused(&Builder::default().archive(), "holds no image");
    refused(&Builder::default().layout(&[]), "holds no image");
    let mut builder = Builder::default();
    let empty = builder.index(&[]);
    refused(&builder.layout(&[empty]), "lists no image");

    // A loop needs a digest that does not fit.
    let mut builder = Builder::default();
    let body = |digest: &Digest| {
        let child = json!({"mediaType": OCI_INDEX, "digest": digest, "size": 177});
        json!({"schemaVersion": 2, "manifests": [child]}).to_string()
    };
    let digest = Digest::sha256(b"itself");
    let bytes = body(&digest);
    builder.add(format!("blobs/sha256/{}", digest.hex()), bytes.as_bytes());
    let itself = json!({"mediaType": OCI_INDEX, "digest": digest, "size": bytes.len()});
    refused(&builder.layout(&[itself]), "has digest");

    let mut builder = Builder::default();
    let mut chain = builder.image("amd64");
    for _ in 0..20 {
        chain = builder.index(&[chain]);
    }
    refused(&builder.layout(&[chain]), "too deep");

    // Many ways to one image are one way.
    let mut builder = Builder::default();
    let mut wide = builder.image("amd64");
    for _ in 0..6 {
        wide = builder.index(&vec![wide; 100]);
    }
    assert_eq!(plan(&builder.layout(&[wide]), None).unwrap().targets[0].images.len(), 1);
}

#[test]
fn documents_that_make_no_sense() {
    let mut builder = Builder::default();
    let both = json!({"schemaVersion": 2, "manifests": [], "layers": []}).to_string();
    let both = builder.blob(OCI_INDEX, both.as_bytes());
    refused(&builder.layout(&[both]), "both a manifest and an index");

    let mut builder = Builder::default();
    let config = builder.blob("application/vnd.unknown", b"{}");
    let artifact = builder.document(OCI_MANIFEST, json!({"config": config, "layers": []}));
    refused(&builder.layout(&[artifact]), "is no image");

    let mut builder = Builder::default();
    let layer = builder.blob("application/vnd.oci.image.layer.v1.tar+encrypted", b"x");
    let config = builder.blob(OCI_CONFIG, &config_of(1));
    let image = builder.document(OCI_MANIFEST, json!({"config": config, "layers": [layer]}));
    refused(&builder.layout(&[image]), "unknown media type");

    let mut builder = Builder::default();
    let config = builder.blob(OCI_CONFIG, &config_of(2));
    let image = builder.document(OCI_MANIFEST, json!({"config": config, "layers": []}));
    refused(&builder.layout(&[image]), "has 0 layers, its config names 2");

    let mut builder = Builder::default();
    let layer = builder.blob(OCI_LAYER, b"x");
    let config = builder.blob(OCI_CONFIG, &config_of(MAX_LAYERS + 1));
    let layers = vec![layer; MAX_LAYERS + 1];
    let image = builder.document(OCI_MANIFEST, json!({"config": config, "layers": layers}));
    refused(&builder.layout(&[image]), "more than the 500");

    let mut builder = Builder::default();
    let image = builder.image("amd64");
    refused(&builder.layout(&[named(image, NAME, "Not A Name")]), "names an image");
}

fn config_of(layers: usize) -> Vec<u8> {
    config("amd64", &vec![b"x".as_slice(); layers])
}

#[test]
fn docker_archives() {
    let config = config("amd64", &[b"one", b"two"]);
    let path = format!("{}.json", Digest::sha256(&config).hex());
    let list = |path: &str, tags: Value| json!([{"Config": path, "RepoTags": tags, "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    let build = |list: Value, skip: &str| {
        let mut builder = Builder::default();
        builder.add("manifest.json", list.to_string());
        builder.add(path.clone(), config.clone());
        builder.add("1/layer.tar", "one");
        builder.add("2/layer.tar", "two");
        builder.members.retain(|(name, _)| name != skip);
        let archive = builder.archive();
        let images = docker_archive::images(&archive)?.ok_or(LoadError::NotAnImage)?;
        docker_archive::plan(&archive, &images, None)
    };
    let plan = build(list(&path, json!(["busybox:1", "busybox:2"])), "").unwrap();
    assert_eq!(plan.targets[0].names.len(), 2);
    assert_eq!(plan.targets[0].images[0].layers.len(), 2);
    assert!(build(list(&path, Value::Null), "").unwrap().targets[0].names.is_empty());
    for (list, skip, words) in [
        (list(&path, Value::Null), path.as_str(), "is missing from the archive"),
        (list(&path, Value::Null), "2/layer.tar", "\"2/layer.tar\" is missing"),
        (list("../../etc/passwd", Value::Null), "", "is missing from the archive"),
        (list(&path, json!(["a b"])), "", "names an image \"a b\""),
        (json!([{"Config": path, "Layers": ["1/layer.tar"]}]), "", "has 1 layers"),
        (json!([]), "", "lists no image"),
        (json!({}), "", "cannot use manifest.json"),
    ] {
        let line = crate::error::chain(&build(list, skip).expect_err(words));
        assert!(line.contains(words), "{line}");
    }
    let mut builder = Builder::default();
    builder.add("manifest.json", list(&path, Value::Null).to_string());
    builder.add(path.clone(), config_of(2));
    let archive = builder.archive();
    let images = docker_archive::images(&archive).unwrap().unwrap();
    let error = docker_archive::plan(&archive, &images, None).unwrap_err();
    assert!(matches!(error, LoadError::DigestMismatch { .. }), "{error}");
}
