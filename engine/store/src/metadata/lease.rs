//! Leases: what keeps content from a collection while work is under way.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;

use hull_oci::Digest;
use rustix::fs::{Mode, OFlags};

use crate::Store;
use crate::error::FileError;
use crate::root::{Root, random_name, uninterrupted};

/// Keeps blobs and layers from a collection until it is dropped or its process dies.
///
/// Add a digest *before* looking whether it is here or committing it: what is found or committed
/// after that stays.
#[derive(Debug)]
pub struct Lease<'a> {
    root: &'a Root,
    path: String,
    file: File,
}

impl Store {
    /// Starts a lease that holds nothing yet.
    pub fn lease(&self) -> Result<Lease<'_>, FileError> {
        let root = &self.root;
        let path = format!("leases/{}", random_name());
        let flags = OFlags::CREATE
            | OFlags::EXCL
            | OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC;
        // A collection takes a lease nobody has locked for a dead one.
        let _lock = root.lock_shared()?;
        let file = rustix::fs::openat(root.as_fd(), &path, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| root.error("create", &path, error))?;
        // A collection that looks whether it is locked has it for a moment: wait for that.
        uninterrupted(|| file.lock()).map_err(|error| root.error("lock", &path, error))?;
        Ok(Lease { root, path, file })
    }
}

impl Lease<'_> {
    /// Holds a blob or a layer, whether it is here yet or not.
    pub fn add(&self, digest: &Digest) -> Result<(), FileError> {
        // A collection reads the leases and removes what none holds under the exclusive lock:
        // this line is seen by it or comes after its removals.
        let _lock = self.root.lock_shared()?;
        (&self.file)
            .write_all(format!("{digest}\n").as_bytes())
            .map_err(|error| self.root.error("write", &self.path, error))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.root.unlink(&self.path) {
            // Without its lock it holds nothing, and the next collection removes it.
            tracing::debug!(path = self.path, %error, "cannot remove a lease");
        }
    }
}

/// The digests in the text of a lease. A line that was not written to its end holds nothing: its
/// writer never got further.
pub(crate) fn digests_of(text: &[u8], into: &mut HashSet<Digest>) {
    for line in text.split(|byte| *byte == b'\n') {
        into.extend(std::str::from_utf8(line).ok().and_then(|line| line.parse::<Digest>().ok()));
    }
}
