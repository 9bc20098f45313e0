//! Names, IDs and removal, on a store without layers.

use std::os::fd::AsFd;

use hull_api::image::ImageDeleted;
use hull_oci::{Descriptor, Digest, Manifest, Platform, Reference, media_type};
use hull_store::{ContainerRecord, Durability, ImageRecord, Store, StoreOptions};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::error::ApiError;
use crate::http::Filters;

struct Host {
    _root: TempDir,
    store: Store,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            data_root: root.path().join("data"),
            exec_root: root.path().join("run"),
            layer_mode: Some(hull_store::LayerMode::Unpack),
        });
        Self { _root: root, store: store.unwrap() }
    }

    fn images(&self) -> Images<'_> {
        Images { store: &self.store, worker: Path::new("/nonexistent") }
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        self.store.blobs().put_bytes(bytes).unwrap();
        Descriptor::of(media_type, bytes)
    }

    /// An image without layers, told apart by its label `n`; returns its manifest and its ID.
    fn manifest(&self, architecture: &str, n: &str, created: &str) -> (Descriptor, Digest) {
        let config = json!({
            "architecture": architecture, "os": "linux", "created": created,
            "config": {"Labels": {"n": n}}, "rootfs": {"type": "layers", "diff_ids": []},
        });
        let config = self.put(media_type::OCI_CONFIG, config.to_string().as_bytes());
        let id = config.digest.clone();
        let manifest = Manifest::of(config, Vec::new()).to_bytes();
        (self.put(media_type::OCI_MANIFEST, &manifest), id)
    }

    fn record(&self, descriptor: &Descriptor, names: &[&str]) {
        let lease = self.store.lease().unwrap();
        lease.add(&descriptor.digest).unwrap();
        let record = ImageRecord {
            descriptor: descriptor.clone(),
            created: now(),
            origin: ORIGIN_LAYOUT.to_owned(),
        };
        self.store.put_image(&record).unwrap();
        for name in names {
            let name = name.parse::<Reference>().unwrap().with_default_tag();
            self.store.set_ref(&name, descriptor).unwrap();
        }
    }

    fn image(&self, n: &str, names: &[&str]) -> Digest {
        let created = format!("2024-01-0{n}T00:00:00Z");
        let (manifest, id) = self.manifest(&Platform::host().architecture, n, &created);
        self.record(&manifest, names);
        id
    }

    fn container(&self, image: &str) -> String {
        let image = resolve_image(&self.store, image, None).unwrap();
        let id = Digest::sha256(image.image_id.as_str().as_bytes()).hex().to_owned();
        let record = ContainerRecord {
            id: id.clone(),
            name: "user".to_owned(),
            created: now(),
            image: image.manifest_digest,
            image_id: image.image_id,
            image_name: String::new(),
            layers: Vec::new(),
            volumes: Vec::new(),
            config: json!({}),
        };
        self.store.create_container(&record, Durability::Volatile).unwrap();
        id
    }

    fn remove(&self, name: &str, force: bool, running: bool) -> Result<Vec<String>, String> {
        let removed = self.images().delete(name, force, &|_| running);
        removed.map(words).map_err(|error| ApiError::from(error).message)
    }

    fn tags(&self, filters: &str) -> Vec<Vec<String>> {
        let options = ListOptions { filters: Filters::parse(filters).unwrap(), shared_size: false };
        let images = self.images().list(&options).unwrap();
        images.into_iter().map(|image| image.repo_tags).collect()
    }
}

fn words(removed: Vec<ImageDeleted>) -> Vec<String> {
    let word = |item: ImageDeleted| match item {
        ImageDeleted { untagged: Some(name), .. } => format!("Untagged: {name}"),
        ImageDeleted { deleted, .. } => format!("Deleted: {}", deleted.unwrap_or_default()),
    };
    removed.into_iter().map(word).collect()
}

fn message(result: Result<ResolvedImage, ResolveError>) -> String {
    ApiError::from(result.unwrap_err()).message
}

#[test]
fn names_and_ids() {
    let host = Host::new();
    let id = host.image("1", &["busybox", "example.com:5000/a/b:c"]);
    let find = |name: &str| resolve_image(&host.store, name, None);
    let target = host.store.images().unwrap().remove(0).descriptor.digest;
    for name in [
        "busybox",
        "docker.io/library/busybox:latest",
        "example.com:5000/a/b:c",
        id.as_str(),
        id.hex(),
        &id.hex()[..4],
        &format!("sha256:{}", &id.hex()[..6]),
        &format!("busybox@{target}"),
        target.as_str(),
    ] {
        assert_eq!(find(name).unwrap().image_id, id, "{name}");
    }
    for (name, words) in [
        ("nope", "No such image: nope:latest"),
        ("busybox:nope", "No such image: busybox:nope"),
        ("a/b:c", "No such image: a/b:c"),
        (&"0".repeat(64), &format!("No such image: sha256:{}", "0".repeat(64))),
        (&format!("other@{target}"), &format!("No such image: other@{target}")),
        ("", "invalid reference format"),
        ("A B", "invalid reference format"),
    ] {
        assert_eq!(message(find(name)), words, "{name}");
    }
}

#[test]
fn an_ambiguous_prefix() {
    let host = Host::new();
    let created = "2024-01-01T00:00:00Z";
    for n in 0..17 {
        let (manifest, _) = host.manifest("amd64", &format!("many {n}"), created);
        host.record(&manifest, &[]);
    }
    let ambiguous = |digit: &u32| {
        let found = resolve_image(&host.store, &format!("{digit:x}"), None);
        matches!(found, Err(ResolveError::Ambiguous(..)))
    };
    assert!((0..16).any(|digit| ambiguous(&digit)));
}

#[test]
fn platforms() {
    let host = Host::new();
    let created = "2024-01-01T00:00:00Z";
    let (ours, our_id) = host.manifest(&Platform::host().architecture, "1", created);
    let (other, other_id) = host.manifest("made-up", "1", created);
    let absent = Descriptor::of(media_type::OCI_MANIFEST, b"not here");
    let index = json!({"schemaVersion": 2, "manifests": [absent, other, ours]}).to_string();
    let index = host.put(media_type::OCI_INDEX, index.as_bytes());
    host.record(&index, &["multi"]);
    host.record(&other, &["foreign"]);
    let made_up: Platform = "linux/made-up".parse().unwrap();
    let find = |name, platform| resolve_image(&host.store, name, platform);
    assert_eq!(find("multi", None).unwrap().image_id, our_id);
    assert_eq!(find("multi", Some(&made_up)).unwrap().image_id, other_id);
    assert_eq!(find("foreign", Some(&made_up)).unwrap().image_id, other_id);
    let host_platform = Platform::host();
    assert_eq!(
        message(find("foreign", None)),
        format!("image foreign is for linux/made-up, this host is {host_platform}")
    );
    let riscv: Platform = "linux/riscv64".parse().unwrap();
    assert!(message(find("multi", Some(&riscv))).ends_with("not for linux/riscv64 as was asked"));
    assert_eq!(host.tags("{}").len(), 2);
}

#[test]
fn listing() {
    let host = Host::new();
    host.image("1", &["a:1"]);
    host.image("2", &["b:1", "example.com/b:2"]);
    host.image("3", &[]);
    assert_eq!(
        host.tags("{}"),
        [vec![], vec!["b:1".to_owned(), "example.com/b:2".to_owned()], vec!["a:1".to_owned()]]
    );
    for (filters, count) in [
        (r#"{"dangling":["true"]}"#, 1),
        (r#"{"dangling":["false"]}"#, 2),
        (r#"{"reference":["b"]}"#, 1),
        (r#"{"reference":["*:1"]}"#, 2),
        (r#"{"reference":["nope"]}"#, 0),
        (r#"{"label":["n"]}"#, 3),
        (r#"{"label":["n=2"]}"#, 1),
        (r#"{"before":["b:1"]}"#, 1),
        (r#"{"since":["b:1"]}"#, 1),
        (r#"{"until":["2024-01-02T12:00:00Z"]}"#, 2),
        (r#"{"until":["24h"]}"#, 3),
    ] {
        assert_eq!(host.tags(filters).len(), count, "{filters}");
    }
    for filters in [r#"{"nope":["1"]}"#, r#"{"dangling":["x"]}"#, r#"{"until":["x"]}"#] {
        let filters = Filters::parse(filters).unwrap();
        assert!(host.images().list(&ListOptions { filters, shared_size: false }).is_err());
    }
}

#[test]
fn removing_names_and_images() {
    let host = Host::new();
    let id = host.image("1", &["a:1", "a:2"]);
    let short = &id.hex()[..12];
    assert_eq!(
        host.remove(short, false, false).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in \
             multiple repositories"
        )
    );
    assert_eq!(host.remove("a:1", false, false).unwrap(), ["Untagged: a:1"]);
    assert_eq!(host.remove("a:1", false, false).unwrap_err(), "No such image: a:1");
    let gone = host.remove("a:2", false, false).unwrap();
    assert_eq!(gone, ["Untagged: a:2".to_owned(), format!("Deleted: {id}")]);
    assert!(host.tags("{}").is_empty());
    assert!(host.store.blobs().list().unwrap().is_empty(), "nothing is left on disk");

    let id = host.image("2", &["b:1", "c:1"]);
    let gone = host.remove(id.hex(), true, false).unwrap();
    assert_eq!(gone, ["Untagged: b:1", "Untagged: c:1", &format!("Deleted: {id}")]);
}

#[test]
fn images_in_use() {
    let host = Host::new();
    let id = host.image("1", &["a:1", "a:2"]);
    let container = host.container("a:1");
    let (short, user) = (&id.hex()[..12], &container[..12]);
    assert_eq!(host.remove("a:2", false, true).unwrap(), ["Untagged: a:2"]);
    assert_eq!(
        host.remove("a:1", false, false).unwrap_err(),
        format!(
            "conflict: unable to remove repository reference \"a:1\" (must force) - container \
             {user} is using its referenced image {short}"
        )
    );
    assert_eq!(
        host.remove(short, false, false).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by \
             stopped container {user}"
        )
    );
    assert_eq!(
        host.remove(short, true, true).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by \
             running container {user}"
        )
    );
    assert!(host.images().prune(&Filters::default()).unwrap().images_deleted.is_empty());
    // Forced by name, the image of a running container only loses its name.
    assert_eq!(host.remove("a:1", true, true).unwrap(), ["Untagged: a:1"]);
    assert_eq!(host.tags(r#"{"dangling":["true"]}"#).len(), 1);
    assert!(host.images().prune(&Filters::default()).unwrap().images_deleted.is_empty());
    assert_eq!(host.remove(short, true, false).unwrap(), [format!("Deleted: {id}")]);
    // The container keeps what it was made from.
    assert!(!host.store.blobs().list().unwrap().is_empty());
}

#[test]
fn pruning() {
    let host = Host::new();
    let dangling = host.image("1", &[]);
    let named = host.image("2", &["a:1"]);
    let pruned = host.images().prune(&Filters::default()).unwrap();
    assert_eq!(words(pruned.images_deleted), [format!("Deleted: {dangling}")]);
    let filters = Filters::parse(r#"{"dangling":["false"],"label!":["n=2"]}"#).unwrap();
    assert!(host.images().prune(&filters).unwrap().images_deleted.is_empty());
    let filters = Filters::parse(r#"{"dangling":["false"]}"#).unwrap();
    let pruned = host.images().prune(&filters).unwrap();
    assert_eq!(words(pruned.images_deleted), ["Untagged: a:1", &format!("Deleted: {named}")]);
}

#[test]
fn tagging() {
    let host = Host::new();
    let id = host.image("1", &["a"]);
    let images = host.images();
    assert_eq!(images.tag("a", "b", Some("c")).unwrap().familiar(), "b:c");
    assert_eq!(images.tag(id.hex(), "d", None).unwrap().familiar(), "d:latest");
    assert_eq!(images.tag("a", "e:f", None).unwrap().familiar(), "e:f");
    assert!(matches!(images.tag("a", &format!("b@{id}"), None), Err(TagError::Digest)));
    assert!(matches!(images.tag("a", "B", None), Err(TagError::Name(_))));
    assert!(matches!(images.tag("a", "b", Some("/")), Err(TagError::Name(_))));
    assert!(matches!(images.tag("nope", "b", None), Err(TagError::Resolve(_))));
    assert_eq!(host.tags("{}"), [["a:latest", "b:c", "d:latest", "e:f"]]);
}

#[test]
fn a_worker_that_is_not_there() {
    let host = Host::new();
    let file = tempfile::tempfile().unwrap();
    let load = host.images().load(file.as_fd(), &LoadOptions::default(), &mut |_| {});
    assert!(matches!(load, Err(LoadError::Scan(_))));
    let import = host.images().import(file.as_fd(), &ImportOptions::default());
    assert!(matches!(import, Err(ImportError::Empty)));
    let ingests = host.store.data_root().join("ingest");
    assert_eq!(std::fs::read_dir(ingests).unwrap().count(), 0);
}
