//! OCI types and pure parsers: digests, references, platforms, manifests, image configs.
//!
//! No I/O, no policy: which image is picked, stored or run is decided elsewhere. Every parser takes
//! bytes or text of foreign origin, refuses what is too large and never keeps unknown fields: an
//! image's documents are identified by the bytes as they came and are never written again from
//! these types.

mod config;
mod descriptor;
mod digest;
mod docker_archive;
pub mod lenient;
mod manifest;
pub mod media_type;
mod parse;
mod platform;
mod reference;

pub use config::{Healthcheck, History, ImageConfig, RootFs, RuntimeConfig, chain_id};
pub use descriptor::{Descriptor, annotation};
pub use digest::{Algorithm, Digest, Hasher, ParseDigestError};
pub use docker_archive::{ArchiveImage, archive_manifest, parse_archive_manifest};
pub use manifest::{Document, Index, Layout, Manifest};
pub use parse::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, ParseDocumentError};
pub use platform::{ParsePlatformError, Platform};
pub use reference::{ParseReferenceError, Reference};
