//! Removing what is unreachable.

use std::fs::File;

use hull_oci::Digest;

use super::mark::{Marks, is_locked};
use crate::Store;
use crate::content::{blob_path, is_fresh, is_partial};
use crate::error::{ErrorKind, FileError};
use crate::layers::layer_path;
use crate::metadata::{ContainerRecord, name, provenance_path, record};
use crate::tree::{self, Meter};

/// Renames under one holding of the exclusive lock.
const BATCH: usize = 64;

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs nothing refers to.
    pub blobs: Vec<Digest>,
    /// Layers nothing refers to.
    pub layers: Vec<Digest>,
    /// Unfinished writes of processes that died.
    pub ingests: u64,
    /// Leases of processes that died.
    pub leases: u64,
    /// What is known of blobs and layers that are gone.
    pub knowledge: u64,
    /// Names of containers that do not exist.
    pub names: u64,
    /// Entries of the trash.
    pub trash: u64,
    /// Bytes on disk that are free now.
    pub bytes: u64,
    /// Why blobs and layers were left alone: something that refers to them cannot be read.
    /// `check` with repair resolves it.
    pub blocked: Vec<String>,
}

/// Why a collection stopped. What it removed until then is removed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CollectError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
        }
    }
}

/// Which partly arrived blobs a collection leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrived {
    /// Those that somebody may still continue.
    Lately,
    /// None but those that are being fetched.
    Never,
}

#[derive(Debug, Clone)]
enum Victim {
    Blob(Digest),
    Layer(Digest),
}

impl Store {
    /// Removes what nothing refers to, while everything else goes on: blobs and layers, what dead
    /// processes left, and the trash. What has arrived of blobs lately stays, to be continued.
    pub fn collect(&self) -> Result<Collected, CollectError> {
        self.collect_leaving(Arrived::Lately)
    }

    /// The same, and removes what has arrived of blobs that nobody is fetching now.
    pub fn collect_all(&self) -> Result<Collected, CollectError> {
        self.collect_leaving(Arrived::Never)
    }

    fn collect_leaving(&self, kept: Arrived) -> Result<Collected, CollectError> {
        let mut collected = Collected::default();
        self.layers().settle()?;
        self.sweep_leftovers(kept, &mut collected)?;
        self.sweep_content(&mut collected)?;
        self.sweep_knowledge(&mut collected)?;
        self.empty_trash(&mut collected)?;
        Ok(collected)
    }

    fn sweep_content(&self, collected: &mut Collected) -> Result<(), FileError> {
        // What comes after this listing is not a candidate.
        let candidates: Vec<_> = (self.blobs().list()?.into_iter().map(Victim::Blob))
            .chain(self.layers().list()?.into_iter().map(Victim::Layer))
            .collect();
        let mut marks = Marks::default();
        marks.update(self)?;
        let victims: Vec<_> =
            candidates.into_iter().filter(|candidate| !is_marked(&marks, candidate)).collect();
        for batch in victims.chunks(BATCH) {
            if marks.gaps.is_empty() {
                self.sweep_batch(batch, &mut marks, collected)?;
            }
        }
        collected.blocked = marks.gaps;
        Ok(())
    }

    fn sweep_batch(
        &self,
        victims: &[Victim],
        marks: &mut Marks,
        collected: &mut Collected,
    ) -> Result<(), FileError> {
        let _lock = self.root.lock_exclusive()?;
        marks.update(self)?;
        if !marks.gaps.is_empty() {
            return Ok(());
        }
        for victim in victims.iter().filter(|victim| !is_marked(marks, victim)) {
            match victim {
                Victim::Blob(digest) => {
                    if self.root.discard(&blob_path(digest))?.is_some() {
                        collected.blobs.push(digest.clone());
                    }
                }
                Victim::Layer(diff_id) => {
                    self.detach(diff_id)?;
                    if self.root.discard(&layer_path(diff_id))?.is_some() {
                        collected.layers.push(diff_id.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// What processes that died left behind: it is theirs no more because its lock is free.
    fn sweep_leftovers(&self, kept: Arrived, collected: &mut Collected) -> Result<(), FileError> {
        for entry in self.root.list("ingest")? {
            let Some(entry) = entry.to_str() else { continue };
            let path = format!("ingest/{entry}");
            if kept == Arrived::Lately && is_partial(entry) && is_fresh(&self.root, &path)? {
                continue;
            }
            let _lock = self.root.lock_exclusive()?;
            if !self.is_held(&path)? && self.root.discard(&path)?.is_some() {
                collected.ingests += 1;
            }
        }
        for entry in self.root.list_text("cache/work")? {
            let path = format!("cache/work/{entry}");
            let _lock = self.root.lock_exclusive()?;
            if !self.is_held(&path)? && self.root.discard(&path)?.is_some() {
                collected.ingests += 1;
            }
        }
        for upload in self.blobs().uploads()? {
            if upload.is_stale(crate::content::UPLOAD_LIFE)
                && self.blobs().cancel_upload(&upload.id)?
            {
                collected.ingests += 1;
            }
        }
        for entry in self.root.list_text("leases")? {
            let path = format!("leases/{entry}");
            let _lock = self.root.lock_exclusive()?;
            if !self.is_held(&path)? && self.root.unlink(&path)? {
                collected.leases += 1;
            }
        }
        for entry in self.root.list_text("names")? {
            if self.is_stale_name(&entry)? {
                let _lock = self.root.lock_exclusive()?;
                if self.is_stale_name(&entry)? && self.root.unlink(&format!("names/{entry}"))? {
                    collected.names += 1;
                }
            }
        }
        Ok(())
    }

    /// What is known of blobs that are gone with their layers.
    fn sweep_knowledge(&self, collected: &mut Collected) -> Result<(), FileError> {
        for digest in self.known_digests()? {
            if !self.is_idle_knowledge(&digest)? {
                continue;
            }
            let _lock = self.root.lock_exclusive()?;
            if self.is_idle_knowledge(&digest)? && self.root.unlink(&provenance_path(&digest))? {
                collected.knowledge += 1;
            }
        }
        Ok(())
    }

    fn is_held(&self, path: &str) -> Result<bool, FileError> {
        Ok(self.root.open_file(path)?.is_some_and(|file| is_locked(&file)))
    }

    /// A name is stale if its container does not exist or, when nobody is renaming it, has
    /// another name.
    pub(super) fn is_stale_name(&self, text: &str) -> Result<bool, FileError> {
        let Some(id) = name::owner(&self.root, text)? else { return Ok(true) };
        let directory = format!("containers/{id}");
        let Some(lock) = self.root.open_directory(&directory)? else { return Ok(true) };
        let lock = File::from(lock);
        if is_locked(&lock) {
            return Ok(false);
        }
        let record =
            record::load::<ContainerRecord>(&self.root, &format!("{directory}/config.json"));
        Ok(record.is_ok_and(|record| record.is_none_or(|record| record.name != text)))
    }

    /// Removes what lies in the trash. What resists does not keep the rest there.
    pub(super) fn empty_trash(&self, collected: &mut Collected) -> Result<(), FileError> {
        let mut first = Ok(());
        for entry in self.root.list("trash")? {
            let Some(entry) = entry.to_str() else { continue };
            let path = format!("trash/{entry}");
            match self.remove_measured(&path) {
                Ok(bytes) => {
                    collected.bytes += bytes;
                    collected.trash += 1;
                }
                // Somebody's worker still writes there: the next collection finds it at rest.
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => first = first.and(Err(self.root.error("remove", &path, error))),
            }
        }
        first
    }

    fn remove_measured(&self, path: &str) -> std::io::Result<u64> {
        let bytes = Meter::default().measure(self.root.as_fd(), path)?;
        tree::remove(self.root.as_fd(), path)?;
        Ok(bytes)
    }
}

fn is_marked(marks: &Marks, candidate: &Victim) -> bool {
    match candidate {
        Victim::Blob(digest) => marks.has_blob(digest),
        Victim::Layer(diff_id) => marks.has_layer(diff_id),
    }
}
