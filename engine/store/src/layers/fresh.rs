//! Layers that are complete but not on disk for certain: what a build makes step by step.
//!
//! They lie in `cache/fresh-<boot>/<hex>` and can be used at once. [`Layers::settle`] brings them
//! all to disk with one sync and moves them to `layers/`: a process that is killed loses none, a
//! host that crashes loses those of its last build, and no name in `layers/` ever stands for a
//! layer that is not whole.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use hull_oci::Digest;

use super::{LayerIngest, LayerMode, Layers, diff_id_of, layer_path};
use crate::error::FileError;
use crate::layer::LayerReport;
use crate::layers::PublishError;
use crate::root::Durability;

const PREFIX: &str = "cache/fresh-";

/// Where the fresh layers of this boot lie.
fn directory() -> &'static str {
    static DIRECTORY: OnceLock<String> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        format!("{PREFIX}{}", boot.trim())
    })
}

pub(super) fn fresh_path(diff_id: &Digest) -> String {
    format!("{}/{}", directory(), diff_id.hex())
}

impl Layers<'_> {
    /// Makes a prepared layer usable without waiting for the disk. One that is here already is
    /// left as it is.
    ///
    /// # Errors
    /// As [`PublishError`] says.
    pub fn publish_fresh(
        self,
        mut ingest: LayerIngest<'_>,
        report: &LayerReport,
    ) -> Result<(), PublishError> {
        let root = &self.store.root;
        if self.is_usable(&report.diff_id)? {
            return Ok(());
        }
        ingest.finish(report, Durability::Volatile)?;
        let path = fresh_path(&report.diff_id);
        root.make_directory("cache", 0o700)?;
        root.make_directory(directory(), 0o700)?;
        ingest.published = root.rename_new(&ingest.path, &path)?;
        Ok(())
    }

    /// Brings fresh layers to disk; returns how many there were. What an earlier boot left is
    /// thrown away.
    ///
    /// # Errors
    /// The system's.
    pub fn settle(self) -> Result<usize, FileError> {
        let root = &self.store.root;
        if !root.exists("cache")? {
            return Ok(0);
        }
        for name in root.list_text("cache")? {
            let path = format!("cache/{name}");
            if path.starts_with(PREFIX) && path != directory() {
                root.discard(&path)?;
            }
        }
        let fresh = self.fresh()?;
        if fresh.is_empty() {
            return Ok(0);
        }
        rustix::fs::syncfs(root.as_fd())
            .map_err(|error| root.error("sync the file system of", "cache", error))?;
        for diff_id in &fresh {
            let path = fresh_path(diff_id);
            match root.rename_new(&path, &layer_path(diff_id)) {
                Ok(true) => {}
                Ok(false) => drop(root.discard(&path)?),
                // Somebody else was faster.
                Err(error) if error.io().kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        root.sync_directory("layers")?;
        Ok(fresh.len())
    }

    /// Fresh layers of this boot.
    pub(crate) fn fresh(self) -> Result<Vec<Digest>, FileError> {
        let root = &self.store.root;
        if !root.exists(directory())? {
            return Ok(Vec::new());
        }
        let names = root.list_text(directory())?;
        Ok(names.iter().filter_map(|name| diff_id_of(name)).collect())
    }

    /// A mount of a fresh layer, attached nowhere; `None` if there is no such layer.
    pub(super) fn mount_fresh(
        self,
        diff_id: &Digest,
    ) -> Result<Option<(OwnedFd, bool)>, super::MountError> {
        let root = &self.store.root;
        let path = fresh_path(diff_id);
        if !root.exists(&path)? {
            return Ok(None);
        }
        let info = self.info(diff_id)?;
        let tree = match info.mode {
            LayerMode::Unpack => super::mount::clone_tree(root.as_fd(), format!("{path}/fs"))
                .map_err(|error| root.error("clone the mount of", &path, error))?,
            LayerMode::Erofs => super::mount::mount_erofs(&root.path().join(&path))
                .map_err(|source| super::MountError::Mount { diff_id: diff_id.clone(), source })?,
        };
        Ok(Some((tree, info.opaque)))
    }
}
