//! Bringing things to a registry.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use hull_oci::Digest;
use hull_test_support::registry::{Answer, Request, ScriptedRegistry};
use hull_transfer::{FailureKind, LoginOutcome, Secret};

use crate::support::{
    BASIC, MANIFEST, PASSWORD, blob, logged_in, noise, reference, refused, transfer,
};

/// A registry that takes uploads, whose `Location` has a query already.
fn taking(
    held: Arc<Mutex<Vec<u8>>>,
    spoil: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
) -> ScriptedRegistry {
    ScriptedRegistry::start(move |request| {
        if let Some(answer) = spoil(request) {
            return answer;
        }
        let mut held = held.lock().unwrap();
        match request.method.as_str() {
            "POST" => {
                held.clear();
                Answer::new(202).header("Location", "/v2/a/blobs/uploads/1?_state=x%3D")
            }
            "PATCH" => {
                held.extend(&request.body);
                Answer::new(202).header("Location", "/v2/a/blobs/uploads/1?_state=y")
            }
            "GET" => {
                let range = format!("0-{}", held.len().saturating_sub(1));
                Answer::new(204)
                    .header("Range", range)
                    .header("Location", "/v2/a/blobs/uploads/1?_state=z")
            }
            "PUT" => {
                let fits = request.target.contains("?_state=")
                    && request
                        .target
                        .ends_with(&format!("&digest=sha256%3A{}", Digest::sha256(&held).hex()));
                Answer::new(if fits { 201 } else { 400 })
            }
            _ => Answer::new(405),
        }
    })
}

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn a_file_is_uploaded() {
    for size in [0, 1, 3_000_000] {
        let (bytes, held) = (noise(size), Arc::default());
        let registry = taking(Arc::clone(&held), |_| None);
        let mut last = 0;
        let repository = reference(&registry.address(), "a");
        let source = file(&bytes);
        transfer()
            .upload(&repository, &blob(&bytes), source.as_fd(), &mut |bytes| last = bytes)
            .unwrap();
        assert!(*held.lock().unwrap() == bytes);
        assert!(last <= size as u64);
    }
}

/// The registry loses the connection when it has a part; it is asked which and gets the rest.
#[test]
fn an_upload_goes_on_where_it_was() {
    let (bytes, held) = (noise(2_000_000), Arc::<Mutex<Vec<u8>>>::default());
    let broken = Mutex::new(false);
    let part = Arc::clone(&held);
    let registry = taking(Arc::clone(&held), move |request| {
        let mut broken = broken.lock().unwrap();
        if request.method == "PATCH" && !*broken {
            *broken = true;
            part.lock().unwrap().extend(&request.body[..700_000]);
            return Some(Answer::new(503));
        }
        None
    });
    let repository = reference(&registry.address(), "a");
    let source = file(&bytes);
    transfer().upload(&repository, &blob(&bytes), source.as_fd(), &mut |_| {}).unwrap();
    assert!(*held.lock().unwrap() == bytes);
    let ranges: Vec<String> = registry
        .requests()
        .iter()
        .filter_map(|request| request.header("content-range").map(ToOwned::to_owned))
        .collect();
    assert_eq!(ranges, ["700000-1999999"]);
}

#[test]
fn a_stream_is_uploaded() {
    let (bytes, held) = (noise(3_000_000), Arc::default());
    let registry = taking(Arc::clone(&held), |_| None);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let written = bytes.clone();
    let thread = std::thread::spawn(move || writer.write_all(&written).unwrap());
    let repository = reference(&registry.address(), "a");
    let sent = transfer().upload_stream(&repository, reader.as_fd(), &mut |_| {}).unwrap();
    thread.join().unwrap();
    assert_eq!((&sent.digest, sent.size), (&Digest::sha256(&bytes), 3_000_000));
    assert!(*held.lock().unwrap() == bytes);
}

#[test]
fn an_upload_that_is_refused() {
    let registry = taking(Arc::default(), |request| {
        (request.method == "PUT").then(|| {
            Answer::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#)
        })
    });
    let repository = reference(&registry.address(), "a");
    let source = file(b"x");
    let result = transfer().upload(&repository, &blob(b"x"), source.as_fd(), &mut |_| {});
    refused(result, FailureKind::Invalid, "no (DIGEST_INVALID)");
}

#[test]
fn mounts_ask_for_both_repositories_at_once() {
    let tokens = ScriptedRegistry::start(|_| Answer::ok(r#"{"token":"good"}"#));
    let realm = format!("Bearer realm=\"http://{}/\"", tokens.address());
    let registry = ScriptedRegistry::start(move |request| {
        match (request.header("authorization"), request.method.as_str()) {
            (None, _) => Answer::new(401).header("WWW-Authenticate", &realm),
            (_, "POST") if request.target.contains("from=known") => Answer::new(201),
            (_, "POST") => Answer::new(202).header("Location", "/v2/a/blobs/uploads/7"),
            (_, "DELETE") => Answer::new(204),
            _ => Answer::new(404),
        }
    });
    let transfer = logged_in(&registry.address(), "");
    let (to, digest) = (reference(&registry.address(), "a"), Digest::sha256(b"x"));
    assert!(transfer.mount(&to, &reference(&registry.address(), "known"), &digest).unwrap());
    assert!(!transfer.mount(&to, &reference(&registry.address(), "other"), &digest).unwrap());
    assert!(!transfer.mount(&to, &reference("elsewhere.example", "a"), &digest).unwrap());
    let asked = tokens.requests();
    assert!(
        asked[0]
            .target
            .contains("scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Aknown%3Apull&"),
        "{}",
        asked[0].target
    );
    let last = registry.requests().pop().unwrap();
    assert_eq!((last.method.as_str(), last.target.as_str()), ("DELETE", "/v2/a/blobs/uploads/7"));
    assert!(!transfer.exists(&to, &digest).unwrap());
}

#[test]
fn manifests_are_put_and_deleted() {
    let registry = ScriptedRegistry::start(|request| match request.method.as_str() {
        "PUT" => Answer::new(201).header("Docker-Content-Digest", Digest::sha256(&request.body)),
        "DELETE" if request.target.ends_with("/kept") => Answer::new(405),
        "DELETE" => Answer::new(202),
        _ => Answer::new(404),
    });
    let transfer = transfer();
    let wanted = reference(&registry.address(), "a:v1");
    let digest = transfer.put_manifest(&wanted, MANIFEST, b"{\"a\": 1}\n").unwrap();
    assert_eq!(digest, Digest::sha256(b"{\"a\": 1}\n"));
    let put = &registry.requests()[0];
    assert_eq!(
        (put.header("content-type"), put.body.as_slice()),
        (Some(MANIFEST), &b"{\"a\": 1}\n"[..])
    );
    transfer.delete_manifest(&wanted).unwrap();
    let kept = transfer.delete_manifest(&reference(&registry.address(), "a:kept"));
    refused(kept, FailureKind::Unsupported, "405");
    let lying = ScriptedRegistry::start(|_| {
        Answer::new(201).header("Docker-Content-Digest", Digest::sha256(b"other"))
    });
    let result = transfer.put_manifest(&reference(&lying.address(), "a:v1"), MANIFEST, b"{}");
    refused(result, FailureKind::Invalid, "the registry made");
}

#[test]
fn logins() {
    let tokens = ScriptedRegistry::start(|request| {
        if request.header("authorization") != Some(BASIC) {
            return Answer::new(401);
        }
        if request.target.contains("offline_token=true") {
            Answer::ok(r#"{"token":"good","refresh_token":"keep"}"#)
        } else {
            Answer::ok(r#"{"token":"good"}"#)
        }
    });
    let realm = format!("Bearer realm=\"http://{}/\",service=x", tokens.address());
    let registry = ScriptedRegistry::start(move |request| match request.header("authorization") {
        Some("Bearer good") => Answer::ok("{}"),
        _ => Answer::new(401).header("WWW-Authenticate", &realm),
    });
    let outcome = logged_in(&registry.address(), "").login(&registry.address()).unwrap();
    let expected = LoginOutcome {
        identity_token: Some(Secret::new("keep")),
        status: "Login Succeeded".to_owned(),
    };
    assert_eq!(outcome, expected);
    assert!(registry.requests().iter().all(|request| request.path() == "/v2/"));

    let basic = ScriptedRegistry::start(|request| match request.header("authorization") {
        Some(BASIC) => Answer::ok("{}"),
        _ => Answer::new(401).header("WWW-Authenticate", "Basic realm=x"),
    });
    let outcome = logged_in(&basic.address(), "").login(&basic.address()).unwrap();
    assert_eq!(outcome.identity_token, None);

    let strict =
        ScriptedRegistry::start(|_| Answer::new(401).header("WWW-Authenticate", "Basic realm=x"));
    let result = logged_in(&strict.address(), "").login(&strict.address());
    refused(result, FailureKind::Unauthorized, "refuses the credentials");
    refused(transfer().login(&strict.address()), FailureKind::Invalid, "no credentials");
    assert!(!format!("{expected:?}").contains("keep") && !PASSWORD.is_empty());
}

/// An identity token is sent to the token server by POST, and nowhere else.
#[test]
fn identity_tokens() {
    let tokens = ScriptedRegistry::start(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let fits = request.method == "POST"
            && body.contains("grant_type=refresh_token")
            && body.contains("refresh_token=keep%2Fme")
            && body.contains("scope=repository%3Aa%3Apull");
        if fits { Answer::ok(r#"{"access_token":"good"}"#) } else { Answer::new(400) }
    });
    let realm = format!("Bearer realm=\"http://{}/t\",service=x", tokens.address());
    let registry = ScriptedRegistry::start(move |request| match request.header("authorization") {
        Some("Bearer good") => Answer::ok("{}"),
        _ => Answer::new(401).header("WWW-Authenticate", &realm),
    });
    let session = crate::support::session("").credentials(
        registry.address(),
        hull_transfer::Credentials::IdentityToken(Secret::new("keep/me")),
    );
    let transfer = hull_transfer::Transfer::spawn(crate::support::program(), &session).unwrap();
    transfer.manifest(&reference(&registry.address(), "a:v1")).unwrap();
    for request in registry.requests() {
        assert!(!format!("{request:?}").contains("keep"));
    }
}
