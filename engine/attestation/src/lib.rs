//! Statements about an image that lie beside it: which packages are in it, how it was built.
//!
//! Not here: reading a root file system (a sealed worker reads the files and calls the parsers
//! here), making manifests, signatures. Everything is pure. The package databases come from images
//! and are hostile: what is no package is left out, and nothing is believed about a length.
//!
//! Spec: in-toto attestation framework; SPDX 2.3; SLSA provenance 1.0.

mod os_release;
mod packages;
mod provenance;
mod spdx;
mod statement;

pub use os_release::OsRelease;
pub use packages::{DATABASES, Database, Ecosystem, Package, packages};
pub use provenance::{Build, Material, Mode, provenance};
pub use spdx::spdx;
pub use statement::{PREDICATE_TYPE, STATEMENT_MEDIA_TYPE, Statement, image_url};
