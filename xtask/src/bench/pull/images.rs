//! The images that are pulled: a Debian root file system, packed in several ways, as archives that
//! every engine loads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use hull_oci::{Algorithm, Descriptor, Digest, Hasher, ImageConfig, Manifest, media_type};
use serde_json::json;

use super::text;
use crate::run;

/// How a root file system is packed into layers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pack {
    /// By gzip, level 6.
    Gzip {
        /// How many layers.
        layers: usize,
    },
    /// By zstd, level 3, as one layer.
    Zstd,
}

/// An image that was made.
#[derive(Debug)]
pub(super) struct Made {
    /// Last part of its name.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    pub(super) pack: Pack,
    /// The OCI layout as a tar, relative to the benchmark's folder.
    pub(super) archive: String,
    layout: PathBuf,
    layers: Vec<Digest>,
}

impl Made {
    /// Its name in an engine that has loaded it.
    pub(super) fn local(&self) -> String {
        format!("localhost/bench-{}:1", self.name)
    }

    /// The files of its layers, packed.
    pub(super) fn layers(&self) -> Result<Vec<PathBuf>> {
        anyhow::ensure!(!self.layers.is_empty(), "{} has no layers", self.name);
        Ok(self.layers.iter().map(|digest| blob(&self.layout, digest)).collect())
    }
}

/// Makes all of them in `folder`.
pub(super) fn make(folder: &Path, debian: &Path) -> Result<Vec<Made>> {
    let root = folder.join("root");
    fs::create_dir(&root)?;
    run::run(Command::new("tar").arg("-C").arg(&root).arg("-xpf").arg(debian))?;
    [
        ("gzip", "one gzip layer", Pack::Gzip { layers: 1 }),
        ("twenty", "20 gzip layers", Pack::Gzip { layers: 20 }),
        ("zstd", "one zstd layer", Pack::Zstd),
    ]
    .into_iter()
    .map(|(name, title, pack)| image(folder, &root, name, title, pack))
    .collect()
}

fn image(
    folder: &Path,
    root: &Path,
    name: &'static str,
    title: &'static str,
    pack: Pack,
) -> Result<Made> {
    println!("making the image with {title}");
    let layout = folder.join(name);
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let (count, kind) = match pack {
        Pack::Gzip { layers } => (layers, media_type::OCI_LAYER_GZIP),
        Pack::Zstd => (1, media_type::OCI_LAYER_ZSTD),
    };
    let (mut config, mut layers) = (ImageConfig::default(), Vec::new());
    config.architecture = hull_oci::Platform::host().architecture;
    config.os = "linux".to_owned();
    config.rootfs.kind = "layers".to_owned();
    for part in parts(root, count)? {
        let (diff_id, descriptor) = layer(&layout, root, &part, pack, kind)?;
        config.rootfs.diff_ids.push(diff_id);
        layers.push(descriptor);
    }
    let digests = layers.iter().map(|layer| layer.digest.clone()).collect();
    let config = document(&layout, media_type::OCI_CONFIG, &config.to_bytes())?;
    let manifest = Manifest::of(config, layers).to_bytes();
    let manifest = document(&layout, media_type::OCI_MANIFEST, &manifest)?;
    let mut made = Made {
        name,
        title,
        pack,
        archive: format!("images/{name}.tar"),
        layout: layout.clone(),
        layers: digests,
    };
    // Engines differ in which of the two annotations they take for the name.
    let (local, tag) = (made.local(), "1");
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [{
        "mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size,
        "annotations": { "io.containerd.image.name": local, "org.opencontainers.image.ref.name": tag },
    }] });
    fs::write(layout.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let configs = made.layers()?;
    let short = |path: &Path| Ok::<_, anyhow::Error>(text(path.strip_prefix(&layout)?)?.to_owned());
    let listed: Vec<String> = configs.iter().map(|path| short(path)).collect::<Result<_>>()?;
    let config_path = short(&blob(&layout, &config_of(&layout, &manifest.digest)?))?;
    let list = json!([{ "Config": config_path, "RepoTags": [made.local()], "Layers": listed }]);
    fs::write(layout.join("manifest.json"), serde_json::to_vec(&list)?)?;
    let tar = folder.join(format!("{name}.tar"));
    run::run(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&tar).arg("."))?;
    made.layers.shrink_to_fit();
    Ok(made)
}

fn config_of(layout: &Path, manifest: &Digest) -> Result<Digest> {
    Ok(Manifest::parse(&fs::read(blob(layout, manifest))?)?.config.digest)
}

/// The names below `root`, in as many parts; directories stand before what is in them.
fn parts(root: &Path, count: usize) -> Result<Vec<String>> {
    let mut find = Command::new("find");
    let names = run::output(find.current_dir(root).args([".", "-print"]))?;
    let names: Vec<&str> = names.lines().collect();
    let size = names.len().div_ceil(count);
    Ok(names.chunks(size).map(|part| part.join("\n")).collect())
}

/// One layer; its diffID and descriptor.
fn layer(
    layout: &Path,
    root: &Path,
    names: &str,
    pack: Pack,
    kind: &str,
) -> Result<(Digest, Descriptor)> {
    let list = layout.join("names");
    fs::write(&list, names)?;
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(root)
        .args(["--no-recursion", "--numeric-owner", "-cf", "-", "-T"])
        .arg(&list);
    let mut child = tar.stdout(std::process::Stdio::piped()).spawn()?;
    let mut plain = Tap::new(child.stdout.take().context("tar has no stdout")?);
    let partial = layout.join("partial");
    let mut packed = Tap::new(File::create(&partial)?);
    match pack {
        Pack::Gzip { .. } => {
            let level = flate2::Compression::new(6);
            let mut encoder = flate2::write::GzEncoder::new(&mut packed, level);
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish()?;
        }
        Pack::Zstd => {
            let mut encoder = zstd::Encoder::new(&mut packed, 3)?;
            io::copy(&mut plain, &mut encoder)?;
            encoder.finish()?;
        }
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "tar of a layer: {status}");
    fs::remove_file(&list)?;
    let (diff_id, _) = plain.finish();
    let (digest, size) = packed.finish();
    fs::rename(&partial, blob(layout, &digest))?;
    Ok((diff_id, Descriptor::new(kind, digest, size)))
}

fn document(layout: &Path, kind: &str, bytes: &[u8]) -> Result<Descriptor> {
    let descriptor = Descriptor::of(kind, bytes);
    fs::write(blob(layout, &descriptor.digest), bytes)?;
    Ok(descriptor)
}

fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// Hashes and counts what passes.
struct Tap<T> {
    inner: T,
    hasher: Hasher,
    bytes: u64,
}

impl<T> Tap<T> {
    fn new(inner: T) -> Self {
        Self { inner, hasher: Hasher::new(Algorithm::Sha256), bytes: 0 }
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<T: io::Read> io::Read for Tap<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<T: Write> Write for Tap<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
