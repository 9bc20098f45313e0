//! The members of an archive, lying uncompressed in a spool file.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use hull_oci::{Algorithm, Digest, Hasher};
use hull_worker::job::ArchiveMember;

use super::LoadError;

/// A piece of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Range {
    /// Where it begins, bytes.
    pub(super) offset: u64,
    /// How long it is, bytes.
    pub(super) size: u64,
}

/// A scanned archive.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) spool: File,
    members: HashMap<String, Range>,
}

impl Archive {
    /// Of what a worker found in `spool`. Of two members with one name the later counts, as for
    /// anyone who unpacks the archive.
    pub(super) fn new(spool: File, members: Vec<ArchiveMember>) -> Self {
        let range = |member: &ArchiveMember| Range { offset: member.offset, size: member.size };
        let members = members.into_iter().map(|member| (member.name.clone(), range(&member)));
        Self { spool, members: members.collect() }
    }

    /// Where the data of `name` lies.
    pub(super) fn find(&self, name: &str) -> Option<Range> {
        self.members.get(name.trim_start_matches("./")).copied()
    }

    /// Where the blob of an OCI layout lies.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Range> {
        self.find(&format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex()))
    }

    /// The bytes of `range`, which is called `name` in errors.
    pub(super) fn read(&self, name: &str, range: Range, max: usize) -> Result<Vec<u8>, LoadError> {
        let size = usize::try_from(range.size).unwrap_or(usize::MAX);
        if size > max {
            return Err(LoadError::TooLarge { name: name.to_owned(), size: range.size, max });
        }
        let mut bytes = vec![0; size];
        self.spool.read_exact_at(&mut bytes, range.offset).map_err(LoadError::Spool)?;
        Ok(bytes)
    }
}

/// The digest of `bytes` by the algorithm of `like`.
pub(super) fn digest_as(like: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(like);
    hasher.update(bytes);
    hasher.finish()
}
