//! Blobs: every way in, every way out.

use anyhow::{Result, ensure};

use super::case::{Case, Check, header, status};

pub(crate) const CHECKS: &[Check] = &[
    ("a blob that is not there", missing),
    ("post with all bytes", post_only),
    ("post, then put", post_put),
    ("post, one patch, put", patch),
    ("post, several patches, put", patches),
    ("the last chunk in the put", last_in_put),
    ("a chunk out of order", out_of_order),
    ("a patch of unknown length", streamed),
    ("post that names the algorithm", algorithm),
    ("mount from a repository", mount),
    ("mount from anywhere", mount_anywhere),
    ("mount of what is not there", mount_missing),
    ("an upload that is cancelled", cancel),
    ("an upload of another repository", foreign_upload),
    ("head and get agree", head),
    ("parts of a blob", parts),
    ("small blobs", small),
    ("digests that are wrong", wrong_digest),
    ("a digest that is none", no_digest),
    ("a blob that is deleted", delete),
    ("a blob of another repository", foreign),
    ("what is cached is not sent again", cached),
];

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|place| u8::try_from(place * 7 % 251).unwrap_or(0)).collect()
}

fn is_there(case: &Case, digest: &str, bytes: &[u8]) -> Result<()> {
    let answer = case.get(&format!("blobs/{digest}"));
    status(&answer, 200)?;
    ensure!(answer.body == bytes, "other bytes came out than went in");
    Ok(())
}

fn missing(case: &Case) -> Result<()> {
    let digest = case.digest(b"never pushed");
    status(&case.get(&format!("blobs/{digest}")), 404)?;
    status(&case.send("HEAD", &format!("blobs/{digest}")), 404)?;
    case.blob(b"something else")?;
    let answer = case.get(&format!("blobs/{digest}"));
    status(&answer, 404)?;
    ensure!(answer.code() == "BLOB_UNKNOWN", "{}", answer.text());
    Ok(())
}

fn post_only(case: &Case) -> Result<()> {
    let bytes = bytes(3000);
    let digest = case.digest(&bytes);
    let path = case.path(&format!("blobs/uploads/?digest={digest}"));
    let answer = case.http.send("POST", &path, &[OCTETS], &bytes);
    status(&answer, 201)?;
    ensure!(case.location(&answer)?.ends_with(&format!("blobs/{digest}")), "{answer:?}");
    is_there(case, &digest, &bytes)
}

fn post_put(case: &Case) -> Result<()> {
    let bytes = bytes(3000);
    let digest = case.digest(&bytes);
    let answer = {
        let location = case.start()?;
        let path = case.with_digest(&location, &digest);
        case.http.send("PUT", &path, &[OCTETS], &bytes)
    };
    status(&answer, 201)?;
    header(&answer, "docker-content-digest", &digest)?;
    is_there(case, &digest, &bytes)
}

fn finish(case: &Case, location: &str, rest: &[u8], all: &[u8]) -> Result<()> {
    let digest = case.digest(all);
    let path = case.with_digest(location, &digest);
    status(&case.http.send("PUT", &path, &[OCTETS], rest), 201)?;
    is_there(case, &digest, all)
}

fn chunk(case: &Case, location: &str, first: usize, bytes: &[u8]) -> Result<String> {
    let range = format!("{first}-{}", first + bytes.len() - 1);
    let answer = case.http.send("PATCH", location, &[OCTETS, ("Content-Range", &range)], bytes);
    status(&answer, 202)?;
    header(&answer, "range", &format!("0-{}", first + bytes.len() - 1))?;
    case.location(&answer)
}

fn patch(case: &Case) -> Result<()> {
    let bytes = bytes(5000);
    let location = chunk(case, &case.start()?, 0, &bytes)?;
    finish(case, &location, b"", &bytes)
}

fn patches(case: &Case) -> Result<()> {
    let bytes = bytes(3500);
    let mut location = case.start()?;
    for (place, part) in bytes.chunks(1024).enumerate() {
        location = chunk(case, &location, place * 1024, part)?;
    }
    finish(case, &location, b"", &bytes)
}

fn last_in_put(case: &Case) -> Result<()> {
    let bytes = bytes(2500);
    let location = chunk(case, &case.start()?, 0, &bytes[..1024])?;
    let location = chunk(case, &location, 1024, &bytes[1024..2048])?;
    let digest = case.digest(&bytes);
    let path = case.with_digest(&location, &digest);
    let range = ("Content-Range", "2048-2499");
    status(&case.http.send("PUT", &path, &[OCTETS, range], &bytes[2048..]), 201)?;
    is_there(case, &digest, &bytes)
}

fn out_of_order(case: &Case) -> Result<()> {
    let bytes = bytes(4096);
    let location = chunk(case, &case.start()?, 0, &bytes[..1024])?;
    let range = ("Content-Range", "2048-3071");
    let answer = case.http.send("PATCH", &location, &[OCTETS, range], &bytes[2048..3072]);
    status(&answer, 416)?;
    let answer = case.http.get(&location);
    status(&answer, 204)?;
    header(&answer, "range", "0-1023")?;
    let location = case.location(&answer)?;
    let location = chunk(case, &location, 1024, &bytes[1024..])?;
    // Not at the begin either.
    let range = ("Content-Range", "0-1023");
    let answer = case.http.send("PATCH", &location, &[OCTETS, range], &bytes[..1024]);
    status(&answer, 416)?;
    finish(case, &location, b"", &bytes)
}

fn streamed(case: &Case) -> Result<()> {
    let bytes = bytes(300_000);
    let location = case.start()?;
    let answer = case.http.send_streamed("PATCH", &location, &[OCTETS], &bytes);
    status(&answer, 202)?;
    header(&answer, "range", "0-299999")?;
    finish(case, &case.location(&answer)?, b"", &bytes)
}

fn algorithm(case: &Case) -> Result<()> {
    let bytes = bytes(2000);
    let location = case.start_with(&format!("?digest-algorithm={}", case.algorithm))?;
    finish(case, &location, &bytes, &bytes)?;
    status(&case.send("POST", "blobs/uploads/?digest-algorithm=md5"), 400)
}

fn other(case: &Case) -> Case {
    let repository = format!("{}/other", case.repository);
    Case::new(case.http.clone(), &repository, case.algorithm)
}

fn mount(case: &Case) -> Result<()> {
    let from = other(case);
    let digest = from.blob(b"to be mounted")?;
    from.image("mounts").map(drop)?;
    let query = format!("blobs/uploads/?mount={digest}&from={}", from.repository);
    let answer = case.send("POST", &query);
    status(&answer, 201)?;
    ensure!(case.location(&answer)?.ends_with(&format!("blobs/{digest}")), "{answer:?}");
    is_there(case, &digest, b"to be mounted")
}

fn mount_anywhere(case: &Case) -> Result<()> {
    let from = other(case);
    let image = from.image("anywhere")?;
    status(&from.put("v1", super::case::OCI_MANIFEST, &image), 201)?;
    let digest = image["layers"][0]["digest"].as_str().unwrap_or_default();
    let answer = case.send("POST", &format!("blobs/uploads/?mount={digest}"));
    // Either is right: mounted, or to be uploaded.
    if answer.status == 202 {
        case.location(&answer)?;
        return Ok(());
    }
    status(&answer, 201)?;
    status(&case.get(&format!("blobs/{digest}")), 200)
}

fn mount_missing(case: &Case) -> Result<()> {
    let digest = case.digest(b"nowhere");
    let from = other(case).repository;
    let answer = case.send("POST", &format!("blobs/uploads/?mount={digest}&from={from}"));
    status(&answer, 202)?;
    finish(case, &case.location(&answer)?, b"nowhere", b"nowhere")
}

fn cancel(case: &Case) -> Result<()> {
    let location = chunk(case, &case.start()?, 0, &bytes(1024))?;
    status(&case.http.send("DELETE", &location, &[], b""), 204)?;
    status(&case.http.get(&location), 404)?;
    let path = case.with_digest(&location, &case.digest(&bytes(1024)));
    status(&case.http.send("PUT", &path, &[OCTETS], b""), 404)
}

fn foreign_upload(case: &Case) -> Result<()> {
    let location = case.start()?;
    let wrong = location.replace(&case.repository, &other(case).repository);
    ensure!(wrong != location);
    let answer = case.http.send("PATCH", &wrong, &[OCTETS], b"x");
    ensure!(answer.status == 404 || answer.status == 400, "{answer:?}");
    Ok(())
}

fn head(case: &Case) -> Result<()> {
    let digest = case.blob(&bytes(777))?;
    for method in ["HEAD", "GET"] {
        let answer = case.send(method, &format!("blobs/{digest}"));
        status(&answer, 200)?;
        header(&answer, "content-length", "777")?;
        header(&answer, "docker-content-digest", &digest)?;
        ensure!(answer.body.len() == if method == "HEAD" { 0 } else { 777 });
    }
    Ok(())
}

fn parts(case: &Case) -> Result<()> {
    let bytes = bytes(5000);
    let digest = case.blob(&bytes)?;
    let path = case.path(&format!("blobs/{digest}"));
    for (range, first, end) in [
        ("500-1499", 500, 1500),
        ("500-", 500, 5000),
        ("-500", 4500, 5000),
        ("2000-7000", 2000, 5000),
        ("0-0", 0, 1),
    ] {
        let answer = case.http.send("GET", &path, &[("Range", &format!("bytes={range}"))], b"");
        status(&answer, 206)?;
        header(&answer, "content-range", &format!("bytes {first}-{}/5000", end - 1))?;
        header(&answer, "content-length", &(end - first).to_string())?;
        ensure!(answer.body == bytes[first..end], "{range}: other bytes");
    }
    for range in ["500-0", "5000-10000"] {
        let answer = case.http.send("GET", &path, &[("Range", &format!("bytes={range}"))], b"");
        status(&answer, 416)?;
    }
    Ok(())
}

fn small(case: &Case) -> Result<()> {
    for bytes in [&b""[..], b"{}"] {
        let digest = case.blob(bytes)?;
        is_there(case, &digest, bytes)?;
    }
    Ok(())
}

fn wrong_digest(case: &Case) -> Result<()> {
    let wrong = case.digest(b"something else");
    let octets = [OCTETS];
    let path = case.path(&format!("blobs/uploads/?digest={wrong}"));
    let answer = case.http.send("POST", &path, &octets, b"these bytes");
    // Who does not take it at once starts an upload.
    ensure!(answer.status == 400 || answer.status == 202, "{answer:?}");
    let path = case.with_digest(&case.start()?, &wrong);
    let answer = case.http.send("PUT", &path, &octets, b"these bytes");
    status(&answer, 400)?;
    ensure!(answer.code() == "DIGEST_INVALID", "{}", answer.text());
    let location = chunk(case, &case.start()?, 0, b"these bytes")?;
    let path = case.with_digest(&location, &wrong);
    status(&case.http.send("PUT", &path, &octets, b""), 400)?;
    let answer = case.http.send_streamed("PATCH", &case.start()?, &octets, b"these bytes");
    let path = case.with_digest(&case.location(&answer)?, &wrong);
    status(&case.http.send("PUT", &path, &octets, b""), 400)?;
    status(&case.get(&format!("blobs/{wrong}")), 404)
}

fn no_digest(case: &Case) -> Result<()> {
    let answer = case.get("blobs/sha256:nothing");
    ensure!(answer.status == 400 || answer.status == 404, "{answer:?}");
    let location = case.start()?;
    status(&case.http.send("PUT", &location, &[OCTETS], b"x"), 400)?;
    let path = case.with_digest(&case.start()?, "sha256:baddigeststring");
    status(&case.http.send("PUT", &path, &[OCTETS], b"x"), 400)
}

fn delete(case: &Case) -> Result<()> {
    let digest = case.blob(b"to be deleted")?;
    status(&case.send("DELETE", &format!("blobs/{digest}")), 202)?;
    status(&case.get(&format!("blobs/{digest}")), 404)?;
    status(&case.send("DELETE", &format!("blobs/{digest}")), 404)?;
    case.blob(b"to be deleted")?;
    is_there(case, &digest, b"to be deleted")
}

fn foreign(case: &Case) -> Result<()> {
    let digest = other(case).blob(b"of another repository")?;
    case.blob(b"of this one")?;
    status(&case.get(&format!("blobs/{digest}")), 404)
}

fn cached(case: &Case) -> Result<()> {
    let digest = case.blob(b"does not change")?;
    let path = case.path(&format!("blobs/{digest}"));
    let tag = case.http.get(&path).header("etag").unwrap_or_default().to_owned();
    ensure!(!tag.is_empty(), "no ETag");
    status(&case.http.send("GET", &path, &[("If-None-Match", &tag)], b""), 304)
}
