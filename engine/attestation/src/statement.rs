//! Statements: what is said, and of what.

use hull_oci::{Digest, Reference};
use serde_json::{Value, json};

/// Media type of the layer of an attestation manifest.
pub const STATEMENT_MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// Annotation of that layer: what kind of statement it is.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Something that is said of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What kind of thing is said.
    pub predicate_type: &'static str,
    /// What is said.
    pub predicate: Value,
}

impl Statement {
    /// Its bytes, about the manifest `digest` under each of its names; the same input gives the
    /// same bytes. Spec: in-toto attestation 0.1, Statement.
    pub fn to_bytes(&self, names: &[Reference], platform: &str, digest: &Digest) -> Vec<u8> {
        let sum = json!({ digest.algorithm().as_str(): digest.hex() });
        let mut subjects: Vec<Value> = names
            .iter()
            .map(|name| json!({ "name": image_url(name, platform), "digest": sum }))
            .collect();
        if subjects.is_empty() {
            subjects.push(json!({ "name": "_", "digest": sum }));
        }
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": self.predicate_type,
            "subject": subjects,
            "predicate": self.predicate,
        });
        statement.to_string().into_bytes()
    }
}

/// The package URL of an image: `pkg:docker/registry/name@tag?platform=linux%2Famd64`.
pub fn image_url(name: &Reference, platform: &str) -> String {
    let familiar = name.familiar();
    let (name, tag) = match familiar.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (&familiar[..], "latest"),
    };
    format!("pkg:docker/{name}@{tag}?platform={}", platform.replace('/', "%2F"))
}
