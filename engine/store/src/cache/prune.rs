//! Making the builder's cache smaller.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use hull_oci::Digest;

use super::{MOUNTS, NOTES, STATS, STEPS};
use crate::Store;
use crate::error::FileError;
use crate::gc::{CollectError, image_layers};
use crate::tree::Meter;

/// What to remove.
#[derive(Debug, Clone, Default)]
pub struct PruneCache {
    /// Also results whose layers an image uses as well.
    pub all: bool,
    /// Only what was not used for so long.
    pub unused_for: Duration,
    /// Remove the longest unused until the cache takes no more than this many bytes.
    pub keep: Option<u64>,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedCache {
    /// Names of what was removed: keys of steps, ids of directories.
    pub removed: Vec<String>,
    /// Bytes on disk that are free now.
    pub bytes: u64,
}

enum Candidate {
    Step(Digest),
    Mount(String),
    Stat(String),
}

impl Store {
    /// Removes results of steps, cache directories and digests of files, the longest unused first;
    /// returns when the space is free.
    ///
    /// # Errors
    /// The system's.
    pub fn prune_cache(&self, options: &PruneCache) -> Result<PrunedCache, CollectError> {
        let used = image_layers(self)?;
        let mut candidates = self.candidates(options, &used)?;
        candidates.sort_by_key(|(used, ..)| *used);
        let mut total = self.usage_of_cache(&used)?;
        let before = self.bytes_on_disk()?;
        let mut pruned = PrunedCache::default();
        let now = SystemTime::now();
        for (at, bytes, candidate) in candidates {
            let age = now.duration_since(at).unwrap_or_default();
            if age < options.unused_for || options.keep.is_some_and(|keep| total <= keep) {
                continue;
            }
            let removed = match &candidate {
                Candidate::Step(key) => self.remove_step(key)?.then(|| key.hex()[..25].to_owned()),
                Candidate::Mount(name) => self.remove_cache_mount(name)?.then(|| name.clone()),
                Candidate::Stat(name) => {
                    self.root.unlink(&format!("{STATS}/{name}"))?.then(|| name.clone())
                }
            };
            if let Some(name) = removed {
                total = total.saturating_sub(bytes);
                pruned.removed.push(name);
            }
        }
        if options.keep.is_none() && options.unused_for.is_zero() {
            for name in self.root.list_text(NOTES)? {
                self.root.unlink(&format!("{NOTES}/{name}"))?;
            }
        }
        self.collect()?;
        pruned.bytes = before.saturating_sub(self.bytes_on_disk()?);
        Ok(pruned)
    }

    fn candidates(
        &self,
        options: &PruneCache,
        used: &HashSet<Digest>,
    ) -> Result<Vec<(SystemTime, u64, Candidate)>, FileError> {
        let mut candidates = Vec::new();
        let mut seen = HashSet::new();
        for (step, at) in self.steps()? {
            let shared = step.layer.as_ref().is_some_and(|layer| used.contains(layer));
            if shared && !options.all {
                continue;
            }
            let mut bytes = self.measure(&format!("{STEPS}/{}", step.key.hex()))?;
            if let Some(layer) = step.layer.as_ref().filter(|layer| !used.contains(layer))
                && seen.insert(layer.clone())
            {
                bytes += self.measure(&crate::layers::layer_path(layer))?;
            }
            candidates.push((at, bytes, Candidate::Step(step.key)));
        }
        for (name, _) in self.cache_mounts()? {
            let path = format!("{MOUNTS}/{name}");
            candidates.push((self.used(&path), self.measure(&path)?, Candidate::Mount(name)));
        }
        for name in self.root.list_text(STATS)? {
            let path = format!("{STATS}/{name}");
            candidates.push((self.used(&path), self.measure(&path)?, Candidate::Stat(name)));
        }
        Ok(candidates)
    }

    /// Bytes of the cache's own files and of layers that nothing but the cache keeps.
    fn usage_of_cache(&self, used: &HashSet<Digest>) -> Result<u64, FileError> {
        let mut total = 0;
        for directory in ["cache", MOUNTS, STATS] {
            total += self.measure(directory)?;
        }
        let mut seen = HashSet::new();
        for (step, _) in self.steps()? {
            if let Some(layer) = step.layer.filter(|layer| !used.contains(layer))
                && seen.insert(layer.clone())
            {
                total += self.measure(&crate::layers::layer_path(&layer))?;
            }
        }
        Ok(total)
    }

    fn bytes_on_disk(&self) -> Result<u64, FileError> {
        self.measure(".")
    }

    pub(super) fn measure(&self, path: &str) -> Result<u64, FileError> {
        match Meter::default().measure(self.root.as_fd(), path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            measured => measured.map_err(|error| self.root.error("measure", path, error)),
        }
    }
}
