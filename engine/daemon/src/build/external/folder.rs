//! Caches in directories of the engine's host: OCI layouts. Spec: image-spec, image-layout.md.
//!
//! Other engines may write to the same directory: what is here has its place by rename, blobs
//! before the index that leads to them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use hull_api::ErrorKind;
use hull_oci::annotation::REF_NAME;
use hull_oci::{
    Descriptor, Digest, Document, Index, Layout, MAX_MANIFEST_BYTES, Manifest, media_type,
};
use hull_store::{Lease, select};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::document::{self, ARTIFACT};
use crate::build::context;
use crate::error::ApiError;
use crate::images::{CacheDocument, Images, LayoutEntry};

/// Where blobs lie.
const BLOBS: &str = "blobs/sha256";

/// A layout.
pub(super) struct Folder {
    path: String,
    root: OwnedFd,
}

impl Folder {
    /// One that is there.
    pub(super) fn open(path: &str) -> Result<Self, ApiError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| {
            let error = io::Error::from(error);
            ApiError::chain(ErrorKind::Invalid, &error).context(&format!("cannot open {path}"))
        })?;
        Ok(Self { path: path.to_owned(), root })
    }

    /// One to write to.
    pub(super) fn create(path: &str) -> Result<Self, ApiError> {
        std::fs::create_dir_all(path).map_err(|error| {
            ApiError::chain(ErrorKind::Invalid, &error).context(&format!("cannot create {path}"))
        })?;
        let folder = Self::open(path)?;
        for name in ["blobs", BLOBS] {
            match rustix::fs::mkdirat(&folder.root, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(folder.failed("create", name, &error.into())),
            }
        }
        Ok(folder)
    }

    fn failed(&self, action: &str, name: &str, error: &io::Error) -> ApiError {
        ApiError::chain(ErrorKind::Unavailable, error)
            .context(&format!("cannot {action} {}/{name}", self.path))
    }

    fn index(&self) -> Result<Option<Index>, ApiError> {
        let Some(bytes) = context::read(&self.root, "index.json", MAX_MANIFEST_BYTES as u64)?
        else {
            return Ok(None);
        };
        Index::parse(&bytes).map(Some).map_err(|error| {
            ApiError::chain(ErrorKind::Invalid, &error)
                .context(&format!("{} is no OCI layout", self.path))
        })
    }

    /// The manifest and config of an entry.
    pub(super) fn document(&self, entry: &LayoutEntry) -> Result<CacheDocument, ApiError> {
        let descriptor = match entry {
            // One that was replaced may still be there.
            LayoutEntry::Digest(digest) => Descriptor::new("", digest.clone(), 0),
            LayoutEntry::Tag(tag) => self
                .index()?
                .into_iter()
                .flat_map(|index| index.manifests)
                .find(|one| one.annotations.get(REF_NAME) == Some(tag))
                .ok_or_else(|| {
                    ApiError::not_found(format!("{} has no cache {tag:?}", self.path))
                })?,
        };
        let bytes = self.blob(&descriptor, MAX_MANIFEST_BYTES)?;
        let parsed =
            Document::parse(&bytes).map_err(|error| ApiError::chain(ErrorKind::Invalid, &error))?;
        let manifest = match parsed {
            Document::Manifest(manifest) => *manifest,
            Document::Index(index) if document::is_of_buildkit(&index) => {
                return Err(document::of_buildkit());
            }
            Document::Index(_) => return Err(ApiError::invalid("an index is no build cache")),
        };
        let config = self.blob(&manifest.config, document::MAX_BYTES)?;
        Ok(CacheDocument { manifest, config })
    }

    /// A small blob. Size 0 is that of a descriptor made of a digest alone.
    fn blob(&self, descriptor: &Descriptor, max: usize) -> Result<Vec<u8>, ApiError> {
        let Descriptor { digest, size, .. } = descriptor;
        let bytes = match digest.algorithm() {
            hull_oci::Algorithm::Sha256 => context::read(&self.root, &place(digest), max as u64)?,
            _ => None,
        };
        let bytes =
            bytes.ok_or_else(|| ApiError::not_found(format!("{} has no {digest}", self.path)))?;
        let is_sized = *size == 0 || *size == bytes.len() as u64;
        if !is_sized || Digest::sha256(&bytes) != *digest {
            return Err(ApiError::invalid(format!("{digest} in {} is something else", self.path)));
        }
        Ok(bytes)
    }

    /// Takes a layer into the store, after a sealed worker has compared it with what it is to be.
    pub(super) fn layer(
        &self,
        images: Images<'_>,
        layer: &Descriptor,
        diff_id: &Digest,
        lease: &Lease<'_>,
    ) -> Result<(), ApiError> {
        let name = place(&layer.digest);
        let failed = |error: Errno| self.failed("open", &name, &error.into());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = select::open(self.root.as_fd(), name.as_bytes(), flags).map_err(failed)?;
        let status = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(ApiError::invalid(format!("{}/{name} is no regular file", self.path)));
        }
        // A copy of our own, which nobody changes while it is read.
        let mut copy = images.store.blobs().temporary()?;
        let copied = io::copy(&mut File::from(file).take(layer.size + 1), &mut copy)
            .map_err(|error| self.failed("read", &name, &error))?;
        if copied != layer.size {
            return Err(ApiError::invalid(format!(
                "{}/{name} has another size than {}",
                self.path, layer.size
            )));
        }
        images.take_layer(&copy, layer, diff_id, lease)
    }

    /// Writes a blob unless it is there.
    pub(super) fn put(&self, digest: &Digest, mut from: impl Read) -> Result<(), ApiError> {
        let name = place(digest);
        if rustix::fs::statat(&self.root, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok(());
        }
        self.write(&name, &mut from)
    }

    fn write(&self, name: &str, from: &mut dyn Read) -> Result<(), ApiError> {
        let failed = |error: io::Error| self.failed("write", name, &error);
        let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = select::open(self.root.as_fd(), directory.as_bytes(), flags)
            .map_err(|error| failed(error.into()))?;
        let between = format!(".hull-{}", crate::containers::random_id()?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&directory, &between, flags, Mode::from_raw_mode(0o644))
            .map_err(io::Error::from)
            .and_then(|opened| {
                let mut opened = File::from(opened);
                io::copy(from, &mut opened)?;
                opened.flush()?;
                Ok(rustix::fs::renameat(&directory, &between, &directory, file)?)
            });
        written.map_err(|error| {
            // It is not there if it could not be made.
            let _ = rustix::fs::unlinkat(&directory, &between, AtFlags::empty());
            failed(error)
        })
    }

    /// Makes `tag` lead to a manifest whose blobs are there. What the one before had alone is
    /// removed, if the layout has nothing else.
    pub(super) fn publish(&self, tag: &str, manifest: &Manifest) -> Result<(), ApiError> {
        let bytes = manifest.to_bytes();
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        self.put(&descriptor.digest, bytes.as_slice())?;
        descriptor.artifact_type = Some(ARTIFACT.to_owned());
        descriptor.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        let mut index = self.index()?.unwrap_or_else(|| Index::of(Vec::new()));
        let is_same =
            |one: &Descriptor| one.annotations.get(REF_NAME).is_some_and(|name| name == tag);
        let (before, others): (Vec<_>, Vec<_>) = index.manifests.into_iter().partition(is_same);
        index.manifests = others;
        let is_alone = index.manifests.is_empty();
        index.manifests.push(descriptor.clone());
        let layout = Layout { image_layout_version: "1.0.0".to_owned() };
        let layout = serde_json::to_vec(&layout).map_err(|error| ApiError::internal(&error))?;
        self.write("oci-layout", &mut layout.as_slice())?;
        self.write("index.json", &mut index.to_bytes().as_slice())?;
        if is_alone {
            let mut kept: HashSet<&Digest> =
                manifest.layers.iter().map(|layer| &layer.digest).collect();
            kept.extend([&manifest.config.digest, &descriptor.digest]);
            before.iter().for_each(|before| self.remove(before, &kept));
        }
        Ok(())
    }

    /// Removes what a cache consists of, but for what is kept. What cannot be removed, or is no
    /// cache of ours, stays: it does no harm.
    fn remove(&self, before: &Descriptor, kept: &HashSet<&Digest>) {
        let Ok(bytes) = self.blob(before, MAX_MANIFEST_BYTES) else { return };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else { return };
        if manifest.artifact_type.as_deref() != Some(ARTIFACT) {
            return;
        }
        let parts = manifest.layers.iter().map(|layer| &layer.digest);
        let all = parts.chain([&manifest.config.digest, &before.digest]);
        for digest in all.filter(|digest| !kept.contains(digest)) {
            let _ = rustix::fs::unlinkat(&self.root, place(digest), AtFlags::empty());
        }
    }
}

fn place(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}
