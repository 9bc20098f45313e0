//! The layout on disk and its version.
//!
//! Format 1, below the data root (mode 0700: set-uid files in it carry real owners):
//!
//! ```text
//! VERSION                        the format number, written last when a store is made
//! gc.lock                        shared: whoever takes a reference; exclusive: a collection's renames
//! layer-mode                     what the probe mount said, per kernel release and exec root
//! blobs/<algorithm>/<hex>        manifests, configs, compressed layers; mode 0444
//! layers/<hex>/tar               erofs mode: the layer's uncompressed tar, verbatim
//! layers/<hex>/erofs             erofs mode: an EROFS index whose data lies in `tar`
//! layers/<hex>/fs/               unpack mode: a tree with overlay whiteouts
//! layers/<hex>/layer.json        what the layer is; <hex> is that of its diffID
//! images/<algorithm>/<hex>       one image that is here, by the digest of its manifest or index
//! refs/<registry>/<repository>/_tags/<tag>                 one descriptor
//! refs/<registry>/<repository>/_digests/<algorithm>/<hex>  one descriptor
//! refs/<registry>/<repository>/{_manifests,_blobs,_removed}/<algorithm>/<hex>, refs/<registry>/_served
//!                                what a registry server keeps, see `metadata/repository.rs`
//! uploads/<random>/{data,upload.json}   bytes of a blob that come in several requests
//! containers/<id>/config.json    the container record
//! containers/<id>/{rw,work,logs}/   overlay upper and work directory, log files
//! names/<name>                   a symbolic link whose text is the container's id
//! volumes/<name>/{_data/,volume.json}; `shared` where a container that removes itself leaves it
//! events/                        what happened, see `hull-events`; bounded, not kept by anything here
//! cache/ cachemounts/ statcache/ what the builder keeps, see `cache`; made by the first build
//! leases/<random>                digests, one per line; void when nobody holds its lock
//! ingest/<random>                unfinished writes; void when nobody holds its lock
//! ingest/<algorithm>-<hex>       what has arrived of a blob; kept a week for who continues it
//! digests/<algorithm>/<hex>      a symbolic link whose text tells what is known of that blob:
//!                                its diffID if it is a layer, and repositories that have it
//! trash/<any>                    on its way out, any process may finish the removal
//! ```
//!
//! Below the exec root (dies with the boot):
//!
//! ```text
//! layers/                        a private mount of itself
//! layers/<hex>                   that layer, mounted
//! ```
//!
//! Rules:
//! - A name that is present is complete: bytes are on disk before their name is, and what is a
//!   directory is filled elsewhere and renamed.
//! - Every JSON object has a `format` of its own; an unknown one is refused, object by object.
//! - Locks are `flock`s and die with the process. `gc.lock` is never held across anything slow.
//! - Order of removal: reference, image record, then (by collection) manifest, config, layers.

/// The number in `VERSION`.
pub const STORE_FORMAT: u32 = 1;

/// The `format` of the JSON objects.
pub(crate) const OBJECT_FORMAT: u32 = 1;

pub(crate) const VERSION: &str = "VERSION";
pub(crate) const GC_LOCK: &str = "gc.lock";
pub(crate) const LAYER_MODE: &str = "layer-mode";

/// Directories of a store, parents first.
pub(crate) const DIRECTORIES: [&str; 19] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "layers",
    "images",
    "images/sha256",
    "images/sha512",
    "digests",
    "digests/sha256",
    "digests/sha512",
    "refs",
    "containers",
    "names",
    "volumes",
    "events",
    "leases",
    "ingest",
    "uploads",
    "trash",
];
