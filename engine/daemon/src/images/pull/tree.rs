//! From what a name leads to, to the one manifest that is wanted.
//!
//! Every document is compared with the digest that led to it, and its media type with what the
//! registry and the document itself say: one set of bytes must not mean two things to two readers
//! (CVE-2021-41190). What an index may lead to is bounded (CVE-2026-53493).
//!
//! Spec: image-spec, manifest.md, image-index.md.

use std::collections::HashSet;

use hull_oci::{
    Descriptor, Digest, Document, Index, MAX_MANIFEST_BYTES, Manifest, Platform, Reference,
    media_type,
};

use super::PullError;
use super::error::NoPlatform;
use super::layers::config_bytes;
use crate::images::CacheDocument;
use crate::images::remote::Remote;

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 4;

/// How many descriptors a pull looks at, each digest once.
const MAX_DESCRIPTORS: usize = 1000;

/// What a reference leads to.
#[derive(Debug)]
pub(super) struct Tree {
    /// Of the manifest or index that the name means.
    pub(super) root: Descriptor,
    /// The documents on the way down, from the top.
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
    /// What is at the bottom.
    pub(super) content: Content,
}

/// What is at the bottom of a tree.
#[derive(Debug)]
pub(super) enum Content {
    /// An image.
    Image(Box<Manifest>),
    /// Anything else that is kept in registries.
    Artifact(Box<Manifest>),
}

/// Reads the way from `target` to the manifest that suits `platform`, this host's if absent.
pub(super) fn read(
    remote: Remote<'_>,
    reference: &Reference,
    target: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Tree, PullError> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let mut walk = Walk { remote, reference, wanted, seen: HashSet::new(), others: Vec::new() };
    let (root, bytes, document) = walk.document(target)?;
    let mut documents = vec![(root.digest.clone(), bytes)];
    let manifest = match document {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            let Some(manifest) = walk.choose(&index, 1, &mut documents)? else {
                let (reference, wanted) = (reference.clone(), wanted.clone());
                let found = walk.others;
                let missing = Box::new(NoPlatform { reference, wanted, found });
                return Err(PullError::NoPlatform(missing));
            };
            manifest
        }
    };
    let content = if media_type::is_image_config(&manifest.config.media_type) {
        Content::Image(manifest)
    } else {
        Content::Artifact(manifest)
    };
    Ok(Tree { root, documents, content })
}

/// Reads manifest and config of what a name leads to, be it an image or anything else; `None` if
/// it leads to an index that is `foreign`.
pub(in crate::images) fn cache(
    remote: Remote<'_>,
    reference: &Reference,
    platform: &Platform,
    foreign: &dyn Fn(&Index) -> bool,
) -> Result<Option<CacheDocument>, PullError> {
    let found = remote.transfer.manifest(reference).map_err(|error| remote.failed(error))?;
    let target = found.descriptor;
    let (_, document) = judge(&target.digest, [&target.media_type, ""], &found.bytes)?;
    let manifest = match document {
        Document::Manifest(manifest) => *manifest,
        Document::Index(index) if foreign(&index) => return Ok(None),
        Document::Index(_) => match read(remote, reference, &target, Some(platform))?.content {
            Content::Image(manifest) | Content::Artifact(manifest) => *manifest,
        },
    };
    let config = config_bytes(remote, reference, &manifest.config)?;
    Ok(Some(CacheDocument { manifest, config }))
}

struct Walk<'a> {
    remote: Remote<'a>,
    reference: &'a Reference,
    wanted: &'a Platform,
    seen: HashSet<Digest>,
    /// Platforms that do not suit.
    others: Vec<Platform>,
}

impl Walk<'_> {
    /// The manifest below an index that suits best. Nested indexes are opened only if nothing in
    /// this one suits.
    fn choose(
        &mut self,
        index: &Index,
        depth: usize,
        documents: &mut Vec<(Digest, Vec<u8>)>,
    ) -> Result<Option<Box<Manifest>>, PullError> {
        let mut images: Vec<(u32, &Descriptor)> = Vec::new();
        let mut nested = Vec::new();
        let mut unknown = Vec::new();
        for child in &index.manifests {
            if !self.seen.insert(child.digest.clone()) {
                continue;
            }
            if self.seen.len() > MAX_DESCRIPTORS {
                return Err(PullError::TooMuch { digest: child.digest.clone() });
            }
            if child.is_attestation() {
                continue;
            }
            if media_type::is_index(&child.media_type) {
                nested.push(child);
                continue;
            }
            match &child.platform {
                None => unknown.push(child),
                Some(platform) => match self.wanted.preference(platform) {
                    Some(preference) => images.push((preference, child)),
                    None => self.others.push(platform.clone()),
                },
            }
        }
        // Of equals the first.
        let best = images.iter().rev().max_by_key(|(preference, _)| *preference);
        if let Some((_, child)) = best {
            return self.take(child, documents).map(Some);
        }
        for child in nested {
            if depth >= MAX_DEPTH {
                return Err(PullError::TooMuch { digest: child.digest.clone() });
            }
            let (descriptor, bytes, document) = self.document(child)?;
            let Document::Index(index) = document else { continue };
            documents.push((descriptor.digest, bytes));
            if let Some(manifest) = self.choose(&index, depth + 1, documents)? {
                return Ok(Some(manifest));
            }
            documents.pop();
        }
        // An index of one image that says nothing of its platform means that image.
        match unknown.as_slice() {
            [child] if self.others.is_empty() => self.take(child, documents).map(Some),
            _ => Ok(None),
        }
    }

    fn take(
        &mut self,
        child: &Descriptor,
        documents: &mut Vec<(Digest, Vec<u8>)>,
    ) -> Result<Box<Manifest>, PullError> {
        let (descriptor, bytes, document) = self.document(child)?;
        match document {
            Document::Manifest(manifest) => {
                documents.push((descriptor.digest, bytes));
                Ok(manifest)
            }
            Document::Index(_) => Err(PullError::MediaType {
                digest: descriptor.digest,
                said: child.media_type.clone(),
                found: descriptor.media_type,
            }),
        }
    }

    /// A document: from here if it is here.
    fn document(
        &self,
        descriptor: &Descriptor,
    ) -> Result<(Descriptor, Vec<u8>, Document), PullError> {
        let digest = &descriptor.digest;
        let blobs = self.remote.images.store.blobs();
        let (sent, bytes) = if blobs.contains(digest)? {
            (String::new(), blobs.read(digest, MAX_MANIFEST_BYTES)?)
        } else {
            let name = self.reference.with_digest(digest.clone());
            let document = self.remote.transfer.manifest(&name);
            let document = document.map_err(|error| self.remote.failed(error))?;
            (document.descriptor.media_type, document.bytes)
        };
        let promised = &descriptor.media_type;
        let (media_type, document) = judge(digest, [promised, &sent], &bytes)?;
        let size = bytes.len() as u64;
        // Size 0 is that of a descriptor made of a digest alone.
        if descriptor.size != size && descriptor.size != 0 {
            let (digest, expected) = (digest.clone(), descriptor.size);
            return Err(PullError::Size { digest, expected, actual: size });
        }
        Ok((Descriptor::new(media_type, digest.clone(), size), bytes, document))
    }
}

/// What a document is: its fields decide, and whoever says something of it must say that. `said`
/// is what led to it says and what it was sent as; empty where they say nothing.
pub(in crate::images) fn judge(
    digest: &Digest,
    said: [&str; 2],
    bytes: &[u8],
) -> Result<(String, Document), PullError> {
    let said = said.map(essence);
    if said.into_iter().any(is_schema1) || is_schema1_document(bytes) {
        return Err(PullError::Schema1 { digest: digest.clone() });
    }
    let document = Document::parse(bytes)
        .map_err(|source| PullError::Document { digest: digest.clone(), source })?;
    let (own, kind) = match &document {
        Document::Manifest(manifest) => (manifest.media_type.as_deref(), media_type::OCI_MANIFEST),
        Document::Index(index) => (index.media_type.as_deref(), media_type::OCI_INDEX),
    };
    let found = own.unwrap_or(kind).to_owned();
    for said in said.into_iter().filter(|said| !says_nothing(said)) {
        let fits = match own {
            Some(own) => said == own,
            None => match &document {
                Document::Manifest(_) => media_type::is_manifest(said),
                Document::Index(_) => media_type::is_index(said),
            },
        };
        if !fits {
            let (digest, said) = (digest.clone(), said.to_owned());
            return Err(PullError::MediaType { digest, said, found });
        }
    }
    // A document that does not say what it is, is what it was called.
    let called = said.into_iter().find(|said| !says_nothing(said));
    Ok((own.or(called).unwrap_or(kind).to_owned(), document))
}

/// A media type without parameters.
fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

/// What registries say of documents they know nothing of.
fn says_nothing(media_type: &str) -> bool {
    matches!(media_type, "" | "application/json" | "application/octet-stream" | "text/plain")
}

fn is_schema1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

fn is_schema1_document(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: u32,
    }
    serde_json::from_slice::<Version>(bytes).is_ok_and(|version| version.schema_version == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: [&str; 2], bytes: &str, expected: Result<&str, &str>) {
        let judged = judge(&Digest::sha256(bytes.as_bytes()), said, bytes.as_bytes());
        match (judged, expected) {
            (Ok((found, _)), Ok(expected)) => assert_eq!(found, expected, "{said:?} {bytes}"),
            (Err(error), Err(part)) => {
                let error = crate::error::chain(&error);
                assert!(error.contains(part), "{said:?} {bytes}: {error}");
            }
            (found, expected) => panic!("{said:?} {bytes}: {found:?}, not {expected:?}"),
        }
    }

    fn manifest(kind: &str, more: &str) -> String {
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let config = serde_json::to_string(&config).unwrap();
        format!(r#"{{"schemaVersion":2{kind},"config":{config},"layers":[]{more}}}"#)
    }

    #[test]
    fn documents_are_what_everybody_says_they_are() {
        let typed = |kind: &str| format!(r#","mediaType":"{kind}""#);
        let oci = manifest(&typed(media_type::OCI_MANIFEST), "");
        let docker = manifest(&typed(media_type::DOCKER_MANIFEST), "");
        let untyped = manifest("", "");
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        check(["", media_type::OCI_MANIFEST], &oci, Ok(media_type::OCI_MANIFEST));
        check(["", "application/json; charset=utf-8"], &oci, Ok(media_type::OCI_MANIFEST));
        check([media_type::DOCKER_MANIFEST, ""], &docker, Ok(media_type::DOCKER_MANIFEST));
        check(["", media_type::DOCKER_MANIFEST], &untyped, Ok(media_type::DOCKER_MANIFEST));
        check(["", ""], &untyped, Ok(media_type::OCI_MANIFEST));
        check(["", media_type::DOCKER_INDEX], index, Ok(media_type::DOCKER_INDEX));
        check(["", media_type::OCI_MANIFEST], &docker, Err("announced or sent as"));
        check([media_type::OCI_INDEX, ""], &oci, Err("announced or sent as"));
        check(["", media_type::OCI_INDEX], &untyped, Err("announced or sent as"));
        check(["", media_type::OCI_MANIFEST], index, Err("announced or sent as"));
    }

    /// CVE-2021-41190: what is a manifest to one reader must not be an index to another.
    #[test]
    fn cve_2021_41190() {
        let both = manifest("", r#","manifests":[]"#);
        check(["", media_type::OCI_MANIFEST], &both, Err("both a manifest and an index"));
        check(["", media_type::OCI_INDEX], &both, Err("both a manifest and an index"));
    }

    #[test]
    fn schema_1_is_refused_with_its_name() {
        let v1 = r#"{"schemaVersion":1,"name":"a","fsLayers":[],"history":[]}"#;
        let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        check(["", signed], v1, Err("schema version 1"));
        check(["", ""], v1, Err("schema version 1"));
    }
}
