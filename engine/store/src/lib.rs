//! State on disk: blobs, layers, snapshots, images, containers, names, volumes, leases; and what
//! keeps them in order: collection, accounting, checks.
//!
//! Not here: what an image means (`hull-oci`), reading a layer's tar (`layer`, run in a sealed
//! worker), starting anything, talking to anybody. No thread is started, no process, no
//! connection made, and nothing is kept in memory that another process would need: any number of
//! processes use one store at once.

pub mod cache;
mod error;
pub mod format;
mod gc;
mod metadata;
mod open;
mod root;
mod tree;

pub mod content;
pub mod layer;
pub mod layers;
pub mod select;
pub mod snapshot;

pub use content::{
    Blob, Blobs, CommitError, Ingest, OpenUpload, Partial, ReadError, UPLOAD_LIFE, Upload,
    UploadInfo, UploadRecord,
};
pub use error::{ErrorKind, FileError};
pub use gc::{
    CheckError, CheckOptions, CheckReport, CollectError, Collected, Evicted, Problem, ProblemKind,
    Usage, UsageError,
};
pub use layer::LayerReport;
pub use layers::{
    InfoError, LayerInfo, LayerIngest, LayerMode, Layers, MountError, PrepareError, Probe,
    PublishError,
};
pub use metadata::{
    BLOB_GRACE, ContainerRecord, CreateContainerError, CreateVolumeError, FindContainerError,
    FindVolumeError, HeldManifest, ImageRecord, Lease, NameError, Provenance, PutImageError,
    RecordError, RemoveVolumeError, Repository, SetRefError, UpdateError, VolumeRecord, is_name,
};
pub use open::{OpenError, Store, StoreOptions};
pub use root::Durability;
pub use snapshot::{Snapshots, Upper, ViewError};

#[cfg(test)]
mod testing;
