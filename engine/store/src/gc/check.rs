//! Whether the store is sound.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use hull_oci::{Descriptor, Digest, Document, Manifest};

use super::mark::{Marks, diff_ids, read};
use crate::Store;
use crate::content::{blob_path, size_of};
use crate::error::{ErrorKind, FileError};
use crate::format::{DIRECTORIES, GC_LOCK, LAYER_MODE, VERSION};
use crate::layers::{LayerMode, layer_path};
use crate::metadata::{ContainerRecord, image_path, name, record};
use crate::tree;

/// How thorough a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Read and hash every blob, every layer's tar and index, and look at every entry of an
    /// unpacked layer. Otherwise only presence and sizes are compared.
    pub deep: bool,
    /// Move what is broken to the trash and forget images that cannot be whole again.
    pub repair: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Blobs, layers, images, references, containers, names and volumes looked at.
    pub checked: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Blobs and layers that nothing refers to: no problem, a collection removes them.
    pub garbage: u64,
    /// Layers mounted in this boot.
    pub mounts: Vec<Digest>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about: `blob sha256:…`, `layer …`, `image …`, `container …`.
    pub object: String,
    /// What sort of fault.
    pub kind: ProblemKind,
    /// What was found.
    pub message: String,
    /// What was done about it, if it was.
    pub repaired: Option<String>,
}

/// Sorts of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// Something refers to what is not here.
    Missing,
    /// Bytes are not what their name says.
    Corrupt,
    /// A record cannot be read.
    Unreadable,
    /// It belongs to nothing.
    Stray,
}

/// Why a check stopped.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CheckError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
        }
    }
}

impl CheckReport {
    /// True if nothing is wrong, or nothing any more.
    pub fn is_sound(&self) -> bool {
        self.problems.iter().all(|problem| problem.repaired.is_some())
    }
}

/// How often a container without its name is looked at, five milliseconds apart.
const REMOVAL_LOOKS: u32 = 20;

impl Store {
    /// Compares what lies on disk with what it should be.
    ///
    /// With `repair`, what is broken is moved to the trash (the next collection empties it), and
    /// an image that lost a part is forgotten together with the references to it, so that loading
    /// it again brings it back whole. Containers and volumes are never removed.
    pub fn check(&self, options: CheckOptions) -> Result<CheckReport, CheckError> {
        let mut check = Check { store: self, options, report: CheckReport::default() };
        check.top()?;
        check.blobs()?;
        check.layers()?;
        check.images()?;
        check.references()?;
        check.knowledge()?;
        check.repositories()?;
        check.containers()?;
        check.names()?;
        check.volumes()?;
        check.mounts()?;
        check.garbage()?;
        Ok(check.report)
    }
}

struct Check<'a> {
    store: &'a Store,
    options: CheckOptions,
    report: CheckReport,
}

impl Check<'_> {
    fn problem(
        &mut self,
        object: impl fmt::Display,
        kind: ProblemKind,
        message: impl Into<String>,
    ) {
        let (object, message) = (object.to_string(), message.into());
        self.report.problems.push(Problem { object, kind, message, repaired: None });
    }

    /// The problem that was added last is solved by `action`.
    fn repaired(&mut self, action: &str) {
        if let Some(problem) = self.report.problems.last_mut() {
            problem.repaired = Some(action.to_owned());
        }
    }

    /// Moves the object of the last problem away, if that is asked for.
    fn quarantine(&mut self, path: &str) -> Result<(), FileError> {
        if self.options.repair && self.store.root.discard(path)?.is_some() {
            self.repaired("moved to the trash");
        }
        Ok(())
    }

    fn top(&mut self) -> Result<(), FileError> {
        for name in self.store.root.list(".")? {
            let name = name.to_string_lossy();
            let ours = DIRECTORIES.contains(&name.as_ref())
                || ["cache", "cachemounts", "statcache"].contains(&name.as_ref())
                || [GC_LOCK, VERSION, LAYER_MODE, "lost+found"].contains(&name.as_ref());
            if !ours {
                self.problem(&name, ProblemKind::Stray, "not part of a store");
            }
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), FileError> {
        for algorithm in ["sha256", "sha512"] {
            for name in self.store.root.list_text(&format!("blobs/{algorithm}"))? {
                let path = format!("blobs/{algorithm}/{name}");
                match format!("{algorithm}:{name}").parse::<Digest>() {
                    Ok(digest) => self.blob(&digest)?,
                    Err(_) => {
                        self.problem(&path, ProblemKind::Stray, "not named by a digest");
                        self.quarantine(&path)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn blob(&mut self, digest: &Digest) -> Result<(), FileError> {
        self.report.checked += 1;
        if self.options.deep
            && let Some(actual) = self.hash(&blob_path(digest), digest)?
            && actual != *digest
        {
            let message = format!("its bytes have digest {actual}");
            self.problem(format_args!("blob {digest}"), ProblemKind::Corrupt, message);
            self.quarantine(&blob_path(digest))?;
        }
        Ok(())
    }

    /// The digest of a file, of the algorithm of `like`.
    fn hash(&self, path: &str, like: &Digest) -> Result<Option<Digest>, FileError> {
        let Some(mut file) = self.store.root.open_file(path)? else { return Ok(None) };
        tree::digest_as(like.algorithm(), &mut file)
            .map(Some)
            .map_err(|error| self.store.root.error("read", path, error))
    }

    fn layers(&mut self) -> Result<(), FileError> {
        for name in self.store.root.list_text("layers")? {
            let path = format!("layers/{name}");
            let Some(diff_id) = crate::layers::diff_id_of(&name) else {
                self.problem(&path, ProblemKind::Stray, "not named by a digest");
                self.quarantine(&path)?;
                continue;
            };
            self.report.checked += 1;
            if let Some((kind, message)) = self.layer_fault(&diff_id)? {
                self.problem(format_args!("layer {diff_id}"), kind, message);
                if self.options.repair {
                    self.store.detach(&diff_id)?;
                }
                self.quarantine(&path)?;
            }
        }
        Ok(())
    }

    fn layer_fault(&self, diff_id: &Digest) -> Result<Option<(ProblemKind, String)>, FileError> {
        let root = &self.store.root;
        let path = layer_path(diff_id);
        let corrupt = |message: String| Ok(Some((ProblemKind::Corrupt, message)));
        let info = match self.store.layers().info(diff_id) {
            Ok(info) => info,
            // Collected meanwhile.
            Err(_) if !root.exists(&path)? => return Ok(None),
            Err(error) => return Ok(Some((ProblemKind::Unreadable, error.to_string()))),
        };
        if info.diff_id != *diff_id {
            return corrupt(format!("its record is of {}", info.diff_id));
        }
        if info.mode == LayerMode::Unpack {
            return self.tree_fault(&format!("{path}/fs"), &info.tree);
        }
        let (tar, index) = (format!("{path}/tar"), format!("{path}/erofs"));
        match size_of(root, &tar)? {
            Some(size) if size == info.tar_size => {}
            size => return corrupt(format!("its tar has {size:?} bytes, not {}", info.tar_size)),
        }
        if !root.exists(&index)? {
            return corrupt("its index is missing".to_owned());
        }
        if !self.options.deep {
            return Ok(None);
        }
        for (file, expected) in [(tar, diff_id), (index, &info.tree)] {
            match self.hash(&file, expected)? {
                Some(actual) if actual == *expected => {}
                actual => return corrupt(format!("{file} has digest {actual:?}, not {expected}")),
            }
        }
        Ok(None)
    }

    fn tree_fault(
        &self,
        path: &str,
        expected: &Digest,
    ) -> Result<Option<(ProblemKind, String)>, FileError> {
        let Some(tree) = self.store.root.open_directory(path)? else {
            return Ok(Some((ProblemKind::Corrupt, "its tree is missing".to_owned())));
        };
        if !self.options.deep {
            return Ok(None);
        }
        let actual =
            tree::fingerprint(tree).map_err(|error| self.store.root.error("read", path, error))?;
        let fault = (ProblemKind::Corrupt, "its tree was changed".to_owned());
        Ok((actual != *expected).then_some(fault))
    }

    fn images(&mut self) -> Result<(), FileError> {
        for digest in self.store.image_digests()? {
            self.report.checked += 1;
            let fault = match self.store.image(&digest) {
                Ok(None) => None,
                Ok(Some(record)) => self
                    .image_fault(&record.descriptor)?
                    .map(|message| (ProblemKind::Missing, message)),
                Err(error) => Some((ProblemKind::Unreadable, error.to_string())),
            };
            // Removed meanwhile: what it lost is no fault.
            let Some((kind, message)) = fault else { continue };
            if !self.store.root.exists(&image_path(&digest))? {
                continue;
            }
            self.problem(format_args!("image {digest}"), kind, message);
            if self.options.repair {
                self.forget_image(&digest)?;
            }
        }
        Ok(())
    }

    fn forget_image(&mut self, digest: &Digest) -> Result<(), FileError> {
        let mut names = Vec::new();
        for (reference, target) in self.store.refs()? {
            if target.digest == *digest && self.store.remove_ref(&reference)? {
                names.push(reference.familiar());
            }
        }
        self.quarantine(&image_path(digest))?;
        if !names.is_empty() {
            self.repaired(&format!("forgotten, with {}; load it again", names.join(", ")));
        }
        Ok(())
    }

    /// What an image lacks.
    fn image_fault(&self, image: &Descriptor) -> Result<Option<String>, FileError> {
        let Some(document) = self.document(image)? else {
            return Ok(Some(format!("its manifest {} is not here", image.digest)));
        };
        let mut pending = match document {
            Err(message) => return Ok(Some(message)),
            Ok(Document::Manifest(manifest)) => return self.manifest_fault(&manifest),
            Ok(Document::Index(index)) => index.manifests,
        };
        let mut seen = HashSet::new();
        while let Some(child) = pending.pop() {
            // An index may list platforms that were never asked for.
            if !seen.insert(child.digest.clone()) {
                continue;
            }
            match self.document(&child)? {
                None => {}
                Some(Err(message)) => return Ok(Some(message)),
                Some(Ok(Document::Index(index))) => pending.extend(index.manifests),
                Some(Ok(Document::Manifest(manifest))) => {
                    if self.store.blobs().contains(&manifest.config.digest)?
                        && let Some(message) = self.manifest_fault(&manifest)?
                    {
                        return Ok(Some(message));
                    }
                }
            }
        }
        Ok(None)
    }

    fn document(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Option<Result<Document, String>>, FileError> {
        let Some(bytes) = read(self.store, &descriptor.digest)? else { return Ok(None) };
        Ok(Some(Document::parse(&bytes).map_err(|error| {
            format!("its manifest {} cannot be understood: {error}", descriptor.digest)
        })))
    }

    fn manifest_fault(&self, manifest: &Manifest) -> Result<Option<String>, FileError> {
        let Some(config) = read(self.store, &manifest.config.digest)? else {
            return Ok(Some(format!("its config {} is not here", manifest.config.digest)));
        };
        if !hull_oci::media_type::is_image_config(&manifest.config.media_type) {
            return Ok(None);
        }
        // Layers that are not file system layers (attestations) are blobs and nothing else.
        if !manifest.layers.iter().all(|layer| hull_oci::media_type::is_layer(&layer.media_type)) {
            return Ok(None);
        }
        for (place, diff_id) in diff_ids(&config).iter().enumerate() {
            // A pushed image that never ran has its layers as they came.
            let copy = manifest.layers.get(place).map(|layer| &layer.digest);
            if !self.store.layers().contains(diff_id)?
                && !matches!(copy, Some(copy) if self.store.blobs().contains(copy)?)
            {
                return Ok(Some(format!("its layer {diff_id} is not here")));
            }
        }
        Ok(None)
    }

    /// What registries that are served from here hold beside images.
    fn repositories(&mut self) -> Result<(), FileError> {
        for name in self.store.served_repositories()? {
            let Ok(repository) = self.store.repository(name.registry(), name.repository()) else {
                continue;
            };
            for held in repository.manifests()? {
                self.report.checked += 1;
                let digest = &held.descriptor.digest;
                let fault = match self.document(&held.descriptor)? {
                    None => Some("its bytes are not here".to_owned()),
                    Some(Err(message)) => Some(message),
                    Some(Ok(Document::Index(_))) => None,
                    Some(Ok(Document::Manifest(manifest))) => self.manifest_fault(&manifest)?,
                };
                // Deleted meanwhile: what it lost is no fault.
                let Some(message) = fault else { continue };
                if !matches!(repository.manifest(digest), Ok(Some(_))) {
                    continue;
                }
                let object = format!("manifest {digest} of {name}");
                self.problem(object, ProblemKind::Missing, message);
                if self.options.repair && repository.remove_manifest(digest)? {
                    self.repaired("forgotten; push it again");
                }
            }
        }
        Ok(())
    }

    fn references(&mut self) -> Result<(), FileError> {
        for reference in self.store.reference_names()? {
            self.report.checked += 1;
            let fault = match self.store.resolve(&reference) {
                Ok(None) => continue,
                Ok(Some(target)) if self.store.root.exists(&image_path(&target.digest))? => {
                    continue;
                }
                Ok(Some(target)) => {
                    (ProblemKind::Missing, format!("image {} is not here", target.digest))
                }
                Err(error) => (ProblemKind::Unreadable, error.to_string()),
            };
            // Removed meanwhile, and its image after it.
            if matches!(self.store.resolve(&reference), Ok(None)) {
                continue;
            }
            self.problem(format_args!("reference {reference}"), fault.0, fault.1);
            if self.options.repair && self.store.remove_ref(&reference)? {
                self.repaired("removed");
            }
        }
        Ok(())
    }

    /// What is known of blobs can be had anew, so all that can be wrong is that it says nothing.
    fn knowledge(&mut self) -> Result<(), FileError> {
        for algorithm in ["sha256", "sha512"] {
            for name in self.store.root.list_text(&format!("digests/{algorithm}"))? {
                self.report.checked += 1;
                let path = format!("digests/{algorithm}/{name}");
                let fault = match format!("{algorithm}:{name}").parse::<Digest>() {
                    Err(_) => "not named by a digest",
                    Ok(digest) if self.store.provenance(&digest)?.is_none() => "it says nothing",
                    Ok(_) => continue,
                };
                // Collected meanwhile.
                if size_of(&self.store.root, &path)?.is_some() {
                    self.problem(&path, ProblemKind::Unreadable, fault);
                    self.quarantine(&path)?;
                }
            }
        }
        Ok(())
    }

    fn containers(&mut self) -> Result<(), FileError> {
        for id in self.store.root.list_text("containers")? {
            self.report.checked += 1;
            let object = format!("container {id}");
            let path = format!("containers/{id}/config.json");
            match record::load::<ContainerRecord>(&self.store.root, &path) {
                Ok(Some(container)) => {
                    for diff_id in &container.layers {
                        if !self.store.layers().contains(diff_id)?
                            && self.store.root.exists(&path)?
                        {
                            let message = format!("its layer {diff_id} is not here");
                            self.problem(&object, ProblemKind::Missing, message);
                        }
                    }
                    self.own_name(&container)?;
                }
                // Removed meanwhile, or never a container.
                Ok(None) if !self.store.root.exists(&format!("containers/{id}"))? => {}
                Ok(None) => {
                    self.problem(&object, ProblemKind::Unreadable, "it has no record");
                    self.quarantine(&format!("containers/{id}"))?;
                }
                Err(error) => self.problem(&object, ProblemKind::Unreadable, error.to_string()),
            }
        }
        Ok(())
    }

    fn own_name(&mut self, container: &ContainerRecord) -> Result<(), FileError> {
        let ContainerRecord { id, name, .. } = container;
        let root = &self.store.root;
        for _ in 0..REMOVAL_LOOKS {
            if name::owner(root, name)?.as_ref() == Some(id)
                || !root.exists(&format!("containers/{id}"))?
            {
                return Ok(());
            }
            // One that is being removed loses its name a moment before its directory.
            std::thread::sleep(Duration::from_millis(5));
        }
        let message = format!("its name {name:?} is not its own");
        self.problem(format_args!("container {id}"), ProblemKind::Missing, message);
        if self.options.repair && name::take(root, name, id)? {
            self.repaired("the name was given back");
        }
        Ok(())
    }

    fn names(&mut self) -> Result<(), FileError> {
        for name in self.store.root.list_text("names")? {
            self.report.checked += 1;
            if !self.store.is_stale_name(&name)? {
                continue;
            }
            // Between a name and its container there is a moment: look again behind the lock.
            let _lock = self.store.root.lock_exclusive()?;
            if self.store.is_stale_name(&name)? && name::owner(&self.store.root, &name)?.is_some() {
                self.problem(
                    format_args!("name {name}"),
                    ProblemKind::Stray,
                    "no container has it",
                );
                if self.options.repair && self.store.root.unlink(&format!("names/{name}"))? {
                    self.repaired("removed");
                }
            }
        }
        Ok(())
    }

    fn volumes(&mut self) -> Result<(), FileError> {
        for name in self.store.root.list_text("volumes")? {
            self.report.checked += 1;
            let fault = match (self.store.volume(&name), self.store.open_volume(&name)) {
                (Ok(_), Ok(_)) => continue,
                (Err(error), _) | (_, Err(error)) => error.to_string(),
            };
            if self.store.root.exists(&format!("volumes/{name}"))? {
                self.problem(format_args!("volume {name}"), ProblemKind::Unreadable, fault);
            }
        }
        Ok(())
    }

    fn mounts(&mut self) -> Result<(), FileError> {
        self.report.mounts = self.store.layers().mounts()?;
        for diff_id in self.report.mounts.clone() {
            if !self.store.layers().contains(&diff_id)? {
                let object = format!("mount of layer {diff_id}");
                self.problem(object, ProblemKind::Stray, "the layer is not here");
                if self.options.repair {
                    self.store.detach(&diff_id)?;
                    self.repaired("detached");
                }
            }
        }
        Ok(())
    }

    fn garbage(&mut self) -> Result<(), FileError> {
        let mut marks = Marks::default();
        marks.update(self.store)?;
        let blobs = self.store.blobs().list()?;
        let layers = self.store.layers().list()?;
        let blobs = blobs.iter().filter(|digest| !marks.has_blob(digest)).count();
        let layers = layers.iter().filter(|diff_id| !marks.has_layer(diff_id)).count();
        self.report.garbage = (blobs + layers) as u64;
        Ok(())
    }
}
