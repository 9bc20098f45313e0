//! Images into an archive that Docker, Podman and any reader of OCI layouts can load.
//!
//! 1. [`plan`] finds the images by name and every document and layer they are made of, and holds
//!    them by a lease.
//! 2. [`Saving::write`] streams them: `blobs/`, then `index.json`, `manifest.json` and
//!    `oci-layout`. Layers are the bytes that came, manifests are not rewritten. The same images
//!    give the same archive, byte for byte.

mod plan;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use hull_oci::{ArchiveImage, Descriptor, Digest, Index, archive_manifest};
use hull_store::layer::tar::{Entry, EntryKind, Time, Writer};
use hull_store::{Lease, ReadError, Store};

use super::failure::{OfStore, StoreError};
use super::resolve::ResolveError;
use super::select::SelectError;
use crate::error::ApiError;
use crate::events;
use hull_api::ErrorKind;

pub(super) use plan::{plan, plan_named};

/// Why images were not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Nothing was asked for.
    #[error("no image given to save")]
    Nothing,
    /// A name leads to no image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A part of an image is not kept.
    #[error("{digest}, a part of image {name}, is not kept as it came")]
    Missing {
        /// What it was asked for by.
        name: String,
        /// The part.
        digest: Digest,
        /// What it is, if it could be had again.
        part: Option<Box<Descriptor>>,
    },
    /// A part of an image is not as long as its manifest says.
    #[error("{digest} has {actual} bytes, its manifest says {expected}")]
    Size {
        /// The part.
        digest: Digest,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// The archive could not be written, or a part not be read.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

impl<E: Into<StoreError> + OfStore> From<E> for SaveError {
    fn from(error: E) -> Self {
        Self::Resolve(ResolveError::from(error))
    }
}

impl From<SelectError> for SaveError {
    fn from(error: SelectError) -> Self {
        Self::Resolve(ResolveError::Select(error))
    }
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> Self {
        let kind = match error {
            SaveError::Resolve(error) => return error.into(),
            SaveError::Nothing => ErrorKind::Invalid,
            SaveError::Missing { .. } => {
                return Self::chain(ErrorKind::Unavailable, &error)
                    .hint("load or import the image again, then save it");
            }
            SaveError::Size { .. } | SaveError::Write(_) => ErrorKind::Internal,
        };
        Self::chain(kind, &error)
    }
}

impl super::Images<'_> {
    /// Writes an archive of the image whose manifest or index has this digest, under these names.
    ///
    /// # Errors
    /// As [`SaveError`] says.
    pub(crate) fn write_archive(
        &self,
        digest: &str,
        names: &[hull_oci::Reference],
        output: impl Write,
    ) -> Result<(), ApiError> {
        let saving = plan_named(self.store, digest, names)?;
        Ok(saving.write(self.store, output)?)
    }
}

/// What to save, found and held.
#[derive(Debug)]
pub(super) struct Saving<'s> {
    /// Keeps a collection from what is being read.
    _lease: Lease<'s>,
    index: Vec<Descriptor>,
    images: Vec<ArchiveImage>,
    /// IDs and labels of the images.
    ids: Vec<(Digest, BTreeMap<String, String>)>,
    /// Every document, config and layer, with its length in bytes.
    blobs: BTreeMap<Digest, u64>,
}

impl Saving<'_> {
    /// Writes the archive.
    ///
    /// # Errors
    /// [`SaveError::Write`]; the archive is then cut short.
    pub(super) fn write(&self, store: &Store, output: impl Write) -> Result<(), SaveError> {
        let mut tar = Writer::new(output);
        for directory in self.directories() {
            tar.entry(&entry(&directory, EntryKind::Directory, 0)).map_err(SaveError::Write)?;
        }
        let mut buffer = vec![0; 256 << 10];
        for (digest, &size) in &self.blobs {
            let file = store.blobs().open(digest)?;
            tar.entry(&entry(&blob_path(digest), EntryKind::File, size))
                .and_then(|()| copy(&mut tar, file, &mut buffer))
                .map_err(SaveError::Write)?;
        }
        let index = Index::of(self.index.clone()).to_bytes();
        let manifest = archive_manifest(&self.images);
        for (name, bytes) in [
            ("index.json", index.as_slice()),
            ("manifest.json", &manifest),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ] {
            tar.entry(&entry(name, EntryKind::File, bytes.len() as u64))
                .and_then(|()| tar.data(bytes))
                .map_err(SaveError::Write)?;
        }
        tar.finish().map(drop).map_err(SaveError::Write)
    }

    /// Records that they were saved.
    pub(super) fn tell(&self, store: &Store) {
        for (id, labels) in &self.ids {
            let id = id.to_string();
            events::happened_in(store, &events::image(&id, labels, "save", &id));
        }
    }

    fn directories(&self) -> Vec<String> {
        let mut algorithms: Vec<_> =
            self.blobs.keys().map(|digest| digest.algorithm().as_str()).collect();
        algorithms.dedup();
        let below = algorithms.into_iter().map(|algorithm| format!("blobs/{algorithm}"));
        std::iter::once("blobs".to_owned()).chain(below).collect()
    }
}

fn copy(tar: &mut Writer<impl Write>, mut file: impl Read, buffer: &mut [u8]) -> io::Result<()> {
    while tar.data_left() > 0 {
        match file.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => tar.data(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

fn entry(name: &str, kind: EntryKind, size: u64) -> Entry {
    let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    Entry {
        name: name.as_bytes().to_vec(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        size,
        data_offset: 0,
        header_offset: 0,
        xattrs: Vec::new(),
    }
}

/// A blob that is named by what is being saved.
fn missing(name: &str, error: ReadError) -> SaveError {
    match error {
        ReadError::NotFound(digest) => {
            SaveError::Missing { name: name.to_owned(), digest, part: None }
        }
        error => error.into(),
    }
}
