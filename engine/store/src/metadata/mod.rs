//! Who refers to what: images, references, containers, names, volumes, leases.
//!
//! One small file per object; the listing of a directory is the list of objects. There is no
//! index and no lock over all: what is unique is so because a name can be made once.

mod container;
mod image;
mod lease;
pub(crate) mod name;
mod provenance;
pub(crate) mod record;
mod reference;
mod repository;
mod volume;

pub(crate) use container::is_container_id;
pub use container::{ContainerRecord, CreateContainerError, FindContainerError, UpdateError};
pub(crate) use image::image_path;
pub use image::{ImageRecord, PutImageError};
pub use lease::Lease;
pub(crate) use lease::digests_of;
pub use name::{NameError, is_name};
pub use provenance::Provenance;
pub(crate) use provenance::provenance_path;
pub use record::RecordError;
pub use reference::SetRefError;
pub use repository::{BLOB_GRACE, HeldManifest, Repository};
pub use volume::{CreateVolumeError, FindVolumeError, RemoveVolumeError, VolumeRecord};

#[cfg(test)]
mod tests;
