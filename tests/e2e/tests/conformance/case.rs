//! One check's repository, and the steps that checks are made of.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use hull_test_support::http::{Answer, Http};
use serde_json::{Value, json};

/// A check: its name and what it does.
pub(crate) type Check = (&'static str, fn(&Case) -> Result<()>);

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}

/// Where a check does its work.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) http: Http,
    pub(crate) repository: String,
    pub(crate) algorithm: Algorithm,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl Case {
    pub(crate) fn new(http: Http, repository: &str, algorithm: Algorithm) -> Self {
        Self { http, repository: repository.to_owned(), algorithm }
    }

    /// The digest of bytes, by this case's algorithm.
    pub(crate) fn digest(&self, bytes: &[u8]) -> String {
        digest_as(self.algorithm, bytes)
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }

    pub(crate) fn get(&self, rest: &str) -> Answer {
        self.http.get(&self.path(rest))
    }

    pub(crate) fn send(&self, method: &str, rest: &str) -> Answer {
        self.http.send(method, &self.path(rest), &[], b"")
    }

    /// Starts an upload; its address.
    pub(crate) fn start(&self) -> Result<String> {
        self.start_with("")
    }

    pub(crate) fn start_with(&self, query: &str) -> Result<String> {
        let answer = self.send("POST", &format!("blobs/uploads/{query}"));
        status(&answer, 202)?;
        self.location(&answer)
    }

    /// The path that an answer says to go on with.
    pub(crate) fn location(&self, answer: &Answer) -> Result<String> {
        let location = answer.header("location").context("no Location")?;
        let own = format!("http://{}", self.http.address());
        Ok(location.strip_prefix(&own).unwrap_or(location).to_owned())
    }

    /// An address with one parameter more.
    pub(crate) fn with_digest(&self, location: &str, digest: &str) -> String {
        let sign = if location.contains('?') { '&' } else { '?' };
        format!("{location}{sign}digest={digest}")
    }

    /// Pushes a blob; its digest.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Result<String> {
        let location = self.start()?;
        let digest = self.digest(bytes);
        let octets = [("Content-Type", "application/octet-stream")];
        let path = self.with_digest(&location, &digest);
        status(&self.http.send("PUT", &path, &octets, bytes), 201)?;
        Ok(digest)
    }

    /// A descriptor of bytes, which are pushed.
    pub(crate) fn pushed(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = self.blob(bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    /// An image manifest with a config and one layer of its own, pushed; not itself.
    pub(crate) fn image(&self, name: &str) -> Result<Value> {
        let config = json!({ "architecture": "amd64", "os": "linux", "author": name,
            "rootfs": { "type": "layers", "diff_ids": [] } });
        let config = self.pushed(OCI_CONFIG, config.to_string().as_bytes())?;
        let layer = self.pushed(OCI_LAYER, format!("layer of {name}").as_bytes())?;
        Ok(
            json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer] }),
        )
    }

    /// Pushes a manifest under a tag or its digest; its answer.
    pub(crate) fn put(&self, reference: &str, media_type: &str, manifest: &Value) -> Answer {
        self.put_bytes(reference, media_type, manifest.to_string().as_bytes())
    }

    pub(crate) fn put_bytes(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Answer {
        let path = self.path(&format!("manifests/{reference}"));
        self.http.send("PUT", &path, &[("Content-Type", media_type)], bytes)
    }

    /// Pushes a manifest by its digest; a descriptor of it.
    pub(crate) fn put_by_digest(&self, media_type: &str, manifest: &Value) -> Result<Value> {
        let bytes = manifest.to_string();
        let digest = self.digest(bytes.as_bytes());
        status(&self.put(&digest, media_type, manifest), 201)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }
}

pub(crate) fn digest_as(algorithm: Algorithm, bytes: &[u8]) -> String {
    hull_test_support::serve::digest(&algorithm.to_string(), bytes)
}

/// Fails unless the answer has this status.
#[track_caller]
pub(crate) fn status(answer: &Answer, expected: u16) -> Result<()> {
    let place = std::panic::Location::caller();
    ensure!(
        answer.status == expected,
        "line {} of {}: {} where {expected} was expected: {}",
        place.line(),
        place.file(),
        answer.status,
        answer.text()
    );
    Ok(())
}

/// Fails unless the answer has this header.
#[track_caller]
pub(crate) fn header(answer: &Answer, name: &str, expected: &str) -> Result<()> {
    let place = std::panic::Location::caller();
    let found = answer.header(name);
    ensure!(
        found == Some(expected),
        "line {} of {}: {name} is {found:?}, not {expected:?}",
        place.line(),
        place.file()
    );
    Ok(())
}
