//! Images on a registry of a test's own: what is kept in memory and given out over HTTP, and a
//! way to put it on any other registry.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use hull_oci::Digest;
use serde_json::Value;

use crate::image::Image;
use crate::registry::{Answer, Request, ScriptedRegistry};

/// Blobs and manifests of any number of repositories. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    blobs: HashMap<String, Vec<u8>>,
    /// By repository and tag or digest.
    manifests: HashMap<(String, String), (String, Vec<u8>)>,
}

impl Shelf {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an image; returns the digest of its manifest.
    pub fn image(&self, repository: &str, tag: &str, image: &Image) -> String {
        let (kind, bytes) = self.parts(image);
        self.manifest(repository, tag, &kind, &bytes)
    }

    /// With the config and layers of an image; returns its manifest and what that is.
    pub fn parts(&self, image: &Image) -> (String, Vec<u8>) {
        let files: HashMap<String, Vec<u8>> = image.oci_files("x:1").into_iter().collect();
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let descriptor = &index["manifests"][0];
        let digest = descriptor["digest"].as_str().unwrap();
        let kind = descriptor["mediaType"].as_str().unwrap().to_owned();
        let path = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        let bytes = files[&path(digest)].clone();
        for (path, content) in files {
            if let Some(name) = path.strip_prefix("blobs/") {
                self.content().blobs.insert(name.replace('/', ":"), content);
            }
        }
        (kind, bytes)
    }

    /// With a manifest or index under a tag and its digest; returns that.
    pub fn manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) -> String {
        let digest = Digest::sha256(bytes).to_string();
        let mut content = self.content();
        for reference in [tag, &digest] {
            let key = (repository.to_owned(), reference.to_owned());
            content.manifests.insert(key, (kind.to_owned(), bytes.to_vec()));
        }
        digest
    }

    /// With a blob; returns its digest.
    pub fn blob(&self, bytes: &[u8]) -> String {
        let digest = Digest::sha256(bytes).to_string();
        self.content().blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// Puts other bytes under the digest of a blob.
    pub fn falsify(&self, digest: &str, bytes: Vec<u8>) {
        self.content().blobs.insert(digest.to_owned(), bytes);
    }

    /// The digests of all blobs, the largest first.
    pub fn blobs(&self) -> Vec<(String, usize)> {
        let content = self.content();
        let sizes = content.blobs.iter().map(|(digest, bytes)| (digest.clone(), bytes.len()));
        let mut sizes: Vec<_> = sizes.collect();
        sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        sizes
    }

    /// What an honest registry answers.
    pub fn answer(&self, request: &Request) -> Answer {
        let path = request.path().to_owned();
        let content = self.content();
        if path == "/v2/" {
            return Answer::ok("{}");
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return missing() };
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            let mut tags: Vec<&str> = (content.manifests.keys())
                .filter(|(known, tag)| known == repository && !tag.contains(':'))
                .map(|(_, tag)| tag.as_str())
                .collect();
            tags.sort_unstable();
            let list = serde_json::json!({"name": repository, "tags": tags});
            return Answer::ok(list.to_string()).header("Content-Type", "application/json");
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            let key = (repository.to_owned(), reference.to_owned());
            return match content.manifests.get(&key) {
                Some((kind, bytes)) => Answer::ok(bytes.clone())
                    .header("Content-Type", kind)
                    .header("Docker-Content-Digest", Digest::sha256(bytes)),
                None => missing(),
            };
        }
        let Some((_, digest)) = rest.split_once("/blobs/") else { return missing() };
        let Some(bytes) = content.blobs.get(digest) else { return missing() };
        match request.range_start() {
            Some(start) if start < bytes.len() => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::new(206).body(&bytes[start..]).header("Content-Range", range)
            }
            _ => Answer::ok(bytes.clone()),
        }
    }

    /// A registry that gives out what is on the shelf.
    pub fn serve(&self) -> ScriptedRegistry {
        let shelf = self.clone();
        ScriptedRegistry::start(move |request| shelf.answer(request))
    }

    /// A registry that does what `script` says, and where that says nothing what is honest.
    pub fn serve_with(
        &self,
        script: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> ScriptedRegistry {
        let shelf = self.clone();
        ScriptedRegistry::start(move |request| {
            script(request).unwrap_or_else(|| shelf.answer(request))
        })
    }

    /// Puts everything that is here into a repository of another registry.
    pub fn copy_to(&self, address: &str, repository: &str) {
        let (blobs, manifests) = {
            let content = self.content();
            (content.blobs.clone(), content.manifests.clone())
        };
        for (digest, bytes) in blobs {
            let (status, headers, _) =
                ask(address, "POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
            assert_eq!(status, 202);
            let location = headers.iter().find(|(name, _)| name == "location").unwrap().1.clone();
            let place = location.split_once(address).map_or(&*location, |(_, rest)| rest);
            let mark = if place.contains('?') { '&' } else { '?' };
            let place = format!("{place}{mark}digest={digest}");
            let (status, _, body) = ask(address, "PUT", &place, "application/octet-stream", &bytes);
            assert_eq!(status, 201, "{body}");
        }
        // Those that others lead to come first: an index is larger than nothing it lists, but the
        // registry wants it last.
        let is_index = |kind: &str| kind.contains("index") || kind.contains("list");
        let mut manifests: Vec<_> = manifests.into_iter().collect();
        manifests.sort_by_key(|(_, (kind, _))| is_index(kind));
        for ((_, reference), (kind, bytes)) in manifests {
            let path = format!("/v2/{repository}/manifests/{reference}");
            let (status, _, body) = ask(address, "PUT", &path, &kind, &bytes);
            assert_eq!(status, 201, "{body}");
        }
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }
}

fn missing() -> Answer {
    Answer::new(404)
        .body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
        .header("Content-Type", "application/json")
}

/// Status, headers with their names in lower case, and body.
type Answered = (u16, Vec<(String, String)>, String);

/// One request on a connection of its own.
pub fn ask(address: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> Answered {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    head.push_str("Accept: */*, application/vnd.oci.image.index.v1+json, ");
    head.push_str("application/vnd.oci.image.manifest.v1+json, ");
    head.push_str("application/vnd.docker.distribution.manifest.v2+json\r\n");
    if !kind.is_empty() {
        head.push_str(&format!("Content-Type: {kind}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    (status, headers, body.to_owned())
}
