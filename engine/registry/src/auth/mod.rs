//! Who one is to a registry: secrets that are not shown, and the credentials made of them.

mod credentials;
mod secret;

pub use credentials::Credentials;
pub use secret::Secret;
