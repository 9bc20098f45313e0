//! Manifests: of every kind, by tag and by digest, in and out.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::case::{Case, Check, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, header, status};

pub(crate) const CHECKS: &[Check] = &[
    ("a manifest that is not there", missing),
    ("a manifest by tag and by digest", both),
    ("several tags at once", tags),
    ("an index, and one within one", indexes),
    ("an artifact", artifact),
    ("a manifest about another", subject),
    ("an artifact that is an index", artifact_index),
    ("data in a descriptor", data),
    ("a layer that may not be given out", foreign_layer),
    ("fields that nobody knows", custom),
    ("a manifest without layers", no_layers),
    ("a digest that is not the manifest's", wrong_digest),
    ("a digest that is none", bad_digest),
    ("a tag that is none", bad_tag),
    ("what is no manifest", nonsense),
    ("a manifest whose blobs are missing", missing_blobs),
    ("an index whose manifests are missing", missing_manifests),
    ("a manifest with the blobs of another repository", foreign_blobs),
    ("a manifest that is an index too", ambiguous),
    ("a manifest sent as something else", another_type),
    ("a manifest of schema 1", schema_1),
    ("a size that is not the blob's", wrong_size),
    ("a manifest of four megabytes", large),
    ("a tag that moves", moves),
    ("a tag that is deleted", delete_tag),
    ("a manifest that is deleted", delete_manifest),
    ("a manifest that an index lists is deleted", delete_listed),
    ("what is cached is not sent again", cached),
];

/// It comes out as it went in, by `reference` and by digest.
fn comes_out(case: &Case, reference: &str, kind: &str, bytes: &[u8]) -> Result<()> {
    // What was pushed by tag has the digest that everybody computes.
    let digest = match reference.contains(':') {
        true => reference.to_owned(),
        false => super::case::digest_as(super::case::Algorithm::Sha256, bytes),
    };
    for by in [reference, &digest] {
        for method in ["HEAD", "GET"] {
            let path = case.path(&format!("manifests/{by}"));
            let answer = case.http.send(method, &path, &[("Accept", kind)], b"");
            status(&answer, 200)?;
            header(&answer, "content-type", kind)?;
            header(&answer, "content-length", &bytes.len().to_string())?;
            header(&answer, "docker-content-digest", &digest)?;
            ensure!(method == "HEAD" || answer.body == bytes, "other bytes by {by}");
        }
    }
    Ok(())
}

fn goes_through(case: &Case, kind: &str, manifest: &Value) -> Result<()> {
    let bytes = manifest.to_string();
    let answer = case.put("v1", kind, manifest);
    status(&answer, 201)?;
    ensure!(answer.header("location").is_some(), "no Location");
    comes_out(case, "v1", kind, bytes.as_bytes())?;
    let digest = case.digest(bytes.as_bytes());
    status(&case.put(&digest, kind, manifest), 201)?;
    comes_out(case, &digest, kind, bytes.as_bytes())
}

fn missing(case: &Case) -> Result<()> {
    let digest = case.digest(b"never pushed");
    for reference in ["none", &digest] {
        for method in ["GET", "HEAD", "DELETE"] {
            let answer = case.send(method, &format!("manifests/{reference}"));
            status(&answer, 404)?;
        }
    }
    status(&case.put("v1", OCI_MANIFEST, &case.image("here")?), 201)?;
    let answer = case.get("manifests/none");
    status(&answer, 404)?;
    ensure!(answer.code() == "MANIFEST_UNKNOWN", "{}", answer.text());
    Ok(())
}

fn both(case: &Case) -> Result<()> {
    goes_through(case, OCI_MANIFEST, &case.image("both")?)
}

fn tags(case: &Case) -> Result<()> {
    let image = case.image("tags")?;
    let digest = case.digest(image.to_string().as_bytes());
    let answer = case.put(&format!("{digest}?tag=a&tag=b"), OCI_MANIFEST, &image);
    status(&answer, 201)?;
    for tag in ["a", "b"] {
        let answer = case.get(&format!("manifests/{tag}"));
        status(&answer, 200)?;
        header(&answer, "docker-content-digest", &digest)?;
    }
    status(&case.put(&format!("{digest}?tag=a:b"), OCI_MANIFEST, &image), 400)
}

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests })
}

fn indexes(case: &Case) -> Result<()> {
    let mut listed = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let image = case.image(architecture)?;
        let mut descriptor = case.put_by_digest(OCI_MANIFEST, &image)?;
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        listed.push(descriptor);
    }
    let inner = case.put_by_digest(OCI_INDEX, &index(&listed))?;
    goes_through(case, OCI_INDEX, &index(&listed))?;
    let nested = Case::new(case.http.clone(), &case.repository, case.algorithm);
    goes_through(&nested, OCI_INDEX, &index(&[inner]))?;
    goes_through(case, OCI_INDEX, &index(&[]))
}

fn made_artifact(case: &Case, name: &str) -> Result<Value> {
    let empty = case.pushed("application/vnd.oci.empty.v1+json", b"{}")?;
    let layer = case.pushed("text/plain", name.as_bytes())?;
    Ok(json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.thing", "config": empty, "layers": [layer],
        "annotations": { "org.example.name": name } }))
}

fn artifact(case: &Case) -> Result<()> {
    goes_through(case, OCI_MANIFEST, &made_artifact(case, "artifact")?)
}

fn subject(case: &Case) -> Result<()> {
    let about = case.put_by_digest(OCI_MANIFEST, &case.image("about")?)?;
    let missing = json!({ "mediaType": OCI_MANIFEST, "digest": case.digest(b"?"), "size": 1 });
    for (name, subject) in [("present", about), ("missing", missing)] {
        let mut manifest = made_artifact(case, name)?;
        manifest["subject"] = subject.clone();
        let answer = case.put(name, OCI_MANIFEST, &manifest);
        status(&answer, 201)?;
        header(&answer, "oci-subject", subject["digest"].as_str().context("a digest")?)?;
        goes_through(case, OCI_MANIFEST, &manifest)?;
        let mut list = index(&[]);
        list["subject"] = subject.clone();
        let answer = case.put(name, OCI_INDEX, &list);
        status(&answer, 201)?;
        header(&answer, "oci-subject", subject["digest"].as_str().context("a digest")?)?;
    }
    Ok(())
}

fn artifact_index(case: &Case) -> Result<()> {
    let one = case.put_by_digest(OCI_MANIFEST, &made_artifact(case, "listed")?)?;
    let mut list = index(&[one]);
    list["artifactType"] = json!("application/vnd.example.things");
    goes_through(case, OCI_INDEX, &list)
}

fn data(case: &Case) -> Result<()> {
    let mut image = case.image("data")?;
    image["config"] = case.pushed("application/vnd.oci.empty.v1+json", b"{}")?;
    image["config"]["data"] = json!("e30=");
    goes_through(case, OCI_MANIFEST, &image)
}

fn foreign_layer(case: &Case) -> Result<()> {
    let mut image = case.image("foreign")?;
    let layers = image["layers"].as_array_mut().context("layers")?;
    layers.push(json!({ "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": case.digest(b"elsewhere"), "size": 9, "urls": ["https://example.com/layer"] }));
    goes_through(case, OCI_MANIFEST, &image)
}

fn custom(case: &Case) -> Result<()> {
    let mut image = case.image("custom")?;
    image["org.example.field"] = json!({ "deep": [1, 2, { "x": null }] });
    image["config"]["org.example.more"] = json!("text");
    // In another order and with more space than anybody would write it.
    let pretty = serde_json::to_string_pretty(&image)?.replace('\n', "\n \t");
    status(&case.put_bytes("pretty", OCI_MANIFEST, pretty.as_bytes()), 201)?;
    comes_out(case, "pretty", OCI_MANIFEST, pretty.as_bytes())?;
    goes_through(case, OCI_MANIFEST, &image)
}

fn no_layers(case: &Case) -> Result<()> {
    let mut image = case.image("bare")?;
    image["layers"] = json!([]);
    goes_through(case, OCI_MANIFEST, &image)
}

fn wrong_digest(case: &Case) -> Result<()> {
    let image = case.image("wrong")?;
    let wrong = case.digest(b"something else");
    let answer = case.put(&wrong, OCI_MANIFEST, &image);
    status(&answer, 400)?;
    ensure!(answer.code() == "DIGEST_INVALID", "{}", answer.text());
    status(&case.get(&format!("manifests/{wrong}")), 404)
}

fn bad_digest(case: &Case) -> Result<()> {
    let image = case.image("bad")?;
    let answer = case.put("sha256:baddigeststring", OCI_MANIFEST, &image);
    ensure!(answer.status == 400 || answer.status == 404, "{answer:?}");
    ensure!(answer.status == 400, "400 was expected: {}", answer.status);
    Ok(())
}

fn bad_tag(case: &Case) -> Result<()> {
    let image = case.image("bad")?;
    for tag in [".hidden", "-x", &"a".repeat(129)] {
        let answer = case.put(tag, OCI_MANIFEST, &image);
        ensure!(answer.status == 400 || answer.status == 404, "{tag}: {answer:?}");
    }
    Ok(())
}

fn nonsense(case: &Case) -> Result<()> {
    for bytes in [&b"{"[..], b"[]", b"", b"{}"] {
        let answer = case.put_bytes("v1", OCI_MANIFEST, bytes);
        status(&answer, 400)?;
        ensure!(answer.code() == "MANIFEST_INVALID", "{}", answer.text());
    }
    status(&case.get("manifests/v1"), 404)
}

fn missing_blobs(case: &Case) -> Result<()> {
    for part in ["config", "layers"] {
        let mut image = case.image("lacks")?;
        let gone = json!({ "mediaType": OCI_LAYER, "digest": case.digest(b"gone"), "size": 4 });
        image[part] = if part == "config" { gone } else { json!([gone]) };
        let answer = case.put("v1", OCI_MANIFEST, &image);
        ensure!(answer.status == 404 || answer.status == 400, "{answer:?}");
        ensure!(
            answer.code() == "MANIFEST_BLOB_UNKNOWN" || answer.code() == "BLOB_UNKNOWN",
            "{}",
            answer.text()
        );
    }
    status(&case.get("manifests/v1"), 404)
}

fn missing_manifests(case: &Case) -> Result<()> {
    let gone = json!({ "mediaType": OCI_MANIFEST, "digest": case.digest(b"gone"), "size": 4 });
    let answer = case.put("v1", OCI_INDEX, &index(&[gone]));
    ensure!(answer.status == 404 || answer.status == 400, "{answer:?}");
    Ok(())
}

fn foreign_blobs(case: &Case) -> Result<()> {
    let other = Case::new(case.http.clone(), &format!("{}/other", case.repository), case.algorithm);
    let image = other.image("theirs")?;
    status(&other.put("v1", OCI_MANIFEST, &image), 201)?;
    case.blob(b"so that the repository is there")?;
    let answer = case.put("v1", OCI_MANIFEST, &image);
    ensure!(answer.status == 404 || answer.status == 400, "{answer:?}");
    Ok(())
}

/// CVE-2021-41190
fn ambiguous(case: &Case) -> Result<()> {
    let mut image = case.image("both")?;
    image["manifests"] = json!([]);
    for kind in [OCI_MANIFEST, OCI_INDEX] {
        image["mediaType"] = json!(kind);
        status(&case.put("v1", kind, &image), 400)?;
    }
    status(&case.get("manifests/v1"), 404)
}

/// CVE-2021-41190
fn another_type(case: &Case) -> Result<()> {
    let image = case.image("typed")?;
    status(&case.put("v1", OCI_INDEX, &image), 400)?;
    let mut untyped = image.clone();
    untyped.as_object_mut().context("an object")?.remove("mediaType");
    status(&case.put("v1", OCI_INDEX, &untyped), 400)?;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    status(&case.put("v1", docker, &image), 400)?;
    status(&case.put("v1", OCI_MANIFEST, &untyped), 201)?;
    comes_out(case, "v1", OCI_MANIFEST, untyped.to_string().as_bytes())
}

fn schema_1(case: &Case) -> Result<()> {
    let old = json!({ "schemaVersion": 1, "name": "x", "tag": "v1", "architecture": "amd64",
        "fsLayers": [], "history": [] });
    let kind = "application/vnd.docker.distribution.manifest.v1+json";
    let answer = case.put("v1", kind, &old);
    status(&answer, 400)
}

fn wrong_size(case: &Case) -> Result<()> {
    let mut image = case.image("sized")?;
    image["layers"][0]["size"] = json!(1);
    status(&case.put("v1", OCI_MANIFEST, &image), 400)
}

fn large(case: &Case) -> Result<()> {
    let mut image = case.image("large")?;
    let rest = (4 << 20) - image.to_string().len();
    image["annotations"] = json!({ "x": "y".repeat(rest - 25) });
    let text = image.to_string();
    ensure!(text.len() <= 4 << 20 && text.len() > (4 << 20) - 100);
    status(&case.put("v1", OCI_MANIFEST, &image), 201)?;
    comes_out(case, "v1", OCI_MANIFEST, text.as_bytes())?;
    image["annotations"]["more"] = json!("z".repeat(100));
    let answer = case.put("v2", OCI_MANIFEST, &image);
    ensure!(answer.status == 413 || answer.status == 400, "{answer:?}");
    Ok(())
}

fn moves(case: &Case) -> Result<()> {
    let first = case.image("first")?;
    let second = case.image("second")?;
    for image in [&first, &second, &first, &second] {
        status(&case.put("v1", OCI_MANIFEST, image), 201)?;
        comes_out(case, "v1", OCI_MANIFEST, image.to_string().as_bytes())?;
    }
    let digest =
        super::case::digest_as(super::case::Algorithm::Sha256, first.to_string().as_bytes());
    status(&case.get(&format!("manifests/{digest}")), 200)
}

fn delete_tag(case: &Case) -> Result<()> {
    let image = case.image("tagged")?;
    for tag in ["a", "b"] {
        status(&case.put(tag, OCI_MANIFEST, &image), 201)?;
    }
    status(&case.send("DELETE", "manifests/a"), 202)?;
    status(&case.get("manifests/a"), 404)?;
    status(&case.send("DELETE", "manifests/a"), 404)?;
    comes_out(case, "b", OCI_MANIFEST, image.to_string().as_bytes())?;
    status(&case.send("DELETE", "manifests/b"), 202)?;
    let digest =
        super::case::digest_as(super::case::Algorithm::Sha256, image.to_string().as_bytes());
    status(&case.get(&format!("manifests/{digest}")), 200)
}

fn delete_manifest(case: &Case) -> Result<()> {
    let image = case.image("deleted")?;
    let digest = case.digest(image.to_string().as_bytes());
    status(&case.put(&format!("{digest}?tag=a&tag=b"), OCI_MANIFEST, &image), 201)?;
    status(&case.put("c", OCI_MANIFEST, &case.image("other")?), 201)?;
    status(&case.send("DELETE", &format!("manifests/{digest}")), 202)?;
    for reference in [digest.as_str(), "a", "b"] {
        status(&case.get(&format!("manifests/{reference}")), 404)?;
    }
    status(&case.send("DELETE", &format!("manifests/{digest}")), 404)?;
    status(&case.get("manifests/c"), 200)?;
    status(&case.put(&digest, OCI_MANIFEST, &image), 201)?;
    status(&case.get(&format!("manifests/{digest}")), 200)
}

fn delete_listed(case: &Case) -> Result<()> {
    let one = case.put_by_digest(OCI_MANIFEST, &case.image("listed")?)?;
    status(&case.put("list", OCI_INDEX, &index(std::slice::from_ref(&one))), 201)?;
    let path = format!("manifests/{}", one["digest"].as_str().context("a digest")?);
    status(&case.get(&path), 200)?;
    status(&case.send("DELETE", &path), 202)?;
    status(&case.get(&path), 404)?;
    status(&case.get("manifests/list"), 200)
}

fn cached(case: &Case) -> Result<()> {
    status(&case.put("v1", OCI_MANIFEST, &case.image("cached")?), 201)?;
    let path = case.path("manifests/v1");
    let tag = case.http.get(&path).header("etag").unwrap_or_default().to_owned();
    ensure!(!tag.is_empty(), "no ETag");
    status(&case.http.send("GET", &path, &[("If-None-Match", &tag)], b""), 304)?;
    status(&case.put("v1", OCI_MANIFEST, &case.image("changed")?), 201)?;
    status(&case.http.send("GET", &path, &[("If-None-Match", &tag)], b""), 200)
}
