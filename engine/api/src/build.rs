//! Builds: what is asked for, and what a build tells while it runs.
//!
//! `POST /hull/build` takes one line of JSON, a [`BuildRequest`], and behind it the context as a
//! tar where [`Context::Stream`] says so. It answers with lines of JSON, each a [`BuildMessage`];
//! the last one is a result or an error.
//!
//! [`SolveStatus`] has the shape of BuildKit's message of that name (`client/graph.go`), so that
//! `--progress rawjson` prints it as it is and every other display is made of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ErrorKind, Ulimit};

/// One line of a build's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildMessage {
    /// Something happened.
    Status(SolveStatus),
    /// It is done. The last line.
    Result(BuildResult),
    /// It failed. The last line.
    Error(BuildFailure),
}

/// What to build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildRequest {
    /// Where `COPY` and `ADD` take files from.
    pub context: Context,
    /// Where the Dockerfile lies in the context; `Dockerfile` where absent. Also its name in
    /// messages.
    pub dockerfile: Option<String>,
    /// The Dockerfile itself, where the client has read it.
    pub dockerfile_text: Option<String>,
    /// The `.dockerignore` that goes with it, where the client has read it. Without, it is looked
    /// for in the context.
    pub ignore_text: Option<String>,
    /// Named contexts: a directory, `docker-image://`, `oci-layout://`, `target:`, a URL.
    pub contexts: BTreeMap<String, String>,
    /// Values of `ARG`.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build; the last one where absent.
    pub target: Option<String>,
    /// What to build for; the host's platform where empty.
    pub platforms: Vec<String>,
    /// Labels to add to the image.
    pub labels: BTreeMap<String, String>,
    /// Annotations to add to the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Names to give to the image.
    pub tags: Vec<String>,
    /// Use no cache.
    pub no_cache: bool,
    /// Use no cache for these stages.
    pub no_cache_filter: Vec<String>,
    /// Ask registries for newer base images.
    pub pull: bool,
    /// Network of `RUN`: `host`, `none`, or empty for the default.
    pub network: String,
    /// Entries for `/etc/hosts` of `RUN`: `name:address`.
    pub add_hosts: Vec<String>,
    /// Bytes of `/dev/shm` of `RUN`; 0 for the default.
    pub shm_size: u64,
    /// Limits of processes of `RUN`.
    pub ulimits: Vec<Ulimit>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of ssh agents by id, paths on the engine's host.
    pub ssh: BTreeMap<String, String>,
    /// What Dockerfiles may ask for beyond the sandbox: `network.host`, `security.insecure`.
    pub allow: Vec<String>,
    /// What to make of the result; the local store where empty.
    pub outputs: Vec<Output>,
    /// Caches to look into, each `type` and what it needs.
    pub cache_from: Vec<BTreeMap<String, String>>,
    /// Caches to write.
    pub cache_to: Vec<BTreeMap<String, String>>,
    /// Tell for each step that ran why it was not in the cache.
    pub explain: bool,
    /// Say how the image was built, in a statement beside it.
    pub provenance: Option<Provenance>,
    /// Who built it, as that statement has it; the engine itself where empty.
    pub builder_id: String,
    /// Say which packages are in it, in a statement beside it.
    pub sbom: bool,
}

/// How much a statement of provenance says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// What went in.
    Min,
    /// Also the arguments, the Dockerfile and its steps.
    Max,
}

/// Where files of a build come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// There are none.
    #[default]
    None,
    /// A directory on the engine's host.
    Directory {
        /// Its absolute path.
        path: String,
    },
    /// A tar, plain or compressed, that follows the request.
    Stream,
    /// A git repository or a tar or Dockerfile at an address.
    Remote {
        /// The address.
        url: String,
    },
}

/// A secret's value. Not shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// What to make of what was built: `type=kind,attribute=value`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// `image`, `docker`, `oci`, `tar`, `local`, `registry`.
    pub kind: String,
    /// `dest`, `name`, `push`, `compression` ...; `dest` is an absolute path on the engine's host.
    pub attributes: BTreeMap<String, String>,
}

/// What was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildResult {
    /// Digest of the image config; empty where no image was made.
    pub image_id: String,
    /// Digest of the manifest or index; empty where no image was made.
    pub digest: String,
    /// Names it has now.
    pub names: Vec<String>,
    /// What `--metadata-file` writes.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Of each step that ran: why it was not in the cache.
    #[serde(default)]
    pub explanations: Vec<Explanation>,
}

/// Why a step ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The step as displays name it.
    pub step: String,
    /// The first input that differed from the last time.
    pub reason: String,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFailure {
    /// One line: what, on what.
    pub message: String,
    /// What the user may do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What kind of failure.
    pub kind: ErrorKind,
    /// Exit code of the process of `RUN` that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The step as displays name it; empty where none had begun.
    #[serde(default)]
    pub step: String,
    /// First and last line of the Dockerfile that it is about, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u32, u32)>,
    /// The place in the Dockerfile as text: its lines with the place marked.
    #[serde(default)]
    pub excerpt: String,
    /// The last lines of the step's output.
    #[serde(default)]
    pub output: Vec<String>,
}

/// What happened since the last one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SolveStatus {
    /// Steps that are new or changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vertexes: Vec<Vertex>,
    /// Progress inside steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<VertexStatus>,
    /// Output of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<VertexLog>,
    /// Warnings, those of the lint rules among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<VertexWarning>,
}

/// A step. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// Names it within this build.
    pub digest: String,
    /// Digests of the steps it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// For people: `[stage 2/4] RUN make`.
    pub name: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
    /// Whether its result was in the cache.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Progress inside a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexStatus {
    /// Names it within its step: `transferring context`.
    pub id: String,
    /// Digest of the step.
    pub vertex: String,
    /// More words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How much there is, 0 where it is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total: i64,
    /// How much is done.
    pub current: i64,
    /// When this was so.
    pub timestamp: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
}

/// Output of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexLog {
    /// Digest of the step.
    pub vertex: String,
    /// 1 is stdout, 2 is stderr.
    pub stream: i64,
    /// The bytes.
    #[serde(with = "base64")]
    pub data: Vec<u8>,
    /// When they came.
    pub timestamp: String,
}

/// A warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexWarning {
    /// Digest of the step.
    pub vertex: String,
    /// How important, 1 is most.
    #[serde(default)]
    pub level: i64,
    /// One line.
    #[serde(with = "base64")]
    pub short: Vec<u8>,
    /// More lines.
    #[serde(default)]
    pub detail: Vec<String>,
    /// Where the rule is explained.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// First and last line of the Dockerfile it is about, from 1. Hull's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u32, u32)>,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Bytes in JSON as Go writes them.
pub mod base64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    /// Writes bytes.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// Text that is no base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        decode(&text).ok_or_else(|| D::Error::custom("not base64"))
    }

    /// RFC 4648, section 4.
    #[must_use]
    pub fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for group in bytes.chunks(3) {
            let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4 {
                let sextet = (bits >> (18 - 6 * place)) & 63;
                let letter = char::from(ALPHABET[sextet as usize]);
                text.push(if place <= group.len() { letter } else { '=' });
            }
        }
        text
    }

    /// The bytes of such text; `None` if it is none.
    #[must_use]
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
        if !text.len().is_multiple_of(4) {
            return None;
        }
        for group in text.as_bytes().chunks(4) {
            let padding = group.iter().rev().take_while(|&&letter| letter == b'=').count();
            let mut bits = 0_u32;
            for &letter in &group[..4 - padding.min(2)] {
                let value = ALPHABET.iter().position(|&known| known == letter)?;
                bits = bits << 6 | u32::try_from(value).ok()?;
            }
            bits <<= 6 * padding.min(2);
            bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding.min(2)]);
        }
        Some(bytes)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn there_and_back() {
            for (bytes, text) in
                [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
            {
                assert_eq!(encode(bytes.as_bytes()), text);
                assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
            }
            for bad in ["Zg=", "Z===", "Zg=a", "Zm 9v", "é==="] {
                assert_eq!(decode(bad), None, "{bad}");
            }
        }
    }
}
