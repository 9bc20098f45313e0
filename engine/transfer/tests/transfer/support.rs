//! What all of these tests need.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use hull_oci::{Descriptor, Reference};
use hull_test_support::registry::{Answer, Request};
use hull_transfer::{
    BlobOutputs, Credentials, FailureKind, Registries, Secret, Session, Transfer, TransferError,
};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const USER: &str = "anna";
pub(crate) const PASSWORD: &str = "correct-horse";
/// `anna:correct-horse`.
pub(crate) const BASIC: &str = "Basic YW5uYTpjb3JyZWN0LWhvcnNl";

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hull-transfer"))
}

/// A session that waits for no more than a second and tries twice.
pub(crate) fn session(toml: &str) -> Session {
    let text = format!("stall-timeout = 1\nattempts = 2\n{toml}");
    let mut session = Session::new(Registries::parse(&text).unwrap());
    session.environment.clear();
    session.certificate_folders.clear();
    session
}

pub(crate) fn transfer() -> Transfer {
    Transfer::spawn(program(), &session("")).unwrap()
}

pub(crate) fn logged_in(registry: &str, toml: &str) -> Transfer {
    let credentials =
        Credentials::Basic { username: USER.to_owned(), password: Secret::new(PASSWORD) };
    Transfer::spawn(program(), &session(toml).credentials(registry, credentials)).unwrap()
}

pub(crate) fn reference(registry: &str, rest: &str) -> Reference {
    format!("{registry}/{rest}").parse().unwrap()
}

/// Bytes that do not repeat soon.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", bytes)
}

/// An answer of a well-behaved registry to a request for a blob.
pub(crate) fn serve(bytes: &[u8], request: &Request) -> Answer {
    match request.range_start() {
        None => Answer::ok(bytes),
        Some(start) => Answer::new(206)
            .header("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(&bytes[start..]),
    }
}

/// Fetches into a file that holds `there` already; returns what it holds at the end.
pub(crate) fn fetch(
    transfer: &Transfer,
    repository: &Reference,
    descriptor: &Descriptor,
    there: &[u8],
) -> (Result<(), TransferError>, Vec<u8>) {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, there).unwrap();
    let outputs = BlobOutputs { ingest: file.as_fd(), have: there.len() as u64, pipe: None };
    let result = transfer.blob(repository, descriptor, outputs, &mut |_| {});
    (result, content(&mut file))
}

pub(crate) fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Seek::rewind(file).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Fails unless it failed this way, saying this.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    result: Result<T, TransferError>,
    kind: FailureKind,
    says: &str,
) {
    let error = result.unwrap_err();
    let text = format!("{error} {}", error.hint().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(says), "{text:?} says nothing of {says:?}");
    assert!(!text.contains('\n') && !text.contains(PASSWORD), "{text}");
}
