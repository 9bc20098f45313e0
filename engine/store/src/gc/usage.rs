//! What everything takes on disk.

use std::collections::BTreeMap;

use hull_oci::Digest;

use super::mark::Marks;
use crate::Store;
use crate::error::{ErrorKind, FileError};
use crate::tree::Meter;

/// Bytes on disk. Every file below the data root is in exactly one class, so the classes add up
/// to what `du` says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Layers, manifests, configs, image records and references.
    pub images: u64,
    /// Layers in the compressed form they came in.
    pub compressed: u64,
    /// Records and writable directories of containers.
    pub containers: u64,
    /// Volumes.
    pub volumes: u64,
    /// Log files of containers.
    pub logs: u64,
    /// The builder's cache: its own files, and layers that nothing else keeps.
    pub build_cache: u64,
    /// Unfinished writes.
    pub ingest: u64,
    /// On its way out.
    pub trash: u64,
    /// The store's own directories, names, leases and locks.
    pub other: u64,
    /// By layer, a part of `images`.
    pub layers: BTreeMap<Digest, u64>,
    /// Layers of images and containers.
    pub shared_with_images: std::collections::HashSet<Digest>,
    /// By blob, a part of `images` and `compressed`.
    pub blobs: BTreeMap<Digest, u64>,
    /// The writable directory of each container, a part of `containers`.
    pub writable: BTreeMap<String, u64>,
    /// By volume, a part of `volumes`.
    pub volume: BTreeMap<String, u64>,
    /// Of layers and blobs: what the next collection would free.
    pub unreachable: u64,
}

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl UsageError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
        }
    }
}

impl Usage {
    /// All classes together, in bytes.
    pub fn total(&self) -> u64 {
        self.images
            + self.compressed
            + self.containers
            + self.volumes
            + self.logs
            + self.build_cache
            + self.ingest
            + self.trash
            + self.other
    }
}

impl Store {
    /// Adds up what everything takes, by class. What changes meanwhile may be counted or not.
    pub fn usage(&self) -> Result<Usage, UsageError> {
        let mut marks = Marks::default();
        marks.update(self)?;
        let mut ledger = Ledger { store: self, meter: Meter::default(), usage: Usage::default() };
        ledger.add_own()?;
        ledger.add_layers(&marks)?;
        ledger.usage.shared_with_images = marks.layers.clone();
        ledger.add_blobs(&marks)?;
        ledger.add_containers()?;
        ledger.add_volumes()?;
        Ok(ledger.usage)
    }
}

struct Ledger<'a> {
    store: &'a Store,
    meter: Meter,
    usage: Usage,
}

impl Ledger<'_> {
    fn tree(&mut self, path: &str) -> Result<u64, FileError> {
        self.meter
            .measure(self.store.root.as_fd(), path)
            .map_err(|error| self.store.root.error("measure", path, error))
    }

    fn one(&mut self, path: &str) -> Result<u64, FileError> {
        self.meter
            .measure_one(self.store.root.as_fd(), path)
            .map_err(|error| self.store.root.error("measure", path, error))
    }

    /// The root, what lies directly in it, and directories that only hold others.
    fn add_own(&mut self) -> Result<(), FileError> {
        self.usage.other += self.one(".")?;
        for entry in self.store.root.list(".")? {
            // A name that is not text is not ours, and still takes space; so it is reported by
            // `check` and cannot be counted here by path.
            let Some(entry) = entry.to_str() else { continue };
            match entry {
                "blobs" | "images" => {
                    self.usage.other += self.one(entry)?;
                    for inner in self.store.root.list_text(entry)? {
                        let path = format!("{entry}/{inner}");
                        self.usage.other += self.one(&path)?;
                        if entry == "images" {
                            self.usage.images += self.below(&path)?;
                        }
                    }
                }
                "refs" => {
                    self.usage.other += self.one(entry)?;
                    self.usage.images += self.below(entry)?;
                }
                "ingest" | "uploads" => {
                    self.usage.other += self.one(entry)?;
                    self.usage.ingest += self.below(entry)?;
                }
                "trash" => {
                    self.usage.other += self.one(entry)?;
                    self.usage.trash += self.below(entry)?;
                }
                "cache" | "cachemounts" | "statcache" => {
                    self.usage.other += self.one(entry)?;
                    self.usage.build_cache += self.below(entry)?;
                }
                "layers" | "containers" | "volumes" => self.usage.other += self.one(entry)?,
                _ => self.usage.other += self.tree(entry)?,
            }
        }
        Ok(())
    }

    fn below(&mut self, directory: &str) -> Result<u64, FileError> {
        let mut sum = 0;
        for entry in self.store.root.list_text(directory)? {
            sum += self.tree(&format!("{directory}/{entry}"))?;
        }
        Ok(sum)
    }

    fn add_layers(&mut self, marks: &Marks) -> Result<(), FileError> {
        for name in self.store.root.list_text("layers")? {
            let bytes = self.tree(&format!("layers/{name}"))?;
            let Some(diff_id) = crate::layers::diff_id_of(&name) else {
                self.usage.images += bytes;
                continue;
            };
            if marks.cached.contains(&diff_id) && !marks.layers.contains(&diff_id) {
                self.usage.build_cache += bytes;
            } else {
                self.usage.images += bytes;
            }
            if !marks.has_layer(&diff_id) {
                self.usage.unreachable += bytes;
            }
            self.usage.layers.insert(diff_id, bytes);
        }
        Ok(())
    }

    fn add_blobs(&mut self, marks: &Marks) -> Result<(), FileError> {
        for algorithm in ["sha256", "sha512"] {
            for name in self.store.root.list_text(&format!("blobs/{algorithm}"))? {
                let bytes = self.tree(&format!("blobs/{algorithm}/{name}"))?;
                let Ok(digest) = format!("{algorithm}:{name}").parse::<Digest>() else {
                    self.usage.other += bytes;
                    continue;
                };
                if marks.compressed.contains_key(&digest) && !marks.documents.contains(&digest) {
                    self.usage.compressed += bytes;
                } else {
                    self.usage.images += bytes;
                }
                if !marks.has_blob(&digest) {
                    self.usage.unreachable += bytes;
                }
                self.usage.blobs.insert(digest, bytes);
            }
        }
        Ok(())
    }

    fn add_containers(&mut self) -> Result<(), FileError> {
        for id in self.store.root.list_text("containers")? {
            let path = format!("containers/{id}");
            self.usage.containers += self.one(&path)?;
            for entry in self.store.root.list_text(&path)? {
                let bytes = self.tree(&format!("{path}/{entry}"))?;
                match entry.as_str() {
                    "logs" => self.usage.logs += bytes,
                    _ => self.usage.containers += bytes,
                }
                if entry == "rw" {
                    self.usage.writable.insert(id.clone(), bytes);
                }
            }
        }
        Ok(())
    }

    fn add_volumes(&mut self) -> Result<(), FileError> {
        for name in self.store.root.list_text("volumes")? {
            let bytes = self.tree(&format!("volumes/{name}"))?;
            self.usage.volumes += bytes;
            self.usage.volume.insert(name, bytes);
        }
        Ok(())
    }
}
