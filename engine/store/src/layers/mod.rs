//! Layers on disk: what a worker made of a layer's tar, by diffID.
//!
//! A layer is prepared in a directory of its own under `ingest/`, filled by a worker through
//! descriptors, and published by renaming that directory. It never changes after that.
//!
//! A layer is kept in one of two modes, chosen when it is prepared and written in its
//! `layer.json`; layers of both modes live together:
//!
//! - *erofs*: the verbatim tar and an EROFS index over it, mounted once per boot and shared by
//!   all processes;
//! - *unpack*: a directory tree.

mod fresh;
mod info;
mod mount;
mod prepare;
mod probe;

pub use info::{InfoError, LayerInfo};
pub use mount::{KernelError, MountError};
pub use prepare::{LayerIngest, PrepareError, PublishError};
pub use probe::Probe;
#[cfg(test)]
pub(crate) use probe::image_of_one_file;

use serde::{Deserialize, Serialize};

use crate::Store;

/// How a layer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerMode {
    /// The verbatim tar and an EROFS index over it. Needs root, Linux 6.12 and a file system
    /// below the data root that can back a mount.
    Erofs,
    /// A directory tree with overlay whiteouts.
    Unpack,
}

/// The layers of a store.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    store: &'a Store,
}

impl Store {
    /// Layers by diffID.
    pub fn layers(&self) -> Layers<'_> {
        Layers { store: self }
    }
}

impl LayerMode {
    /// `erofs` or `unpack`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Unpack => "unpack",
        }
    }
}

/// Marks, as a file in an unpacked layer or as the ending of a mount point, a layer that hides
/// every layer below it: found without reading `layer.json`.
const OPAQUE: &str = "opaque";

pub(crate) fn layer_path(diff_id: &hull_oci::Digest) -> String {
    format!("layers/{}", diff_id.hex())
}

/// The diffID a directory under `layers/` is named after.
pub(crate) fn diff_id_of(name: &str) -> Option<hull_oci::Digest> {
    let algorithm = if name.len() == 128 { "sha512" } else { "sha256" };
    format!("{algorithm}:{name}").parse().ok()
}

#[cfg(test)]
pub(crate) mod tests;
