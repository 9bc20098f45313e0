//! What a process is asked and what it answers.
//!
//! Messages as in `hull_sys::message`: one line of JSON, then, where the message says so, raw bytes
//! to its end. First comes the [`Session`](crate::Session), answered by [`Answer::Ready`]; then
//! calls, each answered by any number of [`Answer::Progress`] and one [`Answer::Done`] or
//! [`Answer::Failed`] with its id, in whatever order they end.

use hull_oci::{Descriptor, Digest, Reference};
use hull_registry::client::{ClientError, FailureKind, LoginOutcome, SearchResult};
use serde::{Deserialize, Serialize};

/// The longest message: a manifest and its frame.
pub(crate) const MAX_MESSAGE: usize = 9 << 20;

/// One call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) request: Request,
}

/// What a call asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Resolve {
        reference: Reference,
    },
    Manifest {
        reference: Reference,
    },
    Document {
        repository: Reference,
        descriptor: Descriptor,
    },
    /// Descriptors: 0 = ingest, 1 = pipe if there is one.
    Blob {
        repository: Reference,
        descriptor: Descriptor,
        have: u64,
        pipe: bool,
    },
    Tags {
        repository: Reference,
    },
    Search {
        registry: String,
        term: String,
        limit: usize,
    },
    Referrers {
        repository: Reference,
        digest: Digest,
    },
    Exists {
        repository: Reference,
        digest: Digest,
    },
    Mount {
        repository: Reference,
        from: Reference,
        digest: Digest,
    },
    /// Descriptors: 0 = the blob, a file.
    Upload {
        repository: Reference,
        descriptor: Descriptor,
    },
    /// Descriptors: 0 = the blob, a stream.
    UploadStream {
        repository: Reference,
    },
    /// Raw bytes: the manifest.
    PutManifest {
        reference: Reference,
        media_type: String,
    },
    DeleteManifest {
        reference: Reference,
    },
    Login {
        registry: String,
    },
    /// Descriptors: 0 = a file for what is there.
    Download {
        url: String,
        limit: u64,
    },
    GitCommit {
        url: String,
        reference: Option<String>,
    },
    /// Descriptors: 0 = a file for the pack.
    GitPack {
        url: String,
        commit: String,
    },
}

/// One message of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    pub(crate) answer: Answer,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To the session: the process is sealed.
    Ready,
    /// Bytes so far.
    Progress(u64),
    /// The end of a call.
    Done(Outcome),
    /// The end of a call.
    Failed(Failure),
}

/// What a call that worked answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Nothing,
    Is(bool),
    Digest(Digest),
    Descriptor(Descriptor),
    /// Raw bytes: the document.
    Document(Descriptor),
    Descriptors(Vec<Descriptor>),
    Names(Vec<String>),
    Found(Vec<SearchResult>),
    Login(LoginOutcome),
    Downloaded(Downloaded),
    Commit(String),
}

/// What was at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downloaded {
    /// How many bytes.
    pub bytes: u64,
    /// `Last-Modified`, as it came.
    pub modified: Option<String>,
    /// `Content-Disposition`, as it came.
    pub disposition: Option<String>,
}

/// A document and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Media type as the registry names it (empty if it does not), digest and size as computed.
    pub descriptor: Descriptor,
    /// The bytes as they came.
    pub bytes: Vec<u8>,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// One line: what, on which registry and repository.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self { kind: error.kind, message: error.message, hint: error.hint }
    }
}

impl Failure {
    /// A fault on our side.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Internal, message: message.into(), hint: None }
    }
}

/// A message of JSON and raw bytes.
pub(crate) fn frame(head: &impl Serialize, raw: &[u8]) -> Vec<u8> {
    let mut frame = serde_json::to_vec(head).expect("messages have text keys");
    frame.reserve_exact(raw.len() + 1);
    frame.push(b'\n');
    frame.extend_from_slice(raw);
    frame
}

/// The two parts of a message; `None` if it is none.
pub(crate) fn unframe<T: for<'a> Deserialize<'a>>(mut frame: Vec<u8>) -> Option<(T, Vec<u8>)> {
    let end = frame.iter().position(|byte| *byte == b'\n')?;
    let head = serde_json::from_slice(&frame[..end]).ok()?;
    frame.drain(..=end);
    Some((head, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let head = Reply { id: 7, answer: Answer::Progress(9) };
        let (back, raw) = unframe::<Reply>(frame(&head, b"a\nb")).unwrap();
        assert_eq!((back.id, raw.as_slice()), (7, b"a\nb".as_slice()));
        assert!(unframe::<Reply>(b"{}".to_vec()).is_none());
    }
}
