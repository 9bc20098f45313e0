//! Trees that files of a build come from.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hull_api::ErrorKind;
use hull_builder::ignore::Ignore;
use hull_oci::Digest;
use hull_store::Store;
use hull_store::cache::StatCache;
use hull_store::select::{self, Entry, Found, Identity, SelectError, Verdict};
use hull_worker::job::{Answer, ExtractOptions, Job};
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::ApiError;

/// Bytes that a context may hold.
const MAX_BYTES: u64 = 1 << 40;

/// Bytes of a Dockerfile or a `.dockerignore`.
pub(super) const MAX_TEXT: u64 = 1 << 20;

/// A tree, and which of it may be taken.
#[derive(Debug)]
pub(super) struct Tree {
    /// Its root, open for reading.
    pub(super) root: OwnedFd,
    /// What is left out.
    pub(super) ignore: Ignore,
    /// Whether files keep their owners.
    pub(super) owners: bool,
    /// Whether it is a file that was fetched from an address.
    pub(super) is_download: bool,
    known: Mutex<StatCache>,
}

impl Tree {
    /// A tree of which nothing is left out and files keep their owners: a stage or an image.
    pub(super) fn of_image(root: OwnedFd) -> Self {
        let (ignore, known) = (Ignore::default(), Mutex::default());
        Self { root, ignore, owners: true, is_download: false, known }
    }

    /// A context: its files belong to root.
    pub(super) fn of_context(root: OwnedFd, ignore: Ignore, known: StatCache) -> Self {
        Self { root, ignore, owners: false, is_download: false, known: Mutex::new(known) }
    }

    /// The same, as a file that was fetched from an address.
    pub(super) fn downloaded(self) -> Self {
        Self { is_download: true, ..self }
    }

    /// What `pattern` names, without what `exclude` says of paths below it.
    pub(super) fn take(&self, pattern: &str, exclude: &Ignore) -> Result<Vec<Found>, ApiError> {
        let filter = |path: &[u8], directory: bool| verdict(&self.ignore, path, directory);
        let found =
            select::select(self.root.as_fd(), pattern, &filter).map_err(|error| refused(&error))?;
        Ok(without(found, exclude, |one| match one.is_directory() {
            true => b"",
            false => &one.name,
        }))
    }

    /// The same for `--parents`: what `pattern`, in which `**` crosses slashes, names below `base`;
    /// and how many parts of the names are those of `base`.
    pub(super) fn take_deep(
        &self,
        base: &str,
        pattern: &str,
        exclude: &Ignore,
    ) -> Result<(Vec<Found>, usize), ApiError> {
        let filter = |path: &[u8], directory: bool| verdict(&self.ignore, path, directory);
        let found = select::select_deep(self.root.as_fd(), base, pattern, &filter)
            .map_err(|error| refused(&error))?;
        let parts = select::clean(base.as_bytes());
        let count = parts.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).count();
        Ok((without(found, exclude, |one| split_after(&one.named, count).1), count))
    }

    /// A digest of what was taken.
    pub(super) fn digest(&self, found: &[Found]) -> Result<Digest, ApiError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = Identity { owners: self.owners };
        select::digest(self.root.as_fd(), found, identity, &mut known)
            .map_err(|error| refused(&error))
    }

    /// Keeps what was learnt of its files for the next time.
    pub(super) fn keep(&self, store: &Store) -> Result<(), ApiError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(store.keep_stat_cache(&known)?)
    }
}

/// What was found without what `exclude` says of it; `place` is where something that was found is
/// for its patterns.
fn without(mut found: Vec<Found>, exclude: &Ignore, place: impl Fn(&Found) -> &[u8]) -> Vec<Found> {
    if exclude.is_empty() {
        return found;
    }
    let excludes = |path: &[u8]| exclude.excludes(&String::from_utf8_lossy(path));
    for one in &mut found {
        let place = place(one).to_vec();
        let mut kept: Vec<Entry> = Vec::new();
        // From the deepest: a directory stays if something below it does, which was the last one.
        for entry in std::mem::take(&mut one.below).into_iter().rev() {
            let is_needed = select::is_directory(&entry.stat)
                && kept.last().is_some_and(|last| {
                    last.path.strip_prefix(&*entry.path).is_some_and(|rest| rest.starts_with(b"/"))
                });
            if is_needed || !excludes(&select::join(&place, &entry.path)) {
                kept.push(entry);
            }
        }
        kept.reverse();
        one.below = kept;
    }
    found.retain(|one| one.is_directory() || !excludes(place(one)));
    found
}

/// Splits a clean path after so many of its parts.
pub(super) fn split_after(path: &[u8], parts: usize) -> (&[u8], &[u8]) {
    if parts == 0 {
        return (b"", path);
    }
    match path.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(parts - 1) {
        Some((slash, _)) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

/// The content of the file that `path` leads to beneath `root`.
pub(super) fn read(root: &OwnedFd, path: &str, max: u64) -> Result<Option<Vec<u8>>, ApiError> {
    use std::io::Read as _;
    let failed =
        |error: std::io::Error| ApiError::internal(&error).context(&format!("cannot read {path}"));
    let real = match select::real_path(root.as_fd(), path.as_bytes()) {
        Ok(real) => real,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let file = select::open(root.as_fd(), &real, OFlags::RDONLY | OFlags::NONBLOCK)
        .map_err(|error| failed(error.into()))?;
    let status = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
    let kind = rustix::fs::FileType::from_raw_mode(status.st_mode);
    if kind != rustix::fs::FileType::RegularFile {
        return Err(ApiError::invalid(format!("{path} is no regular file")));
    }
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(file).take(max + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(ApiError::invalid(format!("{path} is larger than {max} bytes")));
    }
    Ok(Some(bytes))
}

fn verdict(ignore: &Ignore, path: &[u8], directory: bool) -> Verdict {
    if ignore.is_empty() {
        return Verdict::Take;
    }
    let text = String::from_utf8_lossy(path);
    let mut level = ignore.root();
    for (end, _) in text.match_indices('/') {
        level = level.child(&text[..end]);
    }
    level = level.child(&text);
    match (level.is_excluded(), directory && level.may_include_below()) {
        (false, _) => Verdict::Take,
        (true, true) => Verdict::Enter,
        (true, false) => Verdict::Skip,
    }
}

fn refused(error: &SelectError) -> ApiError {
    let text = error.to_string();
    let invalid = |hint: &str| ApiError::invalid(text.clone()).hint(hint);
    match error {
        SelectError::NotFound(_) => {
            invalid("paths are those of the build context, or of what --from names")
        }
        SelectError::Excluded(_) => invalid("see the .dockerignore of the build context"),
        SelectError::Pattern(_) | SelectError::TooMany => ApiError::invalid(text),
        SelectError::File { .. } => ApiError::new(ErrorKind::Unavailable, text),
    }
}

/// Opens a directory of the engine's host.
pub(super) fn directory(path: &str) -> Result<OwnedFd, ApiError> {
    if !path.starts_with('/') {
        return Err(ApiError::invalid(format!("the build context {path:?} is no absolute path")));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| {
        let error = std::io::Error::from(error);
        ApiError::chain(ErrorKind::Invalid, &error)
            .context(&format!("cannot use {path} as build context"))
    })
}

/// The name under which digests of a directory's files are kept.
pub(super) fn cache_name(root: &OwnedFd, path: &str) -> String {
    let identity = rustix::fs::fstat(root).map(|status| (status.st_dev, status.st_ino));
    format!("{path} {identity:?}")
}

/// Unpacks a context that comes as a tar into the empty `directory`.
pub(super) fn unpack(
    worker: &Path,
    input: BorrowedFd<'_>,
    directory: &OwnedFd,
) -> Result<u64, ApiError> {
    let options = ExtractOptions { max_bytes: MAX_BYTES, ..ExtractOptions::default() };
    let job = Job::Extract { path: "/".to_owned(), options, userns: false };
    let answer =
        hull_worker::client::run(worker, &job, &[directory.as_fd(), input]).map_err(|error| {
            crate::worker_stream::failed(&error).context("cannot unpack the build context")
        })?;
    match answer {
        Answer::Extracted { bytes, .. } => Ok(bytes),
        other => Err(ApiError::new(
            ErrorKind::Internal,
            format!("cannot unpack the build context: unexpected answer {other:?}"),
        )),
    }
}
