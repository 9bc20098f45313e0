//! OCI types and pure parsers. No I/O.

mod digest;

pub use digest::{Algorithm, Digest, Hasher, ParseDigestError};
