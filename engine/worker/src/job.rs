//! What a worker is asked and what it answers.
//!
//! One worker does one job. The request is one JSON message on its stdin (a unix stream socket)
//! with descriptors beside it; the answer is one JSON message back. Both are length-prefixed, see
//! `hull_sys::message`.

use hull_oci::Digest;
use serde::{Deserialize, Serialize};

/// A job, with what each of its descriptors is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// List the members of an archive (docker-archive or OCI layout as tar, possibly gzip or
    /// zstd). Descriptors: 0 = input (any readable), 1 = spool (an empty read-write file that
    /// receives the uncompressed archive). Answer: [`Answer::Archive`].
    ScanArchive {
        /// Refuse an archive that is larger than this many bytes once inflated.
        max_bytes: u64,
    },
    /// Read one layer. Descriptors: 0 = input; then for [`LayerMode::Erofs`] 1 = tar file,
    /// 2 = index file (both empty, read-write); for [`LayerMode::Unpack`] 1 = empty directory.
    /// Answer: [`Answer::Layer`].
    Layer {
        /// Where the layer's bytes begin in descriptor 0 and how many there are; `None` reads
        /// the descriptor as a stream to its end.
        range: Option<(u64, u64)>,
        /// What to make of it.
        mode: LayerMode,
        /// Bounds.
        limits: Limits,
    },
    /// Copy the content of a directory into another, with owners, modes, times, extended
    /// attributes, hard links and special files. Descriptors: 0 = source directory,
    /// 1 = destination directory. Answer: [`Answer::Copied`].
    CopyTree {
        /// Bounds.
        limits: Limits,
    },
}

/// How a layer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerMode {
    /// The verbatim tar and an EROFS index over it.
    Erofs,
    /// A directory tree with overlayfs whiteouts.
    Unpack,
}

/// Bounds on what a layer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Uncompressed bytes.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: u64,
}

/// What came of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of [`Job::ScanArchive`].
    Archive {
        /// Regular files, with where their data lies in the spool. Names are cleaned: relative,
        /// without `.` or `..`. Symlinks of docker-archive layers are resolved to their target.
        members: Vec<ArchiveMember>,
    },
    /// Of [`Job::Layer`].
    Layer(LayerReport),
    /// Of [`Job::CopyTree`].
    Copied {
        /// Entries copied.
        entries: u64,
        /// Bytes of file content copied.
        bytes: u64,
    },
    /// The job failed; nothing it wrote may be used.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// One line: what, on what.
        message: String,
    },
}

/// Why a job failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The bytes are not what they claim to be, or try something they may not.
    Invalid,
    /// A bound was passed.
    TooLarge,
    /// Reading or writing failed (full disk and the like).
    Io,
}

/// One regular file in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveMember {
    /// Cleaned relative name.
    pub name: String,
    /// Offset of its data in the spool, bytes.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// What a worker learnt of a layer while reading it.
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
    /// Entries.
    pub entries: u64,
    /// Highest user or group id in it.
    pub max_id: u32,
}
