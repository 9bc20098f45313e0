//! The engine's store, as a registry server sees it.
//!
//! What is tagged `<name>/app:1` in the store is the tag `1` of the repository `app`, and the other
//! way round: what is pushed there is an image of the store like any other. Layers are not
//! unpacked by a push; whoever runs the image first has that done.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use hull_oci::{Algorithm, Descriptor, Digest};
use hull_registry::server::storage::{
    Blob, Collected, Content, Fetched, Held, Opened, Repositories, StorageError, Stored, Upload,
    Uploads,
};
use hull_store::{
    ImageRecord, OpenUpload, ReadError, Repository, SetRefError, Store, UploadRecord,
};

use crate::images::ORIGIN_PUSH;

/// How often a tag is set again when its image vanishes at the same moment.
const ATTEMPTS: u32 = 10;

/// A store, as the registry of one name.
#[derive(Debug, Clone)]
pub struct StoreStorage {
    store: Arc<Store>,
    registry: String,
}

#[derive(Debug)]
struct FileBlob {
    file: File,
    size: u64,
}

#[derive(Debug)]
struct StoreUpload {
    storage: StoreStorage,
    upload: hull_store::Upload,
}

impl StoreStorage {
    /// The registry `name` of `store`: its copies of layers stay from now on.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn new(store: Arc<Store>, name: &str) -> Stored<Self> {
        store.serve_registry(name).map_err(failed)?;
        Ok(Self { store, registry: name.to_owned() })
    }

    fn repository(&self, name: &str) -> Stored<Repository<'_>> {
        self.store.repository(&self.registry, name).map_err(failed)
    }

    /// Forgets an image that was pushed here and has no name any more: its bytes are kept by what
    /// the repository holds, if that is to be.
    fn forget(&self, digest: &Digest) -> Stored<()> {
        if let Ok(Some(record)) = self.store.image(digest)
            && record.origin == ORIGIN_PUSH
        {
            self.store.remove_unnamed_image(digest).map_err(failed)?;
        }
        Ok(())
    }
}

/// Any refusal of the store: whether the disk is full is looked up in its sources.
fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    let mut full = false;
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        full |= inner.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        });
        source = inner.source();
    }
    StorageError { full, source: Box::new(error) }
}

impl Blob for FileBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl Content for StoreStorage {
    fn stat(&self, digest: &Digest) -> Stored<Option<u64>> {
        self.store.blobs().stat(digest).map_err(failed)
    }

    fn open(&self, digest: &Digest) -> Stored<Option<Arc<dyn Blob>>> {
        let file = match self.store.blobs().open(digest) {
            Ok(file) => file,
            Err(ReadError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let size = file.metadata().map_err(failed)?.len();
        Ok(Some(Arc::new(FileBlob { file, size })))
    }

    fn read(&self, digest: &Digest, max: usize) -> Stored<Option<Vec<u8>>> {
        match self.store.blobs().read(digest, max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::NotFound(_) | ReadError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Stored<()> {
        let mut ingest = self.store.blobs().ingest_as(digest.algorithm()).map_err(failed)?;
        ingest.write_bytes(bytes).map_err(failed)?;
        ingest.commit(Some(digest)).map_err(failed)?;
        Ok(())
    }

    fn keeping(&self, digests: &[Digest], work: &mut dyn FnMut() -> Stored<()>) -> Stored<()> {
        let lease = self.store.lease().map_err(failed)?;
        for digest in digests {
            lease.add(digest).map_err(failed)?;
        }
        work()
    }

    fn fetch(
        &self,
        repository: &str,
        digest: &Digest,
        work: &mut dyn FnMut(&File, u64) -> bool,
    ) -> Stored<Fetched> {
        let mut fetched = Fetched::Failed;
        self.keeping(std::slice::from_ref(digest), &mut || {
            let Some(partial) = self.store.blobs().try_partial(digest).map_err(failed)? else {
                fetched = Fetched::Busy;
                return Ok(());
            };
            if work(partial.file(), partial.len().map_err(failed)?) {
                partial.commit().map_err(failed)?;
                self.add_blob(repository, digest)?;
                fetched = Fetched::Kept;
            }
            Ok(())
        })?;
        Ok(fetched)
    }

    fn quarantine(&self, digest: &Digest) -> Stored<()> {
        if !self.store.blobs().quarantine(digest).map_err(failed)? {
            // It is a layer's own tar, which containers may be using.
            tracing::error!(%digest, "a layer is broken: `hull system check --deep --repair`");
        }
        Ok(())
    }

    fn collect(&self) -> Stored<Collected> {
        let collected = self.store.collect().map_err(failed)?;
        for reason in &collected.blocked {
            tracing::warn!(reason, "nothing is collected: `hull system check --repair`");
        }
        let objects = (collected.blobs.len() + collected.layers.len()) as u64;
        Ok(Collected { objects, bytes: collected.bytes })
    }
}

impl Uploads for StoreStorage {
    fn start_upload(&self, repository: &str) -> Stored<Box<dyn Upload>> {
        let (registry, repository) = (self.registry.clone(), repository.to_owned());
        let about = UploadRecord { registry, repository };
        let upload = self.store.blobs().start_upload(&about).map_err(failed)?;
        Ok(Box::new(StoreUpload { storage: self.clone(), upload }))
    }

    fn open_upload(&self, repository: &str, id: &str) -> Stored<Opened> {
        match self.store.blobs().open_upload(id).map_err(failed)? {
            OpenUpload::Missing => Ok(Opened::Missing),
            OpenUpload::Busy => Ok(Opened::Busy),
            OpenUpload::Open(upload) => {
                let about = upload.record();
                if about.registry != self.registry || about.repository != repository {
                    return Ok(Opened::Missing);
                }
                Ok(Opened::Upload(Box::new(StoreUpload { storage: self.clone(), upload })))
            }
        }
    }

    fn expire_uploads(&self, time: SystemTime) -> Stored<u64> {
        let blobs = self.store.blobs();
        let mut left = 0;
        for known in blobs.uploads().map_err(failed)? {
            match blobs.open_upload(&known.id).map_err(failed)? {
                OpenUpload::Open(upload) if upload.record().registry != self.registry => {}
                OpenUpload::Open(_) if known.since < time => {
                    blobs.cancel_upload(&known.id).map_err(failed)?;
                }
                OpenUpload::Open(_) | OpenUpload::Busy => left += 1,
                // One that was killed between its directory and its file.
                OpenUpload::Missing if known.since < time => {
                    blobs.cancel_upload(&known.id).map_err(failed)?;
                }
                OpenUpload::Missing => {}
            }
        }
        Ok(left)
    }
}

impl Upload for StoreUpload {
    fn id(&self) -> &str {
        self.upload.id()
    }

    fn size(&self) -> u64 {
        self.upload.size()
    }

    fn append(&mut self, bytes: &[u8]) -> Stored<()> {
        self.upload.append(bytes).map_err(failed)
    }

    fn digest(&mut self, algorithm: Algorithm) -> Stored<Digest> {
        self.upload.digest(algorithm).map_err(failed)
    }

    fn commit(self: Box<Self>, digest: &Digest) -> Stored<()> {
        let Self { storage, upload } = *self;
        let repository = upload.record().repository.clone();
        storage.keeping(std::slice::from_ref(digest), &mut || {
            storage.store.blobs().commit_upload(&upload, digest).map_err(failed)?;
            storage.add_blob(&repository, digest)
        })
    }

    fn cancel(self: Box<Self>) -> Stored<()> {
        self.storage.store.blobs().cancel_upload(self.upload.id()).map_err(failed)?;
        Ok(())
    }
}

impl Repositories for StoreStorage {
    fn repositories(&self) -> Stored<Vec<String>> {
        self.store.repositories(&self.registry).map_err(failed)
    }

    fn tags(&self, repository: &str) -> Stored<Vec<String>> {
        self.repository(repository)?.tags().map_err(failed)
    }

    fn tag(&self, repository: &str, tag: &str) -> Stored<Option<Descriptor>> {
        self.repository(repository)?.tag(tag).map_err(failed)
    }

    fn tag_time(&self, repository: &str, tag: &str) -> Stored<Option<SystemTime>> {
        self.repository(repository)?.tag_time(tag).map_err(failed)
    }

    fn set_tag(&self, repository: &str, tag: &str, manifest: &Descriptor) -> Stored<()> {
        let repository = self.repository(repository)?;
        let Some(reference) = repository.reference(tag) else { return Ok(()) };
        let before = repository.tag(tag).map_err(failed)?;
        let record = ImageRecord {
            descriptor: manifest.clone(),
            created: jiff::Timestamp::now().to_string(),
            origin: ORIGIN_PUSH.to_owned(),
        };
        let mut attempts = 0;
        loop {
            self.store.put_image(&record).map_err(failed)?;
            match self.store.set_ref(&reference, manifest) {
                Err(SetRefError::MissingImage(_)) if attempts < ATTEMPTS => attempts += 1,
                result => break result.map_err(failed)?,
            }
        }
        // The record may have gone, unnamed, before the name was there.
        self.store.put_image(&record).map_err(failed)?;
        match before {
            Some(before) if before.digest != manifest.digest => self.forget(&before.digest),
            _ => Ok(()),
        }
    }

    fn remove_tag(&self, repository: &str, tag: &str) -> Stored<bool> {
        let repository = self.repository(repository)?;
        let Some(reference) = repository.reference(tag) else { return Ok(false) };
        let before = repository.tag(tag).map_err(failed)?;
        let removed = self.store.remove_ref(&reference).map_err(failed)?;
        if let Some(before) = before.filter(|_| removed) {
            self.forget(&before.digest)?;
        }
        Ok(removed)
    }

    fn manifests(&self, repository: &str) -> Stored<Vec<Held>> {
        let held = self.repository(repository)?.manifests().map_err(failed)?;
        let held = held.into_iter();
        Ok(held.map(|it| Held { descriptor: it.descriptor, since: it.since }).collect())
    }

    fn manifest(&self, repository: &str, digest: &Digest) -> Stored<Option<Descriptor>> {
        self.repository(repository)?.manifest(digest).map_err(failed)
    }

    fn add_manifest(&self, repository: &str, manifest: &Descriptor) -> Stored<()> {
        self.repository(repository)?.add_manifest(manifest).map_err(failed)
    }

    fn remove_manifest(&self, repository: &str, digest: &Digest) -> Stored<bool> {
        self.repository(repository)?.remove_manifest(digest).map_err(failed)
    }

    fn is_removed(&self, repository: &str, digest: &Digest) -> Stored<bool> {
        self.repository(repository)?.is_removed(digest).map_err(failed)
    }

    fn set_removed(&self, repository: &str, digest: &Digest, removed: bool) -> Stored<()> {
        self.repository(repository)?.set_removed(digest, removed).map_err(failed)
    }

    fn removed(&self, repository: &str) -> Stored<Vec<Digest>> {
        self.repository(repository)?.removed().map_err(failed)
    }

    fn add_blob(&self, repository: &str, digest: &Digest) -> Stored<()> {
        self.repository(repository)?.add_blob(digest).map_err(failed)
    }

    fn blob_time(&self, repository: &str, digest: &Digest) -> Stored<Option<SystemTime>> {
        self.repository(repository)?.blob_time(digest).map_err(failed)
    }

    fn remove_blob(&self, repository: &str, digest: &Digest) -> Stored<bool> {
        self.repository(repository)?.remove_blob(digest).map_err(failed)
    }

    fn blobs(&self, repository: &str) -> Stored<Vec<(Digest, SystemTime)>> {
        self.repository(repository)?.blobs().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_store::StoreOptions;

    #[test]
    fn the_store_does_what_a_storage_must() {
        let folder = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        hull_registry::server::suite::suite(&|| {
            number.set(number.get() + 1);
            let store = Store::open(StoreOptions {
                data_root: folder.path().join(number.get().to_string()),
                exec_root: folder.path().join("run"),
                layer_mode: Some(hull_store::LayerMode::Unpack),
            });
            Arc::new(StoreStorage::new(Arc::new(store.unwrap()), "localhost:5000").unwrap())
        });
    }
}
