//! A store of a test's own, and things to put into it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use hull_oci::{Descriptor, Digest, Reference, media_type};

use crate::{
    ContainerRecord, ImageRecord, LayerMode, LayerReport, Store, StoreOptions, VolumeRecord,
};

pub(crate) struct Fixture {
    pub(crate) store: Store,
    directory: tempfile::TempDir,
    mode: LayerMode,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with_mode(LayerMode::Unpack)
    }

    pub(crate) fn with_mode(mode: LayerMode) -> Self {
        let directory = tempfile::Builder::new().prefix("hull-store-").tempdir().unwrap();
        let store = open(&directory, mode);
        Self { store, directory, mode }
    }

    /// The store once more, as another process would have it.
    pub(crate) fn reopened(&self) -> Store {
        open(&self.directory, self.mode)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join("data").join(below)
    }

    pub(crate) fn entries(&self, below: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(below))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// What `du` says of the data root, in bytes.
    pub(crate) fn du(&self) -> u64 {
        let output =
            Command::new("du").args(["-s", "--block-size=1"]).arg(self.path("")).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Publishes a layer with one file `file` of this content, and returns its diffID.
    pub(crate) fn layer(&self, content: &str) -> Digest {
        self.marked_layer(content, false)
    }

    /// A layer as [`Self::layer`] makes it, before it is published.
    pub(crate) fn prepared(&self, content: &str) -> (crate::LayerIngest<'_>, LayerReport) {
        let ingest = self.store.layers().prepare().unwrap();
        write_layer(&ingest, content);
        (ingest, report(content))
    }

    pub(crate) fn marked_layer(&self, content: &str, opaque: bool) -> Digest {
        let report = LayerReport { opaque, ..report(content) };
        let ingest = self.store.layers().prepare().unwrap();
        write_layer(&ingest, content);
        let diff_id = report.diff_id.clone();
        self.store.layers().publish(ingest, report).unwrap();
        diff_id
    }

    /// Stores an image of these layers; `name` makes it differ from others. Returns the digests
    /// of its manifest and config.
    pub(crate) fn image(&self, name: &str, layers: &[Digest]) -> (Digest, Digest) {
        let lease = self.store.lease().unwrap();
        let config = config(name, layers);
        let config = Descriptor::of(media_type::OCI_CONFIG, &config).with_bytes(config);
        let compressed = format!("compressed {name}").into_bytes();
        let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, &compressed).with_bytes(compressed);
        let manifest = manifest(&config.0, &layer.0);
        let manifest = Descriptor::of(media_type::OCI_MANIFEST, &manifest).with_bytes(manifest);
        for (descriptor, bytes) in [&config, &layer, &manifest] {
            lease.add(&descriptor.digest).unwrap();
            self.store.blobs().put_bytes(bytes).unwrap();
        }
        self.store.put_image(&image_record(manifest.0.clone())).unwrap();
        (manifest.0.digest, config.0.digest)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Err(error) = self.store.layers().detach_all()
            && !std::thread::panicking()
        {
            panic!("{error}");
        }
    }
}

trait WithBytes: Sized {
    fn with_bytes(self, bytes: Vec<u8>) -> (Self, Vec<u8>);
}

impl WithBytes for Descriptor {
    fn with_bytes(self, bytes: Vec<u8>) -> (Self, Vec<u8>) {
        (self, bytes)
    }
}

fn open(directory: &tempfile::TempDir, mode: LayerMode) -> Store {
    Store::open(StoreOptions {
        data_root: directory.path().join("data"),
        exec_root: directory.path().join("run"),
        layer_mode: Some(mode),
    })
    .unwrap()
}

/// The bytes that stand for a layer's tar: in erofs mode, the block its one file lies in.
fn tar(content: &str) -> Vec<u8> {
    let mut tar = content.as_bytes().to_vec();
    tar.resize(512, 0);
    tar
}

pub(crate) fn report(content: &str) -> LayerReport {
    let tar = tar(content);
    LayerReport {
        diff_id: Digest::sha256(&tar),
        digest: Digest::sha256(format!("compressed {content}").as_bytes()),
        size: 100,
        tar_size: 512,
        compression: "gzip".to_owned(),
        entries: 1,
        max_id: 0,
        opaque: false,
        index: None,
    }
}

/// Writes what a worker would.
pub(crate) fn write_layer(ingest: &crate::LayerIngest<'_>, content: &str) {
    let mut descriptors = ingest.descriptors().unwrap().into_iter();
    let mut write = |bytes: &[u8]| {
        File::from(descriptors.next().unwrap()).write_all(bytes).unwrap();
    };
    match ingest.mode() {
        LayerMode::Erofs => {
            write(&tar(content));
            write(&crate::layers::image_of_one_file("file", content.len()));
        }
        LayerMode::Unpack => {
            let directory = descriptors.next().unwrap();
            let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            let file = rustix::fs::openat(directory, "file", flags, mode).unwrap();
            File::from(file).write_all(content.as_bytes()).unwrap();
        }
    }
}

pub(crate) fn image_record(descriptor: Descriptor) -> ImageRecord {
    ImageRecord {
        descriptor,
        created: "2026-01-02T03:04:05Z".to_owned(),
        origin: "test".to_owned(),
    }
}

pub(crate) fn config(name: &str, layers: &[Digest]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "author": name,
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": layers },
    }))
    .unwrap()
}

pub(crate) fn manifest(config: &Descriptor, layer: &Descriptor) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": config,
        "layers": [layer],
    }))
    .unwrap()
}

pub(crate) fn container(number: u32, name: &str, image: &(Digest, Digest)) -> ContainerRecord {
    ContainerRecord {
        id: format!("{number:064x}"),
        name: name.to_owned(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        image: image.0.clone(),
        image_id: image.1.clone(),
        image_name: "test".to_owned(),
        layers: Vec::new(),
        volumes: Vec::new(),
        config: serde_json::json!({ "Cmd": ["true"] }),
    }
}

pub(crate) fn volume(name: &str) -> VolumeRecord {
    VolumeRecord {
        name: name.to_owned(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        anonymous: false,
        labels: std::collections::BTreeMap::new(),
        options: std::collections::BTreeMap::new(),
    }
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Says that a test that needs root did not run.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED {test}: needs root").unwrap();
    }
    root
}
