//! What is fuzzed.

mod build;
mod compressed;
mod image;
mod layer;
mod operator;
mod request;

/// What a parser made of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was read, and everything that must be true of it is.
    Accepted,
    /// It was refused.
    Refused,
}

/// One parser.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Name of its folder of inputs.
    pub name: &'static str,
    /// Parses and checks; panics when something that must be true is not.
    pub check: fn(&[u8]) -> Verdict,
    /// Puts right what a change has made wrong and what would hide everything behind it: checksums.
    pub repair: fn(&mut [u8]),
    /// Words of the format, to be put in anywhere.
    pub words: &'static [&'static [u8]],
}

/// All of them, by name.
pub const TARGETS: &[Target] = &[
    operator::API,
    image::ARCHIVE_MANIFEST,
    compressed::BZIP2,
    build::CHMOD,
    image::CONFIG,
    image::DIGEST,
    operator::DOCKER_CONFIG,
    build::DOCKERFILE,
    build::DOCKERIGNORE,
    build::GIT_REMOTE,
    build::GITMODULES,
    image::MANIFEST,
    layer::PAX,
    image::PLATFORM,
    image::REFERENCE,
    request::REGISTRY_AUTH,
    request::REGISTRY_REQUEST,
    operator::REGISTRIES,
    operator::SECCOMP,
    layer::TAR,
    compressed::XZ,
];

/// Nothing to put right.
fn as_it_is(_: &mut [u8]) {}

/// The input as text, for parsers of text: what is none never reaches them.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn verdict<T, E: std::fmt::Display>(result: Result<T, E>) -> Verdict {
    match result {
        Ok(_) => Verdict::Accepted,
        Err(error) => {
            assert!(!error.to_string().trim().is_empty(), "refused without a reason");
            Verdict::Refused
        }
    }
}
