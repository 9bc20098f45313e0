//! A registry that means harm: refused, with a clear error, and no credential leaves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hull_oci::Digest;
use hull_test_support::registry::{Answer, ScriptedRegistry};
use hull_transfer::{FailureKind, Transfer};

use crate::support::{
    BASIC, MANIFEST, PASSWORD, blob, fetch, logged_in, noise, program, reference, refused, serve,
    session, transfer,
};

/// A registry that wants a token of `realm`.
fn wants_token(realm: &str) -> ScriptedRegistry {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"registry\"");
    ScriptedRegistry::start(move |request| {
        if request.header("authorization") == Some("Bearer good") {
            Answer::ok("{}").header("Content-Type", MANIFEST)
        } else {
            Answer::new(401).header("WWW-Authenticate", &challenge)
        }
    })
}

fn token_server(address: &str) -> ScriptedRegistry {
    ScriptedRegistry::start_on(
        address,
        |stream| Some(Box::new(stream)),
        |_| Answer::ok(r#"{"token":"good"}"#),
    )
}

/// What is right: a token server of the same host gets the password, the registry the token.
#[test]
fn a_token_is_fetched_once_and_kept() {
    let tokens = token_server("127.0.0.1:0");
    let registry = wants_token(&format!("http://{}/token", tokens.address()));
    let transfer = logged_in(&registry.address(), "");
    let wanted = reference(&registry.address(), "a/b:v1");
    transfer.manifest(&wanted).unwrap();
    transfer.manifest(&wanted).unwrap();
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), Some(BASIC));
    for part in ["service=registry", "scope=repository%3Aa%2Fb%3Apull", "account=anna"] {
        assert!(asked[0].target.contains(part), "{}", asked[0].target);
    }
    for request in registry.requests() {
        assert_ne!(request.header("authorization"), Some(BASIC));
    }
}

/// An anonymous pull needs a token too (GHCR).
#[test]
fn anonymous_tokens() {
    let tokens = token_server("127.0.0.1:0");
    let registry = wants_token(&format!("http://{}/token", tokens.address()));
    transfer().manifest(&reference(&registry.address(), "a:v1")).unwrap();
    tokens.never_saw(PASSWORD);
}

/// A token that ended is replaced, once.
#[test]
fn a_token_that_ended() {
    let counter = Arc::new(Mutex::new(0));
    let tokens = {
        let counter = Arc::clone(&counter);
        ScriptedRegistry::start(move |_| {
            let mut count = counter.lock().unwrap();
            *count += 1;
            Answer::ok(format!(r#"{{"access_token":"t{count}","expires_in":3600}}"#))
        })
    };
    let realm = format!("Bearer realm=\"http://{}/\"", tokens.address());
    let good = Arc::new(Mutex::new("Bearer t1"));
    let now = Arc::clone(&good);
    let registry = ScriptedRegistry::start(move |request| {
        if request.header("authorization") == Some(*now.lock().unwrap()) {
            Answer::ok("{}")
        } else {
            Answer::new(401).header("WWW-Authenticate", &realm)
        }
    });
    let transfer = transfer();
    let wanted = reference(&registry.address(), "a:v1");
    transfer.manifest(&wanted).unwrap();
    *good.lock().unwrap() = "Bearer t2";
    transfer.manifest(&wanted).unwrap();
    *good.lock().unwrap() = "Bearer none";
    refused(transfer.manifest(&wanted), FailureKind::Unauthorized, "hull login");
    assert_eq!(*counter.lock().unwrap(), 3);
}

/// The registry names a token server that is not its own (CVE-2026-48978, oras).
#[test]
fn cve_2026_48978_realm_on_another_host() {
    let other = token_server("127.0.0.2:0");
    let registry = wants_token(&format!("http://{}/token", other.address()));
    let result =
        logged_in(&registry.address(), "").manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::Denied, "another's by its name");
    other.never_saw(PASSWORD);
    assert!(other.requests().is_empty());
    // Unless the operator says so.
    let toml = format!("[registry.\"{}\"]\nrealms = [\"127.0.0.2\"]", registry.address());
    logged_in(&registry.address(), &toml)
        .manifest(&reference(&registry.address(), "a:v1"))
        .unwrap();
}

/// Token servers where only this machine gets to (CVE-2020-15157, CVE-2026-33540). The registry is
/// on this machine here, so what is on this link is what it may not lead to.
#[test]
fn cve_2026_33540_realm_at_a_private_address() {
    for realm in [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
    ] {
        let registry = wants_token(realm);
        let result = transfer().manifest(&reference(&registry.address(), "a:v1"));
        refused(result, FailureKind::Denied, "on this link");
    }
}

/// Hosts that look like others.
#[test]
fn unicode_and_other_tricks_in_hosts() {
    for realm in [
        "https://127.0.0.1\u{3002}evil.example/",
        "https://127.0.0.1\u{ff0e}evil.example/",
        "https://\u{1d7cf}27.0.0.1/",
        "https://127.0.0.1@evil.example/",
        "https://127.0.0.1\\\\@evil.example/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "file:///etc/passwd",
        "//127.0.0.1/",
        "",
    ] {
        let registry = wants_token(realm);
        let result =
            logged_in(&registry.address(), "").manifest(&reference(&registry.address(), "a:v1"));
        let error = result.unwrap_err();
        assert!(
            matches!(error.kind(), FailureKind::Denied | FailureKind::Unauthorized),
            "{realm}: {error}"
        );
        registry.never_saw(PASSWORD);
    }
}

#[test]
fn a_token_server_that_redirects_is_not_followed() {
    let other = token_server("127.0.0.2:0");
    let to = format!("http://{}/token", other.address());
    let tokens = ScriptedRegistry::start(move |_| Answer::new(307).header("Location", &to));
    let registry = wants_token(&format!("http://{}/token", tokens.address()));
    let result =
        logged_in(&registry.address(), "").manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::Denied, "redirects");
    assert!(other.requests().is_empty());
}

#[test]
fn tokens_that_are_none() {
    for body in ["{}", "nonsense", r#"{"token":"a\r\nX-Evil: 1"}"#, r#"{"token":"a b"}"#] {
        let tokens = ScriptedRegistry::start(move |_| Answer::ok(body));
        let registry = wants_token(&format!("http://{}/token", tokens.address()));
        let result = transfer().manifest(&reference(&registry.address(), "a:v1"));
        refused(result, FailureKind::Invalid, "token");
    }
    let tokens = ScriptedRegistry::start(|_| Answer::ok(vec![b' '; 100_000]).endless());
    let registry = wants_token(&format!("http://{}/token", tokens.address()));
    let result = transfer().manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::Invalid, "more than 1 MiB");
}

/// Basic, and the same for a whole repository; the password goes to the registry alone.
#[test]
fn redirects_carry_no_credentials() {
    let bytes = noise(100_000);
    let served = bytes.clone();
    let elsewhere = ScriptedRegistry::start_on(
        "127.0.0.2:0",
        |stream| Some(Box::new(stream)),
        move |request| serve(&served, request),
    );
    for status in [301, 302, 303, 307, 308] {
        let to = format!("http://{}/blob?signed=1", elsewhere.address());
        let registry = ScriptedRegistry::start(move |request| {
            if request.header("authorization") == Some(BASIC) {
                Answer::new(status).header("Location", &to)
            } else {
                Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")
            }
        });
        let transfer = logged_in(&registry.address(), "");
        let repository = reference(&registry.address(), "a");
        let (result, got) = fetch(&transfer, &repository, &blob(&bytes), b"");
        result.unwrap();
        assert!(got == bytes);
    }
    assert_eq!(elsewhere.requests().len(), 5);
    elsewhere.never_saw(PASSWORD);
}

/// Whoever we are sent to asks who we are, and is not told (CVE-2020-15157).
#[test]
fn cve_2020_15157_challenge_of_another_host() {
    let elsewhere = ScriptedRegistry::start_on(
        "127.0.0.2:0",
        |stream| Some(Box::new(stream)),
        |_| Answer::new(401).header("WWW-Authenticate", "Basic realm=\"give\""),
    );
    let to = format!("http://{}/", elsewhere.address());
    let registry = ScriptedRegistry::start(move |_| Answer::new(302).header("Location", &to));
    let transfer = logged_in(&registry.address(), "");
    let (result, _) = fetch(&transfer, &reference(&registry.address(), "a"), &blob(b"x"), b"");
    refused(result, FailureKind::Denied, "it is not told");
    elsewhere.never_saw(PASSWORD);
    assert_eq!(elsewhere.requests().len(), 1);
}

/// Within the registry too, credentials are for the repository they were asked for.
#[test]
fn redirects_to_another_repository_carry_no_credentials() {
    for to in ["/v2/victim/blobs/x", "/v2/a/../victim/x", "/v2/a/%2e%2e/victim/x", "/other"] {
        let registry = ScriptedRegistry::start(move |request| {
            if request.target != format!("/v2/a/blobs/{}", Digest::sha256(b"x")) {
                Answer::ok("x")
            } else if request.header("authorization").is_none() {
                Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")
            } else {
                Answer::new(302).header("Location", to)
            }
        });
        let transfer = logged_in(&registry.address(), "");
        let repository = reference(&registry.address(), "a");
        fetch(&transfer, &repository, &blob(b"x"), b"").0.unwrap();
        let last = registry.requests().pop().unwrap();
        assert!(last.header("authorization").is_none(), "{last:?}");
    }
}

#[test]
fn redirects_end() {
    let registry = ScriptedRegistry::start(|request| {
        Answer::new(302).header("Location", format!("{}x", request.target))
    });
    let result = transfer().manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::Invalid, "redirects for the 6th time");
    for (location, says) in [
        ("http://169.254.169.254/", "on this link"),
        ("https://127.0.0.1\u{3002}evil/", "refused"),
        ("gopher://127.0.0.1/", "refused"),
    ] {
        let registry =
            ScriptedRegistry::start(move |_| Answer::new(302).header("Location", location));
        let error = transfer().manifest(&reference(&registry.address(), "a:v1")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says) || text.contains("nowhere"), "{location:?}: {text}");
    }
}

#[test]
fn digests_that_lie() {
    let registry = ScriptedRegistry::start(|_| {
        Answer::ok("{}").header("Docker-Content-Digest", Digest::sha256(b"other"))
    });
    let by_tag = reference(&registry.address(), "a:v1");
    refused(transfer().manifest(&by_tag), FailureKind::Invalid, "other bytes");
    let by_digest = by_tag.with_digest(Digest::sha256(b"wanted"));
    refused(transfer().manifest(&by_digest), FailureKind::Invalid, "other bytes");
    refused(transfer().resolve(&by_digest), FailureKind::Invalid, "the registry has");
    let (result, _) = fetch(&transfer(), &by_tag, &blob(b"[]"), b"");
    refused(result, FailureKind::Invalid, "has digest");
    refused(transfer().document(&by_tag, &blob(b"[]")), FailureKind::Invalid, "other bytes");
}

#[test]
fn sizes_that_lie() {
    let bytes = noise(10_000);
    for (served, says) in [(9_999, "has 9999 bytes"), (10_001, "has 10001 bytes")] {
        let registry = ScriptedRegistry::start(move |_| Answer::ok(noise(served)));
        let repository = reference(&registry.address(), "a");
        let (result, _) = fetch(&transfer(), &repository, &blob(&bytes), b"");
        refused(result, FailureKind::Invalid, says);
        let document = transfer().document(&repository, &blob(&bytes));
        assert_eq!(document.unwrap_err().kind(), FailureKind::Invalid);
    }
    // Ranges of something else.
    for range in ["bytes 0-9/10000", "bytes 5000-9998/9999", "bytes 5000-9999/20000", "x"] {
        let body = bytes.clone();
        let registry = ScriptedRegistry::start(move |_| {
            Answer::new(206).header("Content-Range", range).body(&body[5000..])
        });
        let repository = reference(&registry.address(), "a");
        let (result, _) = fetch(&transfer(), &repository, &blob(&bytes), &bytes[..5000]);
        refused(result, FailureKind::Invalid, "other bytes than those from 5000");
    }
    let registry = ScriptedRegistry::start(|_| Answer::new(416));
    let repository = reference(&registry.address(), "a");
    let (result, _) = fetch(&transfer(), &repository, &blob(&bytes), &bytes[..5000]);
    refused(result, FailureKind::Invalid, "less than the 10000 bytes");
}

#[test]
fn bodies_without_end() {
    let registry = ScriptedRegistry::start(|_| Answer::ok(vec![b' '; 100_000]).endless());
    let wanted = reference(&registry.address(), "a:v1");
    refused(transfer().manifest(&wanted), FailureKind::Invalid, "more bytes than the 4194304");
    let (result, _) = fetch(&transfer(), &wanted, &blob(&noise(1_000_000)), b"");
    refused(result, FailureKind::Invalid, "more than the 1000000 bytes");
    let document = transfer().document(&wanted, &blob(b"{}"));
    refused(document, FailureKind::Invalid, "more bytes than the 2");
    refused(transfer().tags(&wanted), FailureKind::Invalid, "longer than 4 MiB");
}

#[test]
fn bodies_that_stall() {
    let registry = ScriptedRegistry::start(|_| Answer::ok(noise(10_000)).stall(10));
    let started = Instant::now();
    let wanted = reference(&registry.address(), "a:v1");
    refused(transfer().manifest(&wanted), FailureKind::Unavailable, "no data for 1 s");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn huge_manifests() {
    let registry = ScriptedRegistry::start(|_| Answer::ok(vec![b' '; (4 << 20) + 1]));
    let wanted = reference(&registry.address(), "a:v1");
    refused(transfer().manifest(&wanted), FailureKind::Invalid, "more bytes than the 4194304");
    let named = ScriptedRegistry::start(|_| {
        Answer::new(200)
            .header("Docker-Content-Digest", Digest::sha256(b""))
            .header("Content-Length", 1u64 << 40)
    });
    let result = transfer().resolve(&reference(&named.address(), "a:v1"));
    refused(result, FailureKind::Invalid, "more bytes than the 4194304");
}

#[test]
fn floods_of_headers() {
    let registry = ScriptedRegistry::start(|_| Answer::ok("").endless_headers());
    let error = transfer().manifest(&reference(&registry.address(), "a:v1")).unwrap_err();
    assert!(matches!(error.kind(), FailureKind::Invalid | FailureKind::Unavailable), "{error}");
}

#[test]
fn what_is_no_http() {
    let registry = ScriptedRegistry::start_on(
        "127.0.0.1:0",
        |mut stream| {
            // A client that went away is none of its business.
            let _ = std::io::Write::write_all(&mut stream, b"220 mail.example ESMTP\r\n");
            None
        },
        |_| Answer::new(200),
    );
    let error = transfer().manifest(&reference(&registry.address(), "a:v1")).unwrap_err();
    assert!(matches!(error.kind(), FailureKind::Invalid | FailureKind::Unavailable), "{error}");
}

/// Pages that go round and round, and elsewhere.
#[test]
fn lists_without_end() {
    let registry = ScriptedRegistry::start(|request| {
        Answer::ok(r#"{"tags":["x"]}"#)
            .header("Link", format!("<{}>; rel=\"next\"", request.target))
    });
    let result = transfer().tags(&reference(&registry.address(), "a"));
    refused(result, FailureKind::Invalid, "more than 1000 pages");
}

#[test]
fn uploads_to_elsewhere_carry_no_credentials() {
    let elsewhere = ScriptedRegistry::start_on(
        "127.0.0.2:0",
        |stream| Some(Box::new(stream)),
        |request| match request.method.as_str() {
            "PATCH" => Answer::new(202).header("Location", "/done"),
            _ => Answer::new(201),
        },
    );
    let to = format!("http://{}/upload", elsewhere.address());
    let registry = ScriptedRegistry::start(move |request| {
        if request.header("authorization").is_none() {
            Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")
        } else {
            Answer::new(202).header("Location", &to)
        }
    });
    let transfer = logged_in(&registry.address(), "");
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"layer").unwrap();
    let repository = reference(&registry.address(), "a");
    let source = std::os::fd::AsFd::as_fd(&file);
    transfer.upload(&repository, &blob(b"layer"), source, &mut |_| {}).unwrap();
    assert_eq!(elsewhere.requests().len(), 2);
    elsewhere.never_saw(PASSWORD);
}

/// A name of which one address is this machine's: what is dialled decides, not the name
/// (CVE-2026-92543). Nothing in the clear is said to an address that is not listed.
#[test]
fn cve_2026_92543_insecure_by_the_address_that_is_dialled() {
    let registry = ScriptedRegistry::start(|_| Answer::ok("{}"));
    // Listed by a range that the address is not in, and known by no name.
    let toml = "insecure = [\"10.0.0.0/8\"]";
    let transfer = Transfer::spawn(program(), &session(toml)).unwrap();
    // 127.0.0.0/8 is always insecure; with an authority of its own it is not.
    transfer.manifest(&reference(&registry.address(), "a:v1")).unwrap();
    let authority = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.cert.pem()).unwrap();
    let toml = format!("[registry.\"{}\"]\nca = \"{}\"", registry.address(), path.display());
    let strict = Transfer::spawn(program(), &session(&toml)).unwrap();
    let before = registry.requests().len();
    refused(
        strict.manifest(&reference(&registry.address(), "a:v1")),
        FailureKind::Denied,
        "does not speak TLS",
    );
    assert_eq!(registry.requests().len(), before, "nothing was said in the clear");
}

/// The name a reference has is the one credentials are looked up by (CVE-2021-41092).
#[test]
fn cve_2021_41092_credentials_of_one_registry_stay_there() {
    let other = ScriptedRegistry::start(|_| {
        Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let transfer = logged_in("docker.io", "");
    let result = transfer.manifest(&reference(&other.address(), "library/busybox:latest"));
    refused(result, FailureKind::Unauthorized, "hull login");
    other.never_saw(PASSWORD);
}

#[test]
fn wrong_passwords_are_said_once() {
    let registry = ScriptedRegistry::start(|_| {
        Answer::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let transfer = logged_in(&registry.address(), "");
    let result = transfer.manifest(&reference(&registry.address(), "a:v1"));
    refused(result, FailureKind::Unauthorized, "refuses the credentials");
    assert_eq!(registry.requests().len(), 2, "no lockout by trying again");
}
