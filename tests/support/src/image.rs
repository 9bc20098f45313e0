//! Images as archives: what `docker save` writes, and OCI layouts.

use std::io::Write;
use std::path::Path;

use hull_oci::Digest;
use serde_json::{Value, json};

use crate::archive::Tar;

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As tar.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// An image under construction.
#[derive(Debug, Clone)]
pub struct Image {
    layers: Vec<(Vec<u8>, Compression)>,
    config: Value,
    architecture: &'static str,
    /// The digest of this blob is written wrong into the manifest.
    lie_about_layer: Option<usize>,
}

impl Image {
    /// An image without layers for this machine's platform.
    pub fn new() -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { layers: Vec::new(), config: json!({}), architecture, lie_about_layer: None }
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, tar: Vec<u8>, compression: Compression) -> Self {
        self.layers.push((tar, compression));
        self
    }

    /// Sets a field of the runtime config: `Cmd`, `Env`, `User` ...
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// Claims another architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: &'static str) -> Self {
        self.architecture = architecture;
        self
    }

    /// Writes a digest that is not the layer's into the manifest.
    #[must_use]
    pub fn lie_about_layer(mut self, index: usize) -> Self {
        self.lie_about_layer = Some(index);
        self
    }

    /// The image config as JSON bytes.
    pub fn config_bytes(&self) -> Vec<u8> {
        let diff_ids: Vec<String> =
            self.layers.iter().map(|(tar, _)| Digest::sha256(tar).to_string()).collect();
        let history: Vec<Value> = (0..self.layers.len())
            .map(|n| json!({"created": "2024-01-02T03:04:05Z", "created_by": format!("step {n}")}))
            .collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        config.to_string().into_bytes()
    }

    /// The image's id: the digest of its config.
    pub fn id(&self) -> String {
        Digest::sha256(&self.config_bytes()).to_string()
    }

    /// An archive as `docker save` of an engine without containerd's store writes it.
    pub fn docker_archive(&self, tags: &[&str]) -> Vec<u8> {
        let config = self.config_bytes();
        let config_name = format!("{}.json", Digest::sha256(&config).hex());
        let mut tar = Tar::new().file(&config_name, 0o644, &config);
        let mut names = Vec::new();
        for (index, (layer, compression)) in self.layers.iter().enumerate() {
            let name = format!("{index:064x}/layer.tar");
            tar = tar.file(&name, 0o644, &compress(layer, *compression));
            names.push(name);
        }
        let manifest = json!([{"Config": config_name, "RepoTags": tags, "Layers": names}]);
        tar.file("manifest.json", 0o644, manifest.to_string().as_bytes()).finish()
    }

    /// The files of an OCI layout: path and content. `name` is the reference annotation.
    pub fn oci_files(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let manifest = self.oci_manifest(&mut files);
        let index = oci_index(&[manifest], Some(name));
        finish_layout(files, &index)
    }

    /// An OCI layout as tar.
    pub fn oci_archive(&self, name: &str) -> Vec<u8> {
        files_to_tar(&self.oci_files(name))
    }

    /// Writes an OCI layout into a directory.
    pub fn oci_directory(&self, name: &str, directory: &Path) {
        for (path, content) in self.oci_files(name) {
            let path = directory.join(path);
            std::fs::create_dir_all(path.parent().expect("in the directory")).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    /// Adds the blobs to `files` and returns the manifest's descriptor.
    fn oci_manifest(&self, files: &mut Vec<(String, Vec<u8>)>) -> Value {
        let config = self.config_bytes();
        let mut layers = Vec::new();
        for (index, (layer, compression)) in self.layers.iter().enumerate() {
            let bytes = compress(layer, *compression);
            let suffix = match compression {
                Compression::Plain => "",
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            let kind = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
            let mut descriptor = add_blob(files, &kind, bytes);
            if self.lie_about_layer == Some(index) {
                // The blob lies under the name the manifest claims, as a broken copy would.
                let lie = Digest::sha256(b"something else");
                let (path, _) = files.last_mut().expect("just added");
                *path = format!("blobs/sha256/{}", lie.hex());
                descriptor["digest"] = lie.to_string().into();
            }
            layers.push(descriptor);
        }
        let config = add_blob(files, "application/vnd.oci.image.config.v1+json", config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut descriptor = add_blob(files, kind, manifest.to_string().into_bytes());
        descriptor["platform"] = json!({"os": "linux", "architecture": self.architecture});
        descriptor
    }
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

/// An OCI layout as tar whose one entry is an index over `images`, one per platform.
pub fn multi_platform(name: &str, images: &[Image]) -> Vec<u8> {
    let mut files = Vec::new();
    let manifests: Vec<Value> = images.iter().map(|i| i.oci_manifest(&mut files)).collect();
    let inner = oci_index(&manifests, None);
    let kind = "application/vnd.oci.image.index.v1+json";
    let descriptor = add_blob(&mut files, kind, inner.to_string().into_bytes());
    files_to_tar(&finish_layout(files, &oci_index(&[descriptor], Some(name))))
}

/// Compresses a layer.
pub fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Plain => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

fn add_blob(files: &mut Vec<(String, Vec<u8>)>, kind: &str, bytes: Vec<u8>) -> Value {
    let digest = Digest::sha256(&bytes);
    let size = bytes.len();
    files.push((format!("blobs/sha256/{}", digest.hex()), bytes));
    json!({"mediaType": kind, "digest": digest.to_string(), "size": size})
}

fn oci_index(manifests: &[Value], name: Option<&str>) -> Value {
    let mut manifests = manifests.to_vec();
    if let Some(name) = name {
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        manifests[0]["annotations"] = json!({
            "io.containerd.image.name": format!("docker.io/library/{name}"),
            "org.opencontainers.image.ref.name": tag,
        });
    }
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    })
}

fn finish_layout(mut files: Vec<(String, Vec<u8>)>, index: &Value) -> Vec<(String, Vec<u8>)> {
    files.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    files
}

fn files_to_tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let tar = files.iter().fold(Tar::new(), |tar, (path, content)| tar.file(path, 0o644, content));
    tar.finish()
}
