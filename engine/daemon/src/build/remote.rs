//! What a build fetches: files at addresses, commits of git repositories.
//!
//! A sealed process speaks to the network, another one reads packs and archives. A commit is
//! fetched when its files are needed, which is not so if the step's result is known: a commit says
//! all that is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hull_api::ErrorKind;
use hull_attestation::{Material, image_url};
use hull_builder::ignore::Ignore;
use hull_builder::remote::GitRemote;
use hull_oci::{Algorithm, Digest, Hasher};
use hull_store::Store;
use hull_store::cache::{StatCache, WorkArea};
use hull_store::select;
use hull_transfer::{Transfer, TransferError, address_of_submodule};
use hull_worker::client::run as run_job;
use hull_worker::job::{Answer, Job, Submodule};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};

use super::context::{self, MAX_TEXT, Tree};
use super::job::unexpected;
use super::progress::cancelled;
use super::unpack;
use crate::error::ApiError;
use crate::images::{RemoteError, ResolvedImage, Stop, anonymous};
use crate::service::Engine;
use crate::worker_stream::failed;

/// Bytes of one file.
const MAX_FILE: u64 = 64 << 30;

/// Bytes that the objects of a commit may have.
const MAX_COMMIT: u64 = 16 << 30;

/// Repositories in a repository, and in those.
const MAX_SUBMODULES: usize = 256;

/// The name of a file whose address has none.
const NAMELESS: &str = "download";

/// Fetches for one build, by one process that is started when it is first needed.
pub(super) struct Fetcher<'a> {
    engine: &'a Engine,
    store: &'a Store,
    worker: &'a Path,
    area: &'a WorkArea<'a>,
    transfer: Mutex<Option<Arc<Transfer>>>,
    stop: Stop,
    /// What went into the build.
    materials: Mutex<BTreeSet<Material>>,
}

/// A file that was fetched, alone in a directory.
pub(super) struct Fetched {
    pub(super) tree: Tree,
    pub(super) name: String,
    pub(super) digest: Digest,
}

/// A commit that is known and not fetched yet.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) url: String,
    pub(super) commit: String,
    pub(super) directory: String,
    /// Whether empty directories will do for the repositories in it.
    without_submodules: bool,
    /// Whether it gets a `.git` directory.
    keep_git_dir: bool,
}

/// A build context that was fetched.
pub(super) enum Context {
    /// Files.
    Files(OwnedFd),
    /// A Dockerfile, and no files.
    Dockerfile(Vec<u8>),
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        store: &'a Store,
        worker: &'a Path,
        area: &'a WorkArea<'a>,
    ) -> Self {
        let (transfer, materials) = (Mutex::default(), Mutex::default());
        Self { engine, store, worker, area, transfer, stop: Stop::default(), materials }
    }

    /// What ends all that is fetched.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The error of a fetch, unless it was ended.
    fn failed(&self, error: TransferError) -> ApiError {
        match self.stop.is_stopped() {
            true => cancelled(),
            false => RemoteError::from(error).into(),
        }
    }

    pub(super) fn worker(&self) -> &'a Path {
        self.worker
    }

    /// What went into the build so far, sorted.
    pub(super) fn materials(&self) -> Vec<Material> {
        let materials = self.materials.lock().unwrap_or_else(PoisonError::into_inner);
        materials.iter().cloned().collect()
    }

    /// Notes an image that files come from.
    pub(super) fn note_image(&self, image: &ResolvedImage, platform: &str) {
        if let Some(name) = &image.reference {
            let digest = &image.manifest_digest;
            let url = image_url(name, platform);
            self.note(url, digest.algorithm().as_str(), digest.hex());
        }
    }

    /// Notes a file whose digest is written down.
    pub(super) fn note_promised(&self, url: &str, checksum: &str) {
        if let Some((algorithm, hex)) = checksum.split_once(':') {
            self.note(url.to_owned(), algorithm, hex);
        }
    }

    fn note(&self, uri: String, algorithm: &str, hex: &str) {
        let digest = BTreeMap::from([(algorithm.to_owned(), hex.to_owned())]);
        let mut materials = self.materials.lock().unwrap_or_else(PoisonError::into_inner);
        materials.insert(Material { uri, digest });
    }

    fn transfer(&self) -> Result<Arc<Transfer>, ApiError> {
        let mut transfer = self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(transfer) = &*transfer {
            return Ok(Arc::clone(transfer));
        }
        let program = self.engine.helper("hull-transfer")?;
        let started = Transfer::spawn(&program, &anonymous()?).map_err(RemoteError::from)?;
        let started = Arc::new(started);
        self.stop.ends(&started);
        Ok(Arc::clone(transfer.insert(started)))
    }

    /// Fetches a file. Its time is what the server says, so that the same file is the same layer.
    pub(super) fn file(&self, url: &str, checksum: Option<&str>) -> Result<Fetched, ApiError> {
        self.fetch(url, checksum, None)
    }

    /// Fetches a file, to be called `name`.
    pub(super) fn file_called(&self, url: &str, name: &str) -> Result<Fetched, ApiError> {
        self.fetch(url, None, Some(name))
    }

    fn fetch(
        &self,
        url: &str,
        checksum: Option<&str>,
        name: Option<&str>,
    ) -> Result<Fetched, ApiError> {
        let promised = checksum.map(digest_of).transpose()?;
        let mut file = self.store.blobs().temporary()?;
        let transfer = self.transfer()?;
        let told = transfer
            .download(url, MAX_FILE, file.as_fd(), &mut |_| {})
            .map_err(|error| self.failed(error).context("cannot fetch a file"))?;
        let algorithm = promised.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = hash(&mut file, algorithm)?;
        if let Some(promised) = promised.filter(|promised| *promised != digest) {
            return Err(ApiError::invalid(format!(
                "{url} has digest {digest}, --checksum says {promised}"
            )));
        }
        self.note(url.to_owned(), digest.algorithm().as_str(), digest.hex());
        let name = match name {
            Some(name) => name.to_owned(),
            None => name_of(url, told.disposition.as_deref()),
        };
        let directory = self.area.directory()?;
        let modified = told.modified.as_deref().and_then(http_date).unwrap_or(0);
        place(&file, &directory, &name, modified)?;
        let tree = Tree::of_download(directory);
        Ok(Fetched { tree, name, digest })
    }

    /// Finds out which commit is meant.
    pub(super) fn commit(
        &self,
        text: &str,
        checksum: Option<&str>,
        keep_git_dir: bool,
    ) -> Result<Commit, ApiError> {
        let remote = GitRemote::parse(text).map_err(ApiError::invalid)?;
        if !remote.url.starts_with("https://") && !remote.url.starts_with("http://") {
            return Err(ApiError::new(
                ErrorKind::Unavailable,
                format!(
                    "cannot read the repository {}: only http and https are spoken",
                    remote.url
                ),
            )
            .hint("name it by its https:// address, or fetch it and copy it from the context"));
        }
        let directory = relative(remote.directory.as_deref().unwrap_or_default())?;
        let found = self
            .transfer()?
            .git_commit(&remote.url, remote.reference.as_deref())
            .map_err(|error| self.failed(error))?;
        for promised in checksum.into_iter().chain(remote.checksum.as_deref()) {
            if !found.starts_with(&promised.to_lowercase()) {
                return Err(ApiError::invalid(format!(
                    "{text} is commit {found}, the checksum says {promised}"
                )));
            }
        }
        self.note(remote.url.clone(), "sha1", &found);
        let without_submodules = remote.submodules == Some(false);
        // A part of a commit is no repository: BuildKit leaves out .git there, too.
        let keep_git_dir =
            (keep_git_dir || remote.keep_git_dir == Some(true)) && directory.is_empty();
        Ok(Commit { url: remote.url, commit: found, directory, without_submodules, keep_git_dir })
    }

    /// The files of a commit, those of repositories in it too.
    pub(super) fn check_out(&self, commit: &Commit) -> Result<OwnedFd, ApiError> {
        let to = self.area.directory()?;
        let Commit { url, commit, directory, without_submodules, keep_git_dir } = commit;
        let root = self.check_out_into(url, commit, directory, *keep_git_dir, &to)?;
        let mut ahead = vec![(url.clone(), root)];
        if *without_submodules {
            return Ok(to);
        }
        let mut count = 0;
        while let Some((parent, Found { prefix, submodules })) = ahead.pop() {
            for submodule in submodules {
                count += 1;
                if count > MAX_SUBMODULES {
                    return Err(ApiError::invalid(format!(
                        "{url} has more than {MAX_SUBMODULES} other repositories in it"
                    )));
                }
                let path = select::join(prefix.as_bytes(), submodule.path.as_bytes());
                let address = address_of(&parent, &submodule)?;
                let place = select::open(to.as_fd(), &path, OFlags::RDONLY | OFlags::DIRECTORY)
                    .map_err(|error| ApiError::internal(&std::io::Error::from(error)))?;
                let mut found = self
                    .check_out_into(&address, &submodule.commit, "", *keep_git_dir, &place)
                    .map_err(|error| {
                        error.context(&format!("the submodule {} of {parent}", submodule.path))
                    })?;
                found.prefix = String::from_utf8_lossy(&path).into_owned();
                self.note(address.clone(), "sha1", &submodule.commit);
                ahead.push((address, found));
            }
        }
        Ok(to)
    }

    /// Writes the files of a commit into an empty directory.
    fn check_out_into(
        &self,
        url: &str,
        commit: &str,
        directory: &str,
        keep_git_dir: bool,
        to: &OwnedFd,
    ) -> Result<Found, ApiError> {
        let mut pack = self.store.blobs().temporary()?;
        let fetched = self.transfer()?.git_pack(url, commit, pack.as_fd(), &mut |_| {});
        fetched.map_err(|error| self.failed(error))?;
        pack.rewind().map_err(|error| ApiError::internal(&error))?;
        let spool = self.store.blobs().temporary()?;
        let job = Job::CheckOut {
            commit: commit.to_owned(),
            directory: directory.to_owned(),
            origin: keep_git_dir.then(|| url.to_owned()),
            max_bytes: MAX_COMMIT,
        };
        match run_job(self.worker, &job, &[pack.as_fd(), spool.as_fd(), to.as_fd()]) {
            Ok(Answer::CheckedOut { submodules, .. }) => {
                Ok(Found { prefix: String::new(), submodules })
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(failed(&error).context(&format!("cannot check out {url}"))),
        }
    }

    /// What a build is to be made from: a repository, a tar, or a Dockerfile.
    pub(super) fn context(&self, url: &str) -> Result<Context, ApiError> {
        if hull_builder::remote::Remote::of(url) == hull_builder::remote::Remote::Git {
            return Ok(Context::Files(self.check_out(&self.commit(url, None, false)?)?));
        }
        let mut file = self.store.blobs().temporary()?;
        let internal = |error: std::io::Error| ApiError::internal(&error);
        let told = self
            .transfer()?
            .download(url, MAX_FILE, file.as_fd(), &mut |_| {})
            .map_err(|error| self.failed(error))?;
        file.rewind().map_err(internal)?;
        let mut head = Vec::new();
        (&mut file).take(512).read_to_end(&mut head).map_err(internal)?;
        file.rewind().map_err(internal)?;
        if unpack::is_archive(&head) {
            let root = self.area.directory()?;
            context::unpack(self.worker, file.as_fd(), &root)?;
            return Ok(Context::Files(root));
        }
        if told.bytes > MAX_TEXT {
            return Err(ApiError::invalid(format!(
                "{url} is no archive, and has too many bytes ({}) for a Dockerfile",
                told.bytes
            )));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(internal)?;
        Ok(Context::Dockerfile(text))
    }
}

impl Drop for Fetcher<'_> {
    fn drop(&mut self) {
        self.stop.release();
    }
}

/// The submodules of a commit that was checked out below `prefix`.
struct Found {
    prefix: String,
    submodules: Vec<Submodule>,
}

/// Where a submodule is fetched from.
fn address_of(parent: &str, submodule: &Submodule) -> Result<String, ApiError> {
    let refused = |why: String| {
        ApiError::invalid(format!("the submodule {} of {parent} {why}", submodule.path))
            .hint("add ?submodules=false for empty directories in the place of submodules")
    };
    let Some(url) = &submodule.url else {
        return Err(refused("has no address in .gitmodules".to_owned()));
    };
    let address = address_of_submodule(parent, url)
        .ok_or_else(|| refused(format!("has the address {url:?}, which leads nowhere")))?;
    let secure = address.starts_with("https://");
    if !secure && !address.starts_with("http://") {
        return Err(refused(format!("is at {url:?}, and only http and https are spoken")));
    }
    if !secure && parent.starts_with("https://") {
        return Err(refused(format!("is at {url:?}: https does not lead to plain http")));
    }
    Ok(address)
}

impl Tree {
    /// A file from elsewhere, alone in `root`.
    fn of_download(root: OwnedFd) -> Self {
        Self::of_context(root, Ignore::default(), StatCache::default()).downloaded()
    }

    /// A commit that was checked out.
    pub(super) fn of_commit(root: OwnedFd) -> Self {
        Self::of_context(root, Ignore::default(), StatCache::default())
    }
}

fn digest_of(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|error| ApiError::chain(ErrorKind::Invalid, &error).context("--checksum"))
}

fn hash(file: &mut File, algorithm: Algorithm) -> Result<Digest, ApiError> {
    let internal = |error: std::io::Error| ApiError::internal(&error);
    file.rewind().map_err(internal)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(internal)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Gives an unnamed file a name in `directory`, mode 0600 and a time.
fn place(file: &File, directory: &OwnedFd, name: &str, modified: i64) -> Result<(), ApiError> {
    let internal = |error: rustix::io::Errno| ApiError::internal(&std::io::Error::from(error));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let to =
        rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)).map_err(internal)?;
    let size = file.metadata().map_err(|error| ApiError::internal(&error))?.len();
    let mut offset = 0;
    while offset < size {
        let left = usize::try_from(size - offset).unwrap_or(usize::MAX).min(1 << 30);
        let count = rustix::fs::copy_file_range(file, Some(&mut offset), &to, None, left)
            .map_err(internal)?;
        if count == 0 {
            break;
        }
    }
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    rustix::fs::futimens(&to, &Timestamps { last_access: time, last_modification: time })
        .map_err(internal)
}

/// A path within a repository: relative and clean. `..` leads out of it (CVE-2026-33748).
fn relative(directory: &str) -> Result<String, ApiError> {
    let parts: Vec<&str> =
        directory.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(ApiError::invalid(format!(
            "the directory {directory:?} leads out of the repository"
        )));
    }
    Ok(parts.join("/"))
}

/// The name of a file: the server's, that of the address, or [`NAMELESS`].
fn name_of(url: &str, disposition: Option<&str>) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = path.split_once('/').map_or("", |(_, path)| path.rsplit('/').next().unwrap_or(""));
    let named = disposition.and_then(|text| {
        let value = text.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
        value.trim_matches('"').rsplit(['/', '\\']).next().map(str::to_owned)
    });
    let name = named.unwrap_or_else(|| decoded(last));
    let plain = !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= 255
        && !name.contains(['/', '\0']);
    if plain { name } else { NAMELESS.to_owned() }
}

/// Without percent signs, as far as what they stand for is text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`. Spec: RFC 9110, 5.6.7.
fn http_date(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (url, disposition, expected) in [
            ("https://a/b/c.tar?x=1", None, "c.tar"),
            ("https://a/b%20c", None, "b c"),
            ("https://a/..%2f..%2fetc", None, NAMELESS),
            ("https://a/%2e%2e", None, NAMELESS),
            ("https://a/", None, NAMELESS),
            ("https://a", None, NAMELESS),
            ("https://a/x", Some("attachment; filename=\"y.deb\""), "y.deb"),
            ("https://a/x", Some("attachment; filename=../../etc/passwd"), "passwd"),
            ("https://a/x", Some("inline"), "x"),
        ] {
            assert_eq!(name_of(url, disposition), expected, "{url} {disposition:?}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("yesterday"), None);
    }

    /// CVE-2026-33748: the directory of a git reference leads out of the repository.
    #[test]
    fn cve_2026_33748_directories_stay_inside() {
        assert_eq!(relative("/a//b/./c/").ok().as_deref(), Some("a/b/c"));
        assert_eq!(relative("").ok().as_deref(), Some(""));
        for bad in ["..", "../x", "a/../../b", "a/.."] {
            assert!(relative(bad).is_err(), "{bad}");
        }
    }
}
