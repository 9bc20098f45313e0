//! Layers: a tar stream, compressed or not, to a directory tree that overlayfs can use.
//!
//! [`read_layer`] reads one layer once and leaves either the verbatim tar with an EROFS index
//! over it, or an unpacked tree. Both come from the same tree in memory, so that they
//! agree on what a layer means: names, links, whiteouts, duplicates.
//!
//! Not here: where layers are kept, names, digests to compare with, mounts. Everything works on
//! descriptors it is given, so that it can run in a process that may open nothing.
//!
//! What a layer may not bring along: names that leave it, `..`, NUL bytes, extended attributes
//! other than `user.*`, `security.capability` and POSIX ACLs, the character device 0:0 (overlayfs
//! takes it for a deleted file; a layer says that with `.wh.`), sparse members.

pub(crate) mod aligned;
mod archive;
mod assemble;
mod beneath;
mod compare;
mod compress;
pub mod copy;
mod decompress;
mod erofs;
mod error;
mod extract;
mod inside;
mod make;
mod pack;
mod path;
mod pipe;
mod read;
pub mod tar;
mod tree;
mod unpack;
mod xattr;

use hull_oci::Digest;
use serde::{Deserialize, Serialize};

pub use archive::{ArchiveMember, scan_archive};
pub use assemble::{Item, assemble, read_items, write_items};
pub use compare::{Stubs, changes, pack_layer};
pub use compress::{Compressed, Method, compress};
pub use copy::{Copied, copy_tree};
pub use decompress::inflate;
pub use error::{FailureKind, LayerError};
pub use extract::{Extract, Extracted, extract};
pub use inside::{Place, PlaceStat, Refusal, read_place, stat_place};
pub use make::make_layer;
pub use pack::{Packed, pack_place, pack_tree};
pub use path::{LayerPath, PathError};
pub use read::{Input, Target, read_layer};

/// Bounds on what a layer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Uncompressed bytes.
    pub max_bytes: u64,
    /// Entries, counting the directories they imply.
    pub max_entries: u64,
}

/// What was learnt of a layer while reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the bytes as they came (equal to `diff_id` for a plain tar).
    pub digest: Digest,
    /// Bytes as they came.
    pub size: u64,
    /// Bytes of the uncompressed tar.
    pub tar_size: u64,
    /// How it was compressed: `""`, `gzip` or `zstd`.
    pub compression: String,
    /// Entries of the tar.
    pub entries: u64,
    /// Highest user or group id in it, also in ACLs.
    pub max_id: u32,
    /// The layer hides everything below it (`.wh..wh..opq` in its root). overlayfs does not look
    /// for the mark on a root: whoever stacks layers leaves out the ones below.
    #[serde(default)]
    pub opaque: bool,
    /// Digest of the EROFS index, in EROFS mode: the same tar always gives the same
    /// index, so a damaged one can be found and made again.
    #[serde(default)]
    pub index: Option<Digest>,
}
