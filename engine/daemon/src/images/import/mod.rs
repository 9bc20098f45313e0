//! An image out of one root file system tar.

mod changes;
mod health;
mod words;

pub use changes::ChangeError;
pub(super) use changes::apply;
pub(super) use health::duration;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_api::ErrorKind;
use hull_oci::{Algorithm, Digest, History, ImageConfig, Platform, RootFs, RuntimeConfig};
use hull_store::{LayerIngest, LayerMode, LayerReport};
use hull_worker::client::WorkerError;
use hull_worker::job::{Answer, Job};

use super::failure::{self, OfStore, StoreError};
use super::made::{Made, Received};
use super::tag::{TagError, new_name};
use super::{Images, ORIGIN_IMPORT, now, worker};
use crate::error::ApiError;

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Name to give; without one the image is only known by its ID.
    pub repository: Option<String>,
    /// Tag of the name.
    pub tag: Option<String>,
    /// Commit message; `Imported from -` if empty.
    pub message: String,
    /// Dockerfile instructions to apply to the config.
    pub changes: Vec<String>,
    /// What it runs on; this host's if absent.
    pub platform: Option<Platform>,
}

/// Why a root file system was not imported. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] TagError),
    /// A change cannot be applied.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The input cannot be read or kept.
    #[error("cannot receive the root file system")]
    Receive(#[source] std::io::Error),
    /// There is no input.
    #[error("the root file system to import is empty: not a single byte came")]
    Empty,
    /// The tar cannot be read.
    #[error("cannot read the root file system")]
    Layer(#[from] WorkerError),
    /// The worker answered another question.
    #[error("the worker gave an answer of the wrong kind")]
    Answer,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<StoreError> + OfStore> From<E> for ImportError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        let kind = match error {
            ImportError::Name(error) => return error.into(),
            ImportError::Change(_) | ImportError::Empty => ErrorKind::Invalid,
            ImportError::Receive(ref source) => failure::of_io(source),
            ImportError::Layer(ref source) => failure::of_worker(source),
            ImportError::Answer => ErrorKind::Internal,
            ImportError::Store(ref source) => source.kind(),
        };
        Self::chain(kind, &error)
    }
}

impl Images<'_> {
    /// Makes an image of the tar that `input` yields: a file or the read end of a pipe, plain,
    /// gzip, zstd, xz or bzip2. Returns the image ID.
    ///
    /// # Errors
    /// See [`ImportError`]. On an error nothing is kept.
    pub fn import(
        &self,
        input: BorrowedFd<'_>,
        options: &ImportOptions,
    ) -> Result<Digest, ImportError> {
        let name = match &options.repository {
            Some(repository) => Some(new_name(repository, options.tag.as_deref())?),
            None => None,
        };
        let runtime = changes::apply(RuntimeConfig::default(), &options.changes)?;
        let labels = runtime.labels.clone();
        let received = self.receive(input)?;
        let lease = self.store.lease()?;
        let config = config(options, runtime, &received.report.diff_id).to_bytes();
        let layers = vec![self.keep_layer(&lease, received)?];
        let (name_given, origin) = (name.as_ref(), ORIGIN_IMPORT);
        let id = self.keep(&lease, Made { config: &config, layers, name: name_given, origin })?;
        let text = id.to_string();
        if let Some(name) = name {
            self.happened(&text, &labels, "tag", &name.familiar());
        }
        self.happened(&text, &labels, "import", &text);
        Ok(id)
    }

    /// Has a worker read the input.
    ///
    /// A plain tar that will be kept as it is goes straight through; everything else is spooled
    /// first, because its bytes are kept too and its size bounds what it may grow to.
    pub(super) fn receive(&self, input: BorrowedFd<'_>) -> Result<Received<'_>, ImportError> {
        let mut input = File::from(input.try_clone_to_owned().map_err(ImportError::Receive)?);
        let mut head = Vec::new();
        (&mut input).take(6).read_to_end(&mut head).map_err(ImportError::Receive)?;
        if head.is_empty() {
            return Err(ImportError::Empty);
        }
        let ingest = self.store.layers().prepare()?;
        if ingest.mode() == LayerMode::Erofs && !is_compressed(&head) {
            let report = self.pass_through(&ingest, &head, input)?;
            return Ok(Received { ingest, report, copy: None });
        }
        let mut spool = self.store.blobs().temporary()?;
        let size = spool
            .write_all(&head)
            .and_then(|()| std::io::copy(&mut input, &mut spool))
            .and_then(|rest| spool.rewind().map(|()| rest + head.len() as u64))
            .map_err(ImportError::Receive)?;
        let (spool, size) = match is_of_archives(&head) {
            true => self.inflated(&spool, size)?,
            false => (spool, size),
        };
        let report = self.read_layer(&ingest, spool.as_fd(), Some(size))?;
        let held = ingest.mode() == LayerMode::Erofs && report.compression.is_empty();
        Ok(Received { ingest, report, copy: Some(spool).filter(|_| !held) })
    }

    /// The plain bytes of what came in a compression that layers cannot have.
    fn inflated(&self, spool: &File, size: u64) -> Result<(File, u64), ImportError> {
        let plain = self.store.blobs().temporary()?;
        let job = Job::Inflate { max_bytes: worker::limits(size).max_bytes };
        match worker::run(self.worker, &job, &[spool.as_fd(), plain.as_fd()])? {
            Answer::Packed { bytes, .. } => Ok((plain, bytes)),
            _ => Err(ImportError::Answer),
        }
    }

    fn pass_through(
        &self,
        ingest: &LayerIngest<'_>,
        head: &[u8],
        mut input: File,
    ) -> Result<LayerReport, ImportError> {
        let (reader, writer) = std::io::pipe().map_err(ImportError::Receive)?;
        let mut writer = File::from(OwnedFd::from(writer));
        std::thread::scope(|scope| {
            let feeder = scope.spawn(move || {
                writer.write_all(head)?;
                std::io::copy(&mut input, &mut writer)
            });
            let read = self.read_layer(ingest, reader.as_fd(), None);
            drop(reader);
            let fed = feeder.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
            match (read, fed) {
                // A worker that refuses the tar leaves the rest unread: its reason is the one.
                (Err(error), _) => Err(error),
                (Ok(_), Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    Err(ImportError::Receive(error))
                }
                (Ok(report), _) => Ok(report),
            }
        })
    }

    fn read_layer(
        &self,
        ingest: &LayerIngest<'_>,
        input: BorrowedFd<'_>,
        size: Option<u64>,
    ) -> Result<LayerReport, ImportError> {
        let job = Job::Layer {
            range: size.map(|size| (0, size)),
            mode: ingest.mode(),
            algorithm: Algorithm::Sha256,
            limits: worker::limits(size.unwrap_or(worker::MAX_BYTES)),
        };
        let outputs = ingest.descriptors_for(size.unwrap_or(worker::MAX_BYTES))?;
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(input).chain(outputs.iter().map(AsFd::as_fd)).collect();
        match worker::run(self.worker, &job, &descriptors)? {
            Answer::Layer(report) => Ok(report),
            _ => Err(ImportError::Answer),
        }
    }
}

/// Whether bytes begin as gzip, zstd, xz or bzip2 do.
fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || is_of_archives(head)
}

/// Whether bytes begin as xz or bzip2 do.
fn is_of_archives(head: &[u8]) -> bool {
    head.starts_with(b"\xfd7zXZ\0") || head.starts_with(b"BZh")
}

/// The config that Docker writes for an import.
fn config(options: &ImportOptions, runtime: RuntimeConfig, diff_id: &Digest) -> ImageConfig {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let comment = match options.message.as_str() {
        "" => "Imported from -".to_owned(),
        message => message.to_owned(),
    };
    let created = Some(now());
    ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        author: String::new(),
        comment: comment.clone(),
        created: created.clone(),
        config: Some(runtime),
        rootfs: RootFs { diff_ids: vec![diff_id.clone()], ..RootFs::default() },
        history: vec![History { created, comment, ..History::default() }],
        build_cache: None,
    }
}
