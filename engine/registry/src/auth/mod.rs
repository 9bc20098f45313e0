//! Who one is to a registry: secrets that are not shown, the credentials made of them, and what a
//! registry asks for.

mod challenge;
mod credentials;
mod secret;

pub use challenge::Challenge;
pub use credentials::{Credentials, basic};
pub use secret::Secret;
