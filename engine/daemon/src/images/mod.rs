//! Images: loading, importing, saving, naming, listing, removing.
//!
//! An *image record* says that a manifest or index is here, references name records, and the
//! digest of the image config that this host would run is the image ID by which records are
//! grouped. Everything here is synchronous and belongs on a thread that may wait; [`handle`]
//! alone knows HTTP.
//!
//! Hostile bytes: layers and archives are read by a sealed worker only; manifests and configs go
//! through the strict parsers of `hull-oci`, bounded in size.

mod cache;
mod catalog;
mod commit;
mod compress;
mod copies;
pub mod failure;
mod for_builds;
mod history;
mod http;
mod import;
mod inspect;
mod list;
mod load;
mod made;
mod pattern;
mod prune;
mod pull;
mod push;
mod remote;
mod remove;
mod resolve;
mod save;
mod select;
mod tag;
mod unpack;
mod worker;

pub(crate) use cache::{CacheDocument, MAX_LAYER_BYTES};
pub use commit::{CommitImageError, CommitOptions, Parent};
pub use compress::CompressError;
pub(crate) use compress::Compressing;
pub(crate) use for_builds::{ForBuilds, credentials_of_build};
pub use http::handle;
pub use import::{ChangeError, ImportError, ImportOptions};
pub use list::ListOptions;
pub(crate) use list::summaries;
pub(crate) use load::LayoutEntry;
pub use load::{LoadError, LoadOptions};
pub use pull::PullError;
pub use push::PushError;
pub use remote::RemoteError;
pub(crate) use remote::http::{auth, distribution};
pub(crate) use remote::registries;
pub(crate) use remote::{Stop, anonymous};
pub use remove::{IsRunning, RemoveError};
pub use resolve::{Mismatch, ResolveError, ResolvedImage, resolve_image};
pub use save::SaveError;
pub use tag::TagError;
pub(crate) use tag::new_name;
pub use unpack::{UnpackError, unpack};

use hull_oci::Digest;
use hull_store::Store;
use std::path::Path;

/// Where the records of loaded layouts say they come from.
const ORIGIN_LAYOUT: &str = "oci-layout";

/// The same for images whose manifest was made here.
const ORIGIN_DOCKER_ARCHIVE: &str = "docker-archive";

/// The same for imported root file systems.
const ORIGIN_IMPORT: &str = "import";

/// The same for images that were built.
pub(crate) const ORIGIN_BUILD: &str = "build";

/// The same for images made of a container.
const ORIGIN_COMMIT: &str = "commit";

/// The same for what was pushed to a registry of this store.
pub(crate) const ORIGIN_PUSH: &str = "push";

/// Whether a manifest was made here, for something that came without: its digest is nothing anybody
/// else could know.
fn is_made_here(origin: &str) -> bool {
    matches!(origin, ORIGIN_BUILD | ORIGIN_COMMIT | ORIGIN_DOCKER_ARCHIVE | ORIGIN_IMPORT)
}

/// What operations on images need.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The state on disk.
    pub store: &'a Store,
    /// Path of `hull-worker`.
    pub worker: &'a Path,
}

/// The first 12 hex digits, as listings show an ID.
fn short(digest: &Digest) -> &str {
    &digest.hex()[..12]
}

/// The time in RFC 3339.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Seconds since 1970 of an RFC 3339 time, 0 for none or one that makes no sense.
fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests;
