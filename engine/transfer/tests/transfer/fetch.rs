//! Fetching: documents, blobs, lists, and connections that break.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use hull_oci::{Descriptor, Digest};
use hull_test_support::registry::{Answer, ScriptedRegistry};
use hull_transfer::{BlobOutputs, FailureKind, Transfer};

use crate::support::{
    MANIFEST, blob, content, fetch, noise, program, reference, refused, serve, session, transfer,
};

const BYTES: &[u8] = br#"{"schemaVersion":2}"#;

fn manifest_answer() -> Answer {
    Answer::ok(BYTES)
        .header("Content-Type", MANIFEST)
        .header("Docker-Content-Digest", Digest::sha256(BYTES))
}

#[test]
fn resolve_takes_one_head() {
    let registry = ScriptedRegistry::start(|_| manifest_answer());
    let transfer = transfer();
    let resolved = transfer.resolve(&reference(&registry.address(), "a/b:v1")).unwrap();
    assert_eq!(resolved, Descriptor::of(MANIFEST, BYTES));
    let requests = registry.requests();
    // What comes first is the TLS handshake that a registry in the clear does not understand.
    let understood: Vec<_> = requests.iter().filter(|request| request.method == "HEAD").collect();
    assert_eq!(understood.len(), 1);
    assert_eq!(understood[0].target, "/v2/a/b/manifests/v1");
    assert!(understood[0].header("accept").unwrap().contains("image.index.v1"));
    assert!(understood[0].header("user-agent").unwrap().starts_with("hull/"));
}

/// Registries that know no HEAD, or name no digest (research: ECR).
#[test]
fn resolve_reads_the_manifest_where_head_says_too_little() {
    for status in [200, 404, 405] {
        let registry = ScriptedRegistry::start(move |request| {
            let head = request.method == "HEAD";
            let status = if head { status } else { 200 };
            Answer::new(status)
                .body(if status == 200 { BYTES } else { b"" })
                .header("Content-Type", MANIFEST)
        });
        let resolved = transfer().resolve(&reference(&registry.address(), "a:v1")).unwrap();
        assert_eq!(resolved, Descriptor::of(MANIFEST, BYTES), "{status}");
    }
}

#[test]
fn manifests_by_tag_and_digest() {
    let registry = ScriptedRegistry::start(|_| manifest_answer());
    let transfer = transfer();
    let by_tag = reference(&registry.address(), "a:v1");
    let document = transfer.manifest(&by_tag).unwrap();
    assert_eq!(document.bytes, BYTES);
    assert_eq!(document.descriptor, Descriptor::of(MANIFEST, BYTES));
    let by_digest = by_tag.with_digest(Digest::sha256(BYTES));
    assert_eq!(transfer.manifest(&by_digest).unwrap(), document);
}

#[test]
fn a_blob_goes_into_the_file_and_through_the_pipe() {
    let bytes = noise(5_000_000);
    let served = bytes.clone();
    let registry = ScriptedRegistry::start(move |request| serve(&served, request));
    let transfer = transfer();
    let descriptor = blob(&bytes);
    for have in [0, 1, 3_000_000, bytes.len()] {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes[..have]).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let drained = std::thread::spawn(move || {
            let mut drained = Vec::new();
            reader.read_to_end(&mut drained).unwrap();
            drained
        });
        let mut last = 0;
        let outputs = BlobOutputs {
            ingest: file.as_fd(),
            have: have as u64,
            pipe: Some(OwnedFd::from(writer)),
        };
        let repository = reference(&registry.address(), "a");
        transfer.blob(&repository, &descriptor, outputs, &mut |bytes| last = bytes).unwrap();
        assert!(drained.join().unwrap() == bytes, "from {have} on");
        assert!(content(&mut file) == bytes, "from {have} on");
        assert!(last >= have as u64);
    }
    let ranges: Vec<_> =
        registry.requests().iter().filter_map(|request| request.range_start()).collect();
    assert_eq!(ranges, [1, 3_000_000]);
}

#[test]
fn a_cut_connection_goes_on_where_it_was() {
    let bytes = noise(3_000_000);
    let served = bytes.clone();
    let registry = ScriptedRegistry::start(move |request| {
        let answer = serve(&served, request);
        // Each time a bit more than a third of a million; the last one whole.
        let left = served.len() - request.range_start().unwrap_or(0);
        if left > 400_000 { answer.cut(350_000) } else { answer }
    });
    let (result, got) =
        fetch(&transfer(), &reference(&registry.address(), "a"), &blob(&bytes), b"");
    result.unwrap();
    assert!(got == bytes);
    let starts: Vec<_> =
        registry.requests().iter().filter_map(|request| request.range_start()).collect();
    assert!(starts.len() >= 7 && starts.is_sorted(), "{starts:?}");
}

#[test]
fn a_silent_connection_is_given_up_and_the_rest_fetched() {
    let bytes = noise(500_000);
    let served = bytes.clone();
    let registry = ScriptedRegistry::start(move |request| match request.range_start() {
        None => Answer::ok(served.clone()).stall(200_000),
        Some(_) => serve(&served, request),
    });
    let (result, got) =
        fetch(&transfer(), &reference(&registry.address(), "a"), &blob(&bytes), b"");
    result.unwrap();
    assert!(got == bytes);
    let starts: Vec<_> =
        registry.requests().iter().filter_map(|request| request.range_start()).collect();
    assert_eq!(starts, [200_000]);
}

/// A registry without ranges sends all of it: what is there is skipped, and stays.
#[test]
fn a_registry_without_ranges() {
    let bytes = noise(2_000_000);
    let served = bytes.clone();
    let registry = ScriptedRegistry::start(move |_| Answer::ok(served.clone()));
    let repository = reference(&registry.address(), "a");
    let (result, got) = fetch(&transfer(), &repository, &blob(&bytes), &bytes[..1_234_567]);
    result.unwrap();
    assert!(got == bytes);
}

/// What is left behind by an older try is no part of the blob, and a wrong begin is found out.
#[test]
fn what_was_there_is_verified() {
    let bytes = noise(100_000);
    let served = bytes.clone();
    let registry = ScriptedRegistry::start(move |request| serve(&served, request));
    let repository = reference(&registry.address(), "a");
    let (result, _) = fetch(&transfer(), &repository, &blob(&bytes), &[7; 5000]);
    refused(result, FailureKind::Invalid, "has digest sha256:");
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &noise(200_000)).unwrap();
    let outputs = BlobOutputs { ingest: file.as_fd(), have: 1000, pipe: None };
    transfer().blob(&repository, &blob(&bytes), outputs, &mut |_| {}).unwrap();
    assert!(content(&mut file) == bytes);
}

#[test]
fn a_reader_that_goes_away_ends_the_call() {
    let bytes = noise(8_000_000);
    let served = bytes.clone();
    let registry = ScriptedRegistry::start(move |request| serve(&served, request));
    let file = tempfile::tempfile().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let outputs = BlobOutputs { ingest: file.as_fd(), have: 0, pipe: Some(OwnedFd::from(writer)) };
    let repository = reference(&registry.address(), "a");
    let result = transfer().blob(&repository, &blob(&bytes), outputs, &mut |_| {});
    refused(result, FailureKind::Internal, "hand on");
}

#[test]
fn many_blobs_at_once() {
    let blobs: Vec<Vec<u8>> = (0..16).map(|number| noise(300_000 + number)).collect();
    let served = blobs.clone();
    let registry = ScriptedRegistry::start(move |request| {
        let wanted =
            served.iter().find(|bytes| request.path().ends_with(Digest::sha256(bytes).hex()));
        wanted.map_or(Answer::new(404), |bytes| serve(bytes, request))
    });
    let (transfer, repository) = (transfer(), reference(&registry.address(), "a"));
    std::thread::scope(|scope| {
        for bytes in &blobs {
            let (transfer, repository) = (&transfer, &repository);
            scope.spawn(move || {
                let (result, got) = fetch(transfer, repository, &blob(bytes), b"");
                result.unwrap();
                assert!(&got == bytes);
            });
        }
    });
}

#[test]
fn lists_are_read_page_by_page() {
    let registry = ScriptedRegistry::start(|request| match request.target.as_str() {
        "/v2/a/tags/list?n=1000" => Answer::ok(r#"{"name":"a","tags":["one","two"]}"#)
            .header("Link", "</v2/a/tags/list?n=1000&last=two>; rel=\"next\""),
        "/v2/a/tags/list?n=1000&last=two" => {
            Answer::ok(r#"{"name":"a","tags":["three","not a tag"]}"#)
        }
        _ => Answer::new(404),
    });
    let tags = transfer().tags(&reference(&registry.address(), "a")).unwrap();
    assert_eq!(tags, ["one", "two", "three"]);
}

#[test]
fn referrers_by_the_api_and_by_tag() {
    let subject = Digest::sha256(b"subject");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"{}","size":3}}]}}"#,
        Digest::sha256(b"it")
    );
    for by_tag in [false, true] {
        let index = index.clone();
        let registry = ScriptedRegistry::start(move |request| {
            let fits =
                request.path().contains(if by_tag { "/manifests/sha256-" } else { "/referrers/" });
            if fits { Answer::ok(index.clone()) } else { Answer::new(404) }
        });
        let found = transfer().referrers(&reference(&registry.address(), "a"), &subject).unwrap();
        assert_eq!(found.len(), 1, "{by_tag}");
    }
    let registry = ScriptedRegistry::start(|_| Answer::new(404));
    let found = transfer().referrers(&reference(&registry.address(), "a"), &subject).unwrap();
    assert!(found.is_empty());
}

#[test]
fn search_by_index_and_by_catalog() {
    let registry = ScriptedRegistry::start(|request| match request.path() {
        "/v1/search" => Answer::ok(
            r#"{"results":[{"name":"busybox","description":"tiny\u001b[31m","star_count":3,
                "is_official":true}]}"#,
        ),
        _ => Answer::new(404),
    });
    let found = transfer().search(&registry.address(), "busy", 25).unwrap();
    assert_eq!((found[0].name.as_str(), found[0].stars, found[0].official), ("busybox", 3, true));
    assert!(!found[0].description.contains('\u{1b}'));
    let registry = ScriptedRegistry::start(|request| match request.path() {
        "/v2/_catalog" => Answer::ok(r#"{"repositories":["a/web","b/db"]}"#),
        _ => Answer::new(404),
    });
    let found = transfer().search(&registry.address(), "web", 25).unwrap();
    assert_eq!(found.len(), 1);
    let registry = ScriptedRegistry::start(|_| Answer::new(404));
    let nothing = transfer().search(&registry.address(), "web", 25);
    refused(nothing, FailureKind::Unsupported, "no search");
}

#[test]
fn errors_say_what_the_registry_says() {
    let registry = ScriptedRegistry::start(|_| {
        Answer::new(404)
            .body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such\nthing"}]}"#)
    });
    let result = transfer().manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::NotFound, "no such thing (MANIFEST_UNKNOWN)");
    let registry = ScriptedRegistry::start(|_| Answer::new(403).body("<html>"));
    let result = transfer().manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::Denied, "403 Forbidden");
}

#[test]
fn what_passes_is_tried_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let registry = ScriptedRegistry::start(move |request| {
            if request.number < 1 && request.method == "GET" && request.target.len() > 1 {
                return Answer::new(status).header("Retry-After", 0);
            }
            manifest_answer()
        });
        transfer().manifest(&reference(&registry.address(), "a:v1")).unwrap();
    }
    let registry = ScriptedRegistry::start(|_| Answer::new(429).header("Retry-After", 3600));
    let result = transfer().manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::Unavailable, "try again in 3600 s");
    let count = registry.requests().iter().filter(|request| request.method == "GET").count();
    assert_eq!(count, 1, "it said when to come back");
}

#[test]
fn mirrors_come_first_and_may_fail() {
    let origin = ScriptedRegistry::start(|_| manifest_answer());
    let good = ScriptedRegistry::start(|_| manifest_answer());
    let without = ScriptedRegistry::start(|_| Answer::new(404));
    let closed = { ScriptedRegistry::start(|_| Answer::new(404)).address() };
    let toml = format!(
        "[registry.\"{}\"]\nmirrors = [\"http://{closed}\", \"http://{}\", \"http://{}/hub\"]",
        origin.address(),
        without.address(),
        good.address()
    );
    let transfer = Transfer::spawn(program(), &session(&toml)).unwrap();
    transfer.manifest(&reference(&origin.address(), "a:v1")).unwrap();
    assert!(origin.requests().is_empty());
    assert_eq!(
        good.requests()[0].target,
        format!("/hub/v2/a/manifests/v1?ns={}", origin.address().replace(':', "%3A"))
    );
    let toml = format!(
        "[registry.\"{}\"]\nmirrors = [\"http://{}\"]",
        origin.address(),
        without.address()
    );
    let transfer = Transfer::spawn(program(), &session(&toml)).unwrap();
    transfer.manifest(&reference(&origin.address(), "a:v1")).unwrap();
    assert!(!origin.requests().is_empty());
}

#[test]
fn offline_and_blocked() {
    let registry = ScriptedRegistry::start(|_| manifest_answer());
    let wanted = reference(&registry.address(), "a:v1");
    let blocked = format!("[registry.\"{}\"]\nblocked = true", registry.address());
    for (toml, kind, says) in [
        ("offline = true", FailureKind::Unavailable, "offline"),
        (blocked.as_str(), FailureKind::Denied, "blocked"),
    ] {
        let transfer = Transfer::spawn(program(), &session(toml)).unwrap();
        refused(transfer.resolve(&wanted), kind, says);
    }
    assert!(registry.requests().is_empty());
}

#[test]
fn foreign_layers_only_from_hosts_that_are_listed() {
    let bytes = noise(10_000);
    let served = bytes.clone();
    let place = ScriptedRegistry::start(move |request| match request.path() {
        "/layer" => serve(&served, request),
        // From here it would go on to another address of this machine.
        "/moved" => Answer::new(302).header("Location", "http://127.0.0.2:1/layer"),
        _ => Answer::new(404),
    });
    let registry = ScriptedRegistry::start(|_| Answer::new(404));
    let (wanted, mut descriptor) = (reference(&registry.address(), "a"), blob(&bytes));
    let listed = |hosts: &str| {
        let toml = format!("[registry.\"{}\"]\nforeign-layers = [{hosts}]", registry.address());
        Transfer::spawn(program(), &session(&toml)).unwrap()
    };
    descriptor.urls = vec![format!("http://{}/layer", place.address())];
    let (result, _) = fetch(&transfer(), &wanted, &descriptor, b"");
    refused(result, FailureKind::NotFound, "404");
    let (result, _) = fetch(&listed("\"layers.example\""), &wanted, &descriptor, b"");
    refused(result, FailureKind::NotFound, "404");
    assert!(place.requests().is_empty());

    let (result, fetched) = fetch(&listed("\"127.0.0.1\""), &wanted, &descriptor, b"");
    result.unwrap();
    assert_eq!(fetched, bytes);
    let asked = place.requests();
    assert!(asked.iter().all(|request| request.header("authorization").is_none()), "{asked:?}");

    descriptor.urls = vec![format!("http://{}/moved", place.address())];
    let (result, _) = fetch(&listed("\"127.0.0.1\""), &wanted, &descriptor, b"");
    refused(result, FailureKind::Denied, "on this machine");
}

#[test]
fn a_process_that_is_killed_says_so() {
    let registry = ScriptedRegistry::start(|_| Answer::ok(vec![0; 100]).stall(10));
    let mut patient = session("");
    patient.registries = hull_transfer::Registries::default();
    let transfer = Transfer::spawn(program(), &patient).unwrap();
    let before = std::time::Instant::now();
    drop(transfer);
    assert!(before.elapsed() < std::time::Duration::from_secs(5));
    let missing = Transfer::spawn(std::path::Path::new("/nonexistent"), &patient);
    assert!(missing.unwrap_err().to_string().contains("cannot start"));
    drop(registry);
}
