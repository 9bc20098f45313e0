//! What a server asks of those who keep its content.
//!
//! Every call blocks and comes from a thread that may wait. Content is by digest and knows no
//! repository; what a repository shows is decided by the server from the manifests it holds. The
//! life of an upload: started, perhaps left and opened again (by another process, too), then
//! committed or cancelled.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use hull_oci::{Algorithm, Descriptor, Digest};

/// Why the storage did not do it.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot do it")]
pub struct StorageError {
    /// Whether there was no room.
    pub full: bool,
    /// What happened.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Result of a call to the storage.
pub type Stored<T> = Result<T, StorageError>;

/// The bytes of a blob, open for reading.
pub trait Blob: Debug + Send + Sync {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`, both within the blob.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// An upload that is the caller's alone until it is dropped.
pub trait Upload: Debug + Send {
    /// Names it to others: letters and digits.
    fn id(&self) -> &str;

    /// Bytes so far.
    fn size(&self) -> u64;

    /// Adds bytes at the end; on an error none of them.
    fn append(&mut self, bytes: &[u8]) -> Stored<()>;

    /// The digest of all its bytes, read anew.
    fn digest(&mut self, algorithm: Algorithm) -> Stored<Digest>;

    /// Makes it a blob that its repository shows for the grace of uploads. Its bytes have this
    /// digest: the server has hashed them.
    fn commit(self: Box<Self>, digest: &Digest) -> Stored<()>;

    /// Removes it.
    fn cancel(self: Box<Self>) -> Stored<()>;
}

/// What there is under the id of an upload.
#[derive(Debug)]
pub enum Opened {
    /// No upload of this repository.
    Missing,
    /// Another request adds to it.
    Busy,
    /// It.
    Upload(Box<dyn Upload>),
}

/// A manifest that a repository holds by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// When it was pushed last.
    pub since: SystemTime,
}

/// What an upkeep of the content removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs and layers.
    pub objects: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What became of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The blob is here, and its repository shows it for the grace of uploads.
    Kept,
    /// It was not fetched. What has come of it may be gone on from.
    Failed,
    /// Somebody else fetches it.
    Busy,
}

/// Bytes by digest.
pub trait Content {
    /// Length of a blob in bytes, `None` if it is not here.
    fn stat(&self, digest: &Digest) -> Stored<Option<u64>>;

    /// Opens a blob, `None` if it is not here.
    fn open(&self, digest: &Digest) -> Stored<Option<Arc<dyn Blob>>>;

    /// The bytes of a small blob; `None` if it is not here or larger than `max`.
    fn read(&self, digest: &Digest, max: usize) -> Stored<Option<Vec<u8>>>;

    /// Keeps bytes that have this digest.
    fn put(&self, digest: &Digest, bytes: &[u8]) -> Stored<()>;

    /// Runs `work`; what it finds or puts of `digests` is not collected before it returned.
    fn keeping(&self, digests: &[Digest], work: &mut dyn FnMut() -> Stored<()>) -> Stored<()>;

    /// Keeps a blob that `work` writes to a file it is given, of which it has so many bytes already.
    /// It returns whether the file has all of the blob and nothing else; what it holds is not
    /// looked at here.
    fn fetch(
        &self,
        repository: &str,
        digest: &Digest,
        work: &mut dyn FnMut(&File, u64) -> bool,
    ) -> Stored<Fetched>;

    /// Takes a blob whose bytes are wrong out of the way.
    fn quarantine(&self, digest: &Digest) -> Stored<()>;

    /// Removes what nothing refers to, while everything else goes on.
    fn collect(&self) -> Stored<Collected>;
}

/// Blobs on their way in.
pub trait Uploads {
    /// Starts one.
    fn start_upload(&self, repository: &str) -> Stored<Box<dyn Upload>>;

    /// Goes on with one.
    fn open_upload(&self, repository: &str, id: &str) -> Stored<Opened>;

    /// Removes those to which nothing was added since `time`; returns how many are left.
    fn expire_uploads(&self, time: SystemTime) -> Stored<u64>;
}

/// Names and marks of repositories. A repository exists as long as it holds a tag or a manifest.
pub trait Repositories {
    /// All, sorted.
    fn repositories(&self) -> Stored<Vec<String>>;

    /// Tags, sorted bytewise.
    fn tags(&self, repository: &str) -> Stored<Vec<String>>;

    /// What a tag names, `None` if there is no such tag.
    fn tag(&self, repository: &str, tag: &str) -> Stored<Option<Descriptor>>;

    /// When a tag was set last.
    fn tag_time(&self, repository: &str, tag: &str) -> Stored<Option<SystemTime>>;

    /// Points a tag at a manifest that is held.
    fn set_tag(&self, repository: &str, tag: &str, manifest: &Descriptor) -> Stored<()>;

    /// Removes a tag; false if there was none.
    fn remove_tag(&self, repository: &str, tag: &str) -> Stored<bool>;

    /// Manifests it holds by digest, sorted.
    fn manifests(&self, repository: &str) -> Stored<Vec<Held>>;

    /// The manifest it holds by this digest.
    fn manifest(&self, repository: &str, digest: &Digest) -> Stored<Option<Descriptor>>;

    /// Holds a manifest by its digest. From now on all below it is kept.
    fn add_manifest(&self, repository: &str, manifest: &Descriptor) -> Stored<()>;

    /// Holds it no more; false if it did not.
    fn remove_manifest(&self, repository: &str, digest: &Digest) -> Stored<bool>;

    /// Whether a manifest was deleted by its digest, though an index may list it.
    fn is_removed(&self, repository: &str, digest: &Digest) -> Stored<bool>;

    /// Says whether it was.
    fn set_removed(&self, repository: &str, digest: &Digest, removed: bool) -> Stored<()>;

    /// All that were.
    fn removed(&self, repository: &str) -> Stored<Vec<Digest>>;

    /// Keeps a blob for the grace of uploads from now, without a manifest.
    fn add_blob(&self, repository: &str, digest: &Digest) -> Stored<()>;

    /// When that was last said of a blob.
    fn blob_time(&self, repository: &str, digest: &Digest) -> Stored<Option<SystemTime>>;

    /// Forgets it; false if it was never said.
    fn remove_blob(&self, repository: &str, digest: &Digest) -> Stored<bool>;

    /// All of which it was said.
    fn blobs(&self, repository: &str) -> Stored<Vec<(Digest, SystemTime)>>;
}

/// All of it.
pub trait Storage: Content + Uploads + Repositories + Debug + Send + Sync + 'static {}

impl<T: Content + Uploads + Repositories + Debug + Send + Sync + 'static> Storage for T {}
