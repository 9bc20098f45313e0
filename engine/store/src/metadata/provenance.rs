//! What is known of a blob besides its bytes: what it is once uncompressed, where it came from.
//!
//! A symbolic link `digests/<algorithm>/<hex>` whose text is `<diffID or -> <size> <origin>...`:
//! made whole in one call, and replaced whole. Everything in it is a convenience: without it a
//! layer is fetched or uploaded that need not be.

use hull_oci::{Digest, Reference};
use rustix::io::Errno;

use crate::Store;
use crate::content::blob_path;
use crate::error::FileError;
use crate::layers::layer_path;
use crate::root::random_name;

/// Origins that are remembered, the newest first.
const MAX_ORIGINS: usize = 8;

/// The longest text of a symbolic link, with room to spare.
const MAX_TEXT: usize = 3000;

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// If it is a layer: the digest of its uncompressed tar.
    pub diff_id: Option<Digest>,
    /// Length in bytes.
    pub size: u64,
    /// Repositories that have it: it was pulled from them or pushed there.
    pub origins: Vec<Reference>,
}

impl Store {
    /// What is known of the blob with this digest, be it here or not. One system call.
    pub fn provenance(&self, digest: &Digest) -> Result<Option<Provenance>, FileError> {
        let path = provenance_path(digest);
        match rustix::fs::readlinkat(self.root.as_fd(), &path, Vec::new()) {
            Ok(text) => Ok(text.to_str().ok().and_then(parse)),
            Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(self.root.error("read", &path, error)),
        }
    }

    /// Remembers what was learnt of a blob: that it is this layer, that `origin`'s repository has
    /// it. What was known stays known.
    pub fn learn(
        &self,
        digest: &Digest,
        size: u64,
        diff_id: Option<&Digest>,
        origin: Option<&Reference>,
    ) -> Result<(), FileError> {
        let before = self.provenance(digest)?;
        let mut known = diff_id.cloned();
        let mut origins: Vec<_> =
            origin.map(Reference::without_tag_and_digest).into_iter().collect();
        if let Some(before) = before.clone() {
            known = known.or(before.diff_id);
            let newest = origins.first().cloned();
            origins.extend(before.origins.into_iter().filter(|old| Some(old) != newest.as_ref()));
        }
        origins.truncate(MAX_ORIGINS);
        let after = Provenance { diff_id: known, size, origins };
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        self.write_provenance(digest, &text(&after))
    }

    fn write_provenance(&self, digest: &Digest, text: &str) -> Result<(), FileError> {
        let path = provenance_path(digest);
        let between = format!("ingest/{}", random_name());
        let root = &self.root;
        // Stores of earlier versions lack the directories.
        for directory in ["digests", parent(&path)] {
            root.make_directory(directory, 0o700)?;
        }
        // Between the two calls it has no lock: keep the collection from sweeping it.
        let _lock = root.lock_shared()?;
        rustix::fs::symlinkat(text, root.as_fd(), &between)
            .map_err(|error| root.error("create", &between, error))?;
        root.rename(&between, &path).inspect_err(|_| {
            if let Err(error) = root.unlink(&between) {
                tracing::warn!(path = between, %error, "cannot remove an unfinished write");
            }
        })
    }

    /// Compressed copies of a layer that are here, with their sizes in bytes, sorted by digest.
    pub fn copies_of(&self, diff_id: &Digest) -> Result<Vec<(Digest, u64)>, FileError> {
        let mut copies = Vec::new();
        for digest in self.known_digests()? {
            let known = self.provenance(&digest)?;
            if known.is_some_and(|known| known.diff_id.as_ref() == Some(diff_id))
                && digest != *diff_id
                && let Some(size) = self.blobs().stat(&digest)?
            {
                copies.push((digest, size));
            }
        }
        Ok(copies)
    }

    /// Digests something is known of, sorted.
    pub(crate) fn known_digests(&self) -> Result<Vec<Digest>, FileError> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            for hex in self.root.list_text(&format!("digests/{algorithm}"))? {
                digests.extend(format!("{algorithm}:{hex}").parse::<Digest>());
            }
        }
        Ok(digests)
    }

    /// Whether neither the blob nor its layer is here: nothing needs to be known of it then.
    pub(crate) fn is_idle_knowledge(&self, digest: &Digest) -> Result<bool, FileError> {
        if self.root.exists(&blob_path(digest))? {
            return Ok(false);
        }
        match self.provenance(digest)?.and_then(|known| known.diff_id) {
            Some(diff_id) => Ok(!self.root.exists(&layer_path(&diff_id))?),
            None => Ok(true),
        }
    }

    /// The layer that came as the compressed bytes with this digest, if it is here. Without a
    /// lease that holds it, it may be gone right after.
    pub fn layer_of(&self, digest: &Digest) -> Result<Option<Digest>, FileError> {
        let Some(diff_id) = self.provenance(digest)?.and_then(|known| known.diff_id) else {
            return Ok(None);
        };
        Ok(self.root.exists(&layer_path(&diff_id))?.then_some(diff_id))
    }
}

pub(crate) fn provenance_path(digest: &Digest) -> String {
    format!("digests/{}/{}", digest.algorithm().as_str(), digest.hex())
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(parent, _)| parent)
}

fn text(known: &Provenance) -> String {
    let diff_id = known.diff_id.as_ref().map_or("-", Digest::as_str);
    let mut text = format!("{diff_id} {}", known.size);
    for origin in &known.origins {
        let origin = format!(" {}/{}", origin.registry(), origin.repository());
        if text.len() + origin.len() <= MAX_TEXT {
            text.push_str(&origin);
        }
    }
    text
}

fn parse(text: &str) -> Option<Provenance> {
    let mut words = text.split(' ');
    let diff_id = match words.next()? {
        "-" => None,
        digest => Some(digest.parse().ok()?),
    };
    let size = words.next()?.parse().ok()?;
    let origins = words.filter_map(|origin| {
        let (registry, repository) = origin.split_once('/')?;
        Reference::from_parts(registry, repository).ok()
    });
    Some(Provenance { diff_id, size, origins: origins.collect() })
}
