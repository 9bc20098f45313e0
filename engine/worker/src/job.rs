//! What a worker is asked and what it answers.
//!
//! One worker does one job. The request is one JSON message on its stdin (a unix stream socket)
//! with descriptors beside it; the answer is one JSON message back. Both are length-prefixed, see
//! `hull_sys::message`.

pub use hull_attestation::{OsRelease, Package};
pub use hull_oci::Algorithm;
pub use hull_store::LayerMode;
pub use hull_store::layer::{
    ArchiveMember, Compressed, FailureKind, LayerReport, Limits, Method, PlaceStat, Refusal,
};
use serde::{Deserialize, Serialize};

/// A job, with what each of its descriptors is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// List the members of an archive (docker-archive or OCI layout as tar, possibly gzip,
    /// zstd, xz or bzip2). Descriptors: 0 = input (any readable), 1 = spool (an empty read-write file that
    /// receives the uncompressed archive). Answer: [`Answer::Archive`].
    ScanArchive {
        /// Refuse an archive that is larger than this many bytes once inflated.
        max_bytes: u64,
    },
    /// Write the plain bytes of something compressed by gzip, zstd, xz or bzip2. Descriptors:
    /// 0 = input, 1 = output. Answer: [`Answer::Packed`].
    Inflate {
        /// Refuse what is larger than this many bytes once inflated.
        max_bytes: u64,
    },
    /// Read one layer. Descriptors: 0 = input; then for [`LayerMode::Erofs`] 1 = tar file,
    /// 2 = index file (both empty, read-write); for [`LayerMode::Unpack`] 1 = empty directory.
    /// Answer: [`Answer::Layer`].
    Layer {
        /// Where the layer's bytes begin in descriptor 0 and how many there are; `None` reads
        /// the descriptor as a stream to its end. A range neither uses nor moves the
        /// descriptor's position, so that several workers may read one file.
        range: Option<(u64, u64)>,
        /// What to make of it.
        mode: LayerMode,
        /// Of the digest that tells the bytes as they come.
        algorithm: Algorithm,
        /// Bounds.
        limits: Limits,
    },
    /// Compress a layer's tar. Descriptors: 0 = a file, 1 = output (an empty file). Answer:
    /// [`Answer::Compressed`].
    Compress {
        /// Bytes of the tar, from the file's begin.
        size: u64,
        /// How.
        method: Method,
        /// The method's own level; `None` is the usual one.
        level: Option<i32>,
        /// On how many threads. The result does not depend on it.
        threads: usize,
    },
    /// Copy the content of a directory into another, with owners, modes, times, extended
    /// attributes, hard links and special files. Descriptors: 0 = source directory,
    /// 1 = empty destination directory, which also gets the source's own attributes. Both open
    /// for reading, not `O_PATH`. Answer: [`Answer::Copied`].
    CopyTree {
        /// Bounds.
        limits: Limits,
    },
    /// Write what a directory holds as a tar. Descriptors: 0 = directory, 1 = output. Answer:
    /// [`Answer::Packed`].
    PackTree,
    /// Tell what is at a place. Descriptors: 0 = root directory, 1 = user namespace if there is
    /// one. Answer: [`Answer::Place`] or [`Answer::Refused`].
    StatPlace {
        /// Path inside the root.
        path: String,
        /// Be the root of the user namespace in descriptor 1.
        userns: bool,
    },
    /// Write what is at a place as a tar. Descriptors: 0 = root directory, 1 = output, 2 = user
    /// namespace if there is one. Answer: [`Answer::Packed`] or [`Answer::Refused`].
    PackPlace {
        /// Path inside the root.
        path: String,
        /// First part of the names in the archive, `/` for names that begin with one; the path's
        /// own last part if absent.
        name: Option<String>,
        /// Be the root of the user namespace in descriptor 2.
        userns: bool,
    },
    /// Write the bytes of a regular file. Descriptors: 0 = root directory, 1 = output, 2 = user
    /// namespace if there is one. Answer: [`Answer::Packed`] or [`Answer::Refused`].
    ReadPlace {
        /// Path inside the root; links are followed.
        path: String,
        /// Refuse a file that is larger, bytes.
        max_bytes: u64,
        /// Be the root of the user namespace in descriptor 2.
        userns: bool,
    },
    /// Extract a tar, plain or compressed, into the directory at a place. Descriptors: 0 = root
    /// directory, 1 = input, 2 = user namespace if there is one. Answer: [`Answer::Extracted`] or
    /// [`Answer::Refused`].
    Extract {
        /// Path inside the root.
        path: String,
        /// How.
        options: ExtractOptions,
        /// Be the root of the user namespace in descriptor 2.
        userns: bool,
    },
    /// Write what a container changed as a layer's tar. Descriptors: 0 = upper directory of its
    /// overlay, 1 = a view of what lies below it, 2 = output. Answer: [`Answer::Packed`].
    PackLayer {
        /// Absolute paths where the engine made something to mount on.
        stubs: Vec<String>,
    },
    /// Make a layer of what a step of a build changed. Descriptors: 0 = upper directory of its
    /// overlay, 1 = a view of what lies below it; then as for [`Job::Layer`] from 1, and for
    /// [`LayerMode::Unpack`] a file that receives the tar. Nothing is on disk for certain
    /// afterwards. Answer: [`Answer::Layer`].
    StepLayer {
        /// Absolute paths where the engine made something to mount on.
        stubs: Vec<String>,
        /// No time in the layer is later than this, seconds since 1970.
        latest: Option<i64>,
        /// What to make of it.
        mode: LayerMode,
        /// Bounds.
        limits: Limits,
    },
    /// Make a layer of what a list says ([`hull_store::layer::Item`]). Descriptors: 0 = tree,
    /// 1 = a view of what lies below the layer, 2 = the list; then as for [`Job::StepLayer`] from
    /// 2. Nothing is on disk for certain afterwards. Answer: [`Answer::Layer`].
    ListLayer {
        /// No time in the layer is later than this, seconds since 1970.
        latest: Option<i64>,
        /// What to make of it.
        mode: LayerMode,
        /// Bounds.
        limits: Limits,
    },
    /// Write what a list says as a tar. Descriptors: 0 to 2 as of [`Job::ListLayer`], 3 = output.
    /// Answer: [`Answer::Packed`].
    PackList {
        /// No time in it is later than this, seconds since 1970.
        latest: Option<i64>,
    },
    /// List the packages of a root file system. Descriptors: 0 = root directory. Answer:
    /// [`Answer::Packages`].
    Packages,
    /// Write the files of a git commit. Descriptors: 0 = pack, 1 = spool (an empty read-write
    /// file), 2 = empty directory. Answer: [`Answer::CheckedOut`].
    CheckOut {
        /// The commit, or a tag of it: 40 hex digits.
        commit: String,
        /// The directory of it that is wanted, relative and clean; empty is all.
        directory: String,
        /// The address of the repository, if a `.git` directory is to be made. Only for all of a
        /// commit.
        origin: Option<String>,
        /// Bytes that its objects may have.
        max_bytes: u64,
    },
    /// List what a container changed as the Engine API does. Descriptors as of
    /// [`Job::PackLayer`]; the output is JSON. Answer: [`Answer::Packed`].
    Changes {
        /// Absolute paths where the engine made something to mount on.
        stubs: Vec<String>,
    },
}

/// A place in a repository where a commit of another one belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submodule {
    /// Relative to what was checked out, and clean.
    pub path: String,
    /// The commit: 40 hex digits.
    pub commit: String,
    /// The repository as `.gitmodules` has it, if it says anything.
    pub url: Option<String>,
}

/// How [`Job::Extract`] extracts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExtractOptions {
    /// A directory may not take the place of anything else, nor anything else that of a directory.
    pub keep_kinds: bool,
    /// Owner and group of everything, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Everything belongs to whoever extracts.
    pub own: bool,
    /// The first part of all names, and what to put there.
    pub rename: Option<(String, String)>,
    /// Bytes that the archive may hold once inflated.
    pub max_bytes: u64,
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
    /// Of [`Job::Compress`].
    Compressed(Compressed),
    /// Of [`Job::CopyTree`].
    Copied {
        /// Entries copied.
        entries: u64,
        /// Bytes of file content copied.
        bytes: u64,
    },
    /// Of the jobs that write an archive or a list.
    Packed {
        /// Entries written.
        entries: u64,
        /// Bytes of file content written.
        bytes: u64,
    },
    /// Of [`Job::StatPlace`].
    Place(PlaceStat),
    /// Of [`Job::Extract`].
    Extracted {
        /// Entries.
        entries: u64,
        /// Bytes of file content.
        bytes: u64,
    },
    /// Of [`Job::Packages`].
    Packages {
        /// Which distribution it is of.
        release: OsRelease,
        /// Sorted.
        packages: Vec<Package>,
    },
    /// Of [`Job::CheckOut`].
    CheckedOut {
        /// The commit.
        commit: String,
        /// Where other repositories belong; they are empty directories.
        submodules: Vec<Submodule>,
    },
    /// There is nothing to do at the place that was asked for; nothing was changed.
    Refused(Refusal),
    /// The job failed; nothing it wrote may be used.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// One line: what, on what.
        message: String,
    },
}

impl Job {
    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Packages => 1,
            Self::StatPlace { userns, .. } => 1 + usize::from(*userns),
            Self::PackPlace { userns, .. }
            | Self::ReadPlace { userns, .. }
            | Self::Extract { userns, .. } => 2 + usize::from(*userns),
            Self::ScanArchive { .. }
            | Self::Inflate { .. }
            | Self::Compress { .. }
            | Self::CopyTree { .. }
            | Self::PackTree => 2,
            Self::PackLayer { .. } | Self::Changes { .. } | Self::CheckOut { .. } => 3,
            Self::StepLayer { .. } | Self::PackList { .. } => 4,
            Self::ListLayer { .. } => 5,
            Self::Layer { mode: LayerMode::Erofs, .. } => 3,
            Self::Layer { mode: LayerMode::Unpack, .. } => 2,
        }
    }
}
