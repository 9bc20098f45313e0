//! What every [`Storage`] must do, and one in memory to try the server on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hull_oci::{Algorithm, Descriptor, Digest, Hasher};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_RANGE, HeaderValue, RANGE};

use super::access::{Presented, Scope, TokenKey};
use super::range::{self, Part};
use super::refusal::Refusal;
use super::route::{self, Route};

use super::storage::{
    Blob, Collected, Content, Fetched, Held, Opened, Repositories, Storage, StorageError, Stored,
    Upload, Uploads,
};

/// Runs `check` on a storage of its own each time; `make` makes an empty one.
pub fn suite(make: &dyn Fn() -> Arc<dyn Storage>) {
    for check in [content, fetches, uploads, tags, manifests, marks, kept] {
        check(&*make());
    }
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::of(hull_oci::media_type::OCI_MANIFEST, bytes)
}

/// A manifest of a config that is here, as bytes.
fn manifest(storage: &dyn Storage, name: &str) -> (Descriptor, Vec<u8>, Digest) {
    let config = format!("{{\"name\":\"{name}\"}}").into_bytes();
    let about = Descriptor::of("application/vnd.example", &config);
    let bytes = hull_oci::Manifest::of(about.clone(), Vec::new()).to_bytes();
    storage.put(&about.digest, &config).expect("a config is put");
    storage.put(&Digest::sha256(&bytes), &bytes).expect("a manifest is put");
    (descriptor(&bytes), bytes, about.digest)
}

fn content(storage: &dyn Storage) {
    let bytes = b"some bytes";
    let digest = Digest::sha256(bytes);
    assert_eq!(storage.stat(&digest).expect("stat"), None);
    assert!(storage.open(&digest).expect("open").is_none());
    assert_eq!(storage.read(&digest, 99).expect("read"), None);
    storage.put(&digest, bytes).expect("put");
    storage.put(&digest, bytes).expect("put again");
    assert_eq!(storage.stat(&digest).expect("stat"), Some(10));
    assert_eq!(storage.read(&digest, 10).expect("read").expect("it is here"), bytes);
    assert_eq!(storage.read(&digest, 9).expect("read"), None);
    let blob = storage.open(&digest).expect("open").expect("it is here");
    let mut part = [0; 4];
    blob.read_at(&mut part, 5).expect("a part");
    assert_eq!((blob.size(), &part), (10, b"byte"));
    storage.quarantine(&digest).expect("quarantine");
    assert_eq!(storage.stat(&digest).expect("stat"), None);
}

fn fetches(storage: &dyn Storage) {
    let digest = Digest::sha256(b"first second");
    let fetch = |bytes: &[u8], all: bool| {
        let write = &mut |file: &File, had: u64| {
            let rest = usize::try_from(had).map_or(&[][..], |had| &bytes[had..]);
            file.write_all_at(rest, had).expect("a file takes bytes");
            all
        };
        storage.fetch("team/app", &digest, write).expect("fetch")
    };
    assert_eq!(fetch(b"first ", false), Fetched::Failed);
    assert_eq!(storage.stat(&digest).expect("stat"), None);
    assert_eq!(fetch(b"first second", true), Fetched::Kept);
    assert_eq!(storage.read(&digest, 99).expect("read").expect("it is here"), b"first second");
    assert!(storage.blob_time("team/app", &digest).expect("time").is_some());
}

fn uploads(storage: &dyn Storage) {
    let mut upload = storage.start_upload("team/app").expect("start");
    let id = upload.id().to_owned();
    upload.append(b"first ").expect("append");
    assert!(matches!(storage.open_upload("team/app", &id).expect("open"), Opened::Busy));
    drop(upload);
    for (repository, id) in
        [("team/other", id.as_str()), ("team/app", "none"), ("team/app", "../x")]
    {
        let opened = storage.open_upload(repository, id).expect("open");
        assert!(matches!(opened, Opened::Missing), "{repository} {id}");
    }
    let Opened::Upload(mut upload) = storage.open_upload("team/app", &id).expect("open") else {
        panic!("the upload is there");
    };
    assert_eq!(upload.size(), 6);
    upload.append(b"second").expect("append");
    let digest = upload.digest(Algorithm::Sha512).expect("digest");
    upload.commit(&digest).expect("commit");
    assert_eq!(storage.read(&digest, 99).expect("read").expect("it is here"), b"first second");
    assert!(storage.blob_time("team/app", &digest).expect("time").is_some());
    assert!(matches!(storage.open_upload("team/app", &id).expect("open"), Opened::Missing));

    let upload = storage.start_upload("team/app").expect("start");
    let id = upload.id().to_owned();
    upload.cancel().expect("cancel");
    assert!(matches!(storage.open_upload("team/app", &id).expect("open"), Opened::Missing));
    drop(storage.start_upload("team/app").expect("start"));
    assert_eq!(storage.expire_uploads(SystemTime::UNIX_EPOCH).expect("expire"), 1);
    let later = SystemTime::now() + std::time::Duration::from_secs(9);
    assert_eq!(storage.expire_uploads(later).expect("expire"), 0);
}

fn tags(storage: &dyn Storage) {
    let (first, ..) = manifest(storage, "first");
    let (second, ..) = manifest(storage, "second");
    assert!(storage.tags("team/app").expect("tags").is_empty());
    for held in [&first, &second] {
        storage.add_manifest("team/app", held).expect("add");
    }
    for (tag, target) in [("b", &first), ("a", &first), ("B", &second)] {
        storage.set_tag("team/app", tag, target).expect("set");
    }
    assert_eq!(storage.tags("team/app").expect("tags"), ["B", "a", "b"]);
    storage.set_tag("team/app", "a", &second).expect("move");
    let target = storage.tag("team/app", "a").expect("tag").expect("it is set");
    assert_eq!(target.digest, second.digest);
    assert!(storage.tag_time("team/app", "a").expect("time").is_some());
    assert_eq!(storage.tag("team/app", "none").expect("tag"), None);
    assert_eq!(storage.tag("team/app", "../x").expect("tag"), None);
    assert!(storage.remove_tag("team/app", "a").expect("remove"));
    assert!(!storage.remove_tag("team/app", "a").expect("remove"));
    assert_eq!(storage.repositories().expect("names"), ["team/app"]);
}

fn manifests(storage: &dyn Storage) {
    let (held, ..) = manifest(storage, "held");
    assert!(storage.manifests("app").expect("manifests").is_empty());
    storage.add_manifest("app", &held).expect("add");
    let found = storage.manifests("app").expect("manifests");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].descriptor, held);
    assert_eq!(storage.manifest("app", &held.digest).expect("manifest"), Some(held.clone()));
    assert_eq!(storage.manifest("other", &held.digest).expect("manifest"), None);
    assert_eq!(storage.repositories().expect("names"), ["app"]);
    assert!(storage.remove_manifest("app", &held.digest).expect("remove"));
    assert!(!storage.remove_manifest("app", &held.digest).expect("remove"));
    assert!(storage.repositories().expect("names").is_empty());
}

fn marks(storage: &dyn Storage) {
    let digest = Digest::sha256(b"a blob");
    assert_eq!(storage.blob_time("app", &digest).expect("time"), None);
    storage.add_blob("app", &digest).expect("add");
    assert!(storage.blob_time("app", &digest).expect("time").is_some());
    assert_eq!(storage.blob_time("other", &digest).expect("time"), None);
    assert_eq!(storage.blobs("app").expect("blobs").len(), 1);
    assert!(storage.remove_blob("app", &digest).expect("remove"));
    assert!(!storage.remove_blob("app", &digest).expect("remove"));
    storage.set_removed("app", &digest, true).expect("set");
    assert!(storage.is_removed("app", &digest).expect("is"));
    assert_eq!(storage.removed("app").expect("all"), std::slice::from_ref(&digest));
    storage.set_removed("app", &digest, false).expect("set");
    storage.set_removed("app", &digest, false).expect("set again");
    assert!(storage.removed("app").expect("all").is_empty());
}

fn kept(storage: &dyn Storage) {
    let (held, _, config) = manifest(storage, "kept");
    let (stray, ..) = manifest(storage, "stray");
    storage.add_manifest("app", &held).expect("add");
    let uploaded = Digest::sha256(b"uploaded");
    storage.put(&uploaded, b"uploaded").expect("put");
    storage.add_blob("app", &uploaded).expect("mark");
    let leased = Digest::sha256(b"leased");
    let mut collected = Collected::default();
    let digests = std::slice::from_ref(&leased);
    storage
        .keeping(digests, &mut || {
            storage.put(&leased, b"leased")?;
            collected = storage.collect()?;
            Ok(())
        })
        .expect("work under a lease");
    assert!(collected.objects >= 1);
    for (digest, here) in [
        (&held.digest, true),
        (&config, true),
        (&uploaded, true),
        (&leased, true),
        (&stray.digest, false),
    ] {
        assert_eq!(storage.stat(digest).expect("stat").is_some(), here, "{digest}");
    }
    storage.collect().expect("collect");
    assert_eq!(storage.stat(&leased).expect("stat"), None);
    storage.remove_manifest("app", &held.digest).expect("remove");
    storage.collect().expect("collect");
    assert_eq!(storage.stat(&config).expect("stat"), None);
}

/// Reads what a client says in the head of a request, one thing a line: path, query, `Range`,
/// `Content-Range`, `Authorization`. What is left out is not there.
///
/// # Errors
/// The message of the refusal.
pub fn read_head(text: &str) -> Result<(), String> {
    const SIZE: u64 = 5000;
    let refused = |refusal: Refusal| refusal.message().to_owned();
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let route = Route::parse(line()).map_err(refused)?;
    assert!(!route.label().is_empty());
    for (name, value) in route::query(Some(line())) {
        assert_eq!(route::percent_decoded(&route::percent_encoded(&value)), value);
        if name == "scope" {
            Scope::parse(&value);
        }
    }
    let mut headers = HeaderMap::new();
    for name in [RANGE, CONTENT_RANGE, AUTHORIZATION] {
        let text = line();
        if !text.is_empty() {
            let value = HeaderValue::from_str(text).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
    }
    if let Part::Bytes(first, end) = range::part(&headers, SIZE) {
        assert!(first < end && end <= SIZE, "{first} {end}");
    }
    if let Some((_, count)) = range::chunk(&headers).map_err(refused)? {
        assert_ne!(count, 0);
    }
    if let Presented::Token(token) = Presented::read(&headers).map_err(refused)? {
        assert!(TokenKey::generate("fuzz").read(&token).is_none(), "a forged token was taken");
    }
    Ok(())
}

/// A storage that is gone with its process.
#[derive(Debug, Default)]
pub struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<Digest, Arc<Vec<u8>>>,
    leased: HashMap<Digest, usize>,
    uploads: HashMap<String, Pending>,
    repositories: BTreeMap<String, Repository>,
    started: u64,
}

#[derive(Debug, Default)]
struct Repository {
    tags: BTreeMap<String, (Descriptor, SystemTime)>,
    manifests: BTreeMap<Digest, Held>,
    blobs: BTreeMap<Digest, SystemTime>,
    removed: HashSet<Digest>,
}

#[derive(Debug)]
struct Pending {
    repository: String,
    bytes: Vec<u8>,
    open: bool,
    since: SystemTime,
}

/// The in-memory storage behind a pointer, so that its uploads can reach it.
#[derive(Debug, Clone, Default)]
pub struct InMemory(Arc<Memory>);

#[derive(Debug)]
struct MemoryUpload {
    memory: Arc<Memory>,
    id: String,
    size: u64,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blob for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let part = self.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}

impl Content for InMemory {
    fn stat(&self, digest: &Digest) -> Stored<Option<u64>> {
        Ok(self.0.state().blobs.get(digest).map(|bytes| bytes.len() as u64))
    }

    fn open(&self, digest: &Digest) -> Stored<Option<Arc<dyn Blob>>> {
        Ok(self.0.state().blobs.get(digest).map(|bytes| Arc::clone(bytes) as Arc<dyn Blob>))
    }

    fn read(&self, digest: &Digest, max: usize) -> Stored<Option<Vec<u8>>> {
        let state = self.0.state();
        let found = state.blobs.get(digest).filter(|bytes| bytes.len() <= max);
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    fn put(&self, digest: &Digest, bytes: &[u8]) -> Stored<()> {
        self.0.state().blobs.insert(digest.clone(), Arc::new(bytes.to_vec()));
        Ok(())
    }

    fn keeping(&self, digests: &[Digest], work: &mut dyn FnMut() -> Stored<()>) -> Stored<()> {
        for digest in digests {
            *self.0.state().leased.entry(digest.clone()).or_default() += 1;
        }
        let done = work();
        for digest in digests {
            *self.0.state().leased.entry(digest.clone()).or_default() -= 1;
        }
        done
    }

    fn fetch(
        &self,
        repository: &str,
        digest: &Digest,
        work: &mut dyn FnMut(&File, u64) -> bool,
    ) -> Stored<Fetched> {
        let failed = |error: io::Error| StorageError { full: false, source: Box::new(error) };
        let path =
            std::env::temp_dir().join(format!("fetch-{}-{}", std::process::id(), digest.hex()));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(failed)?;
        std::fs::remove_file(path).map_err(failed)?;
        if !work(&file, 0) {
            return Ok(Fetched::Failed);
        }
        let size = file.metadata().map_err(failed)?.len();
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        self.put(digest, &bytes)?;
        self.add_blob(repository, digest)?;
        Ok(Fetched::Kept)
    }

    fn quarantine(&self, digest: &Digest) -> Stored<()> {
        self.0.state().blobs.remove(digest);
        Ok(())
    }

    fn collect(&self) -> Stored<Collected> {
        let mut state = self.0.state();
        let mut kept: HashSet<Digest> = HashSet::new();
        let leased = state.leased.iter().filter(|(_, count)| **count > 0);
        kept.extend(leased.map(|(digest, _)| digest.clone()));
        let mut pending = Vec::new();
        for repository in state.repositories.values() {
            pending.extend(repository.manifests.keys().cloned());
            pending.extend(repository.tags.values().map(|(target, _)| target.digest.clone()));
            kept.extend(repository.blobs.keys().cloned());
        }
        while let Some(digest) = pending.pop() {
            if !kept.insert(digest.clone()) {
                continue;
            }
            let bytes = state.blobs.get(&digest).cloned().unwrap_or_default();
            if let Ok(summary) = super::summary::Summary::parse(&bytes) {
                kept.extend(summary.blobs().map(|blob| blob.digest.clone()));
                pending.extend(summary.listed().iter().map(|child| child.digest.clone()));
            }
        }
        let before = state.blobs.len();
        state.blobs.retain(|digest, _| kept.contains(digest));
        Ok(Collected { objects: (before - state.blobs.len()) as u64, bytes: 0 })
    }
}

impl Uploads for InMemory {
    fn start_upload(&self, repository: &str) -> Stored<Box<dyn Upload>> {
        let mut state = self.0.state();
        state.started += 1;
        let id = format!("{:032x}", state.started);
        let (repository, since) = (repository.to_owned(), SystemTime::now());
        let pending = Pending { repository, bytes: Vec::new(), open: true, since };
        state.uploads.insert(id.clone(), pending);
        Ok(Box::new(MemoryUpload { memory: Arc::clone(&self.0), id, size: 0 }))
    }

    fn open_upload(&self, repository: &str, id: &str) -> Stored<Opened> {
        let mut state = self.0.state();
        match state.uploads.get_mut(id) {
            Some(pending) if pending.repository != repository => Ok(Opened::Missing),
            None => Ok(Opened::Missing),
            Some(pending) if pending.open => Ok(Opened::Busy),
            Some(pending) => {
                pending.open = true;
                let (id, size) = (id.to_owned(), pending.bytes.len() as u64);
                let memory = Arc::clone(&self.0);
                Ok(Opened::Upload(Box::new(MemoryUpload { memory, id, size })))
            }
        }
    }

    fn expire_uploads(&self, time: SystemTime) -> Stored<u64> {
        let mut state = self.0.state();
        state.uploads.retain(|_, pending| pending.open || pending.since >= time);
        Ok(state.uploads.len() as u64)
    }
}

impl Upload for MemoryUpload {
    fn id(&self) -> &str {
        &self.id
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn append(&mut self, bytes: &[u8]) -> Stored<()> {
        if let Some(pending) = self.memory.state().uploads.get_mut(&self.id) {
            pending.bytes.extend_from_slice(bytes);
            self.size += bytes.len() as u64;
        }
        Ok(())
    }

    fn digest(&mut self, algorithm: Algorithm) -> Stored<Digest> {
        let mut hasher = Hasher::new(algorithm);
        if let Some(pending) = self.memory.state().uploads.get(&self.id) {
            hasher.update(&pending.bytes);
        }
        Ok(hasher.finish())
    }

    fn commit(self: Box<Self>, digest: &Digest) -> Stored<()> {
        let mut state = self.memory.state();
        if let Some(pending) = state.uploads.remove(&self.id) {
            state.blobs.insert(digest.clone(), Arc::new(pending.bytes));
            let repository = state.repositories.entry(pending.repository).or_default();
            repository.blobs.insert(digest.clone(), SystemTime::now());
        }
        Ok(())
    }

    fn cancel(self: Box<Self>) -> Stored<()> {
        self.memory.state().uploads.remove(&self.id);
        Ok(())
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        if let Some(pending) = self.memory.state().uploads.get_mut(&self.id) {
            pending.open = false;
        }
    }
}

impl InMemory {
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Repository) -> T) -> T {
        let mut state = self.0.state();
        let found = work(state.repositories.entry(name.to_owned()).or_default());
        state.repositories.retain(|_, repository| !repository.is_empty());
        found
    }
}

impl Repository {
    fn is_empty(&self) -> bool {
        self.tags.is_empty()
            && self.manifests.is_empty()
            && self.blobs.is_empty()
            && self.removed.is_empty()
    }
}

impl Repositories for InMemory {
    fn repositories(&self) -> Stored<Vec<String>> {
        let state = self.0.state();
        let holds = |it: &Repository| !it.tags.is_empty() || !it.manifests.is_empty();
        let found = state.repositories.iter().filter(|(_, repository)| holds(repository));
        Ok(found.map(|(name, _)| name.clone()).collect())
    }

    fn tags(&self, repository: &str) -> Stored<Vec<String>> {
        Ok(self.with(repository, |it| it.tags.keys().cloned().collect()))
    }

    fn tag(&self, repository: &str, tag: &str) -> Stored<Option<Descriptor>> {
        Ok(self.with(repository, |it| it.tags.get(tag).map(|(target, _)| target.clone())))
    }

    fn tag_time(&self, repository: &str, tag: &str) -> Stored<Option<SystemTime>> {
        Ok(self.with(repository, |it| it.tags.get(tag).map(|(_, time)| *time)))
    }

    fn set_tag(&self, repository: &str, tag: &str, manifest: &Descriptor) -> Stored<()> {
        let target = (manifest.clone(), SystemTime::now());
        self.with(repository, |it| it.tags.insert(tag.to_owned(), target));
        Ok(())
    }

    fn remove_tag(&self, repository: &str, tag: &str) -> Stored<bool> {
        Ok(self.with(repository, |it| it.tags.remove(tag).is_some()))
    }

    fn manifests(&self, repository: &str) -> Stored<Vec<Held>> {
        Ok(self.with(repository, |it| it.manifests.values().cloned().collect()))
    }

    fn manifest(&self, repository: &str, digest: &Digest) -> Stored<Option<Descriptor>> {
        Ok(self.with(repository, |it| it.manifests.get(digest).map(|held| held.descriptor.clone())))
    }

    fn add_manifest(&self, repository: &str, manifest: &Descriptor) -> Stored<()> {
        let held = Held { descriptor: manifest.clone(), since: SystemTime::now() };
        self.with(repository, |it| it.manifests.insert(manifest.digest.clone(), held));
        Ok(())
    }

    fn remove_manifest(&self, repository: &str, digest: &Digest) -> Stored<bool> {
        Ok(self.with(repository, |it| it.manifests.remove(digest).is_some()))
    }

    fn is_removed(&self, repository: &str, digest: &Digest) -> Stored<bool> {
        Ok(self.with(repository, |it| it.removed.contains(digest)))
    }

    fn set_removed(&self, repository: &str, digest: &Digest, removed: bool) -> Stored<()> {
        self.with(repository, |it| match removed {
            true => it.removed.insert(digest.clone()),
            false => it.removed.remove(digest),
        });
        Ok(())
    }

    fn removed(&self, repository: &str) -> Stored<Vec<Digest>> {
        Ok(self.with(repository, |it| it.removed.iter().cloned().collect()))
    }

    fn add_blob(&self, repository: &str, digest: &Digest) -> Stored<()> {
        self.with(repository, |it| it.blobs.insert(digest.clone(), SystemTime::now()));
        Ok(())
    }

    fn blob_time(&self, repository: &str, digest: &Digest) -> Stored<Option<SystemTime>> {
        Ok(self.with(repository, |it| it.blobs.get(digest).copied()))
    }

    fn remove_blob(&self, repository: &str, digest: &Digest) -> Stored<bool> {
        Ok(self.with(repository, |it| it.blobs.remove(digest).is_some()))
    }

    fn blobs(&self, repository: &str) -> Stored<Vec<(Digest, SystemTime)>> {
        Ok(self
            .with(repository, |it| it.blobs.iter().map(|(d, time)| (d.clone(), *time)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_does_what_a_storage_must() {
        suite(&|| Arc::new(InMemory::default()));
    }
}
