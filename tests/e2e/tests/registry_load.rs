//! A registry under load, and one that is killed again and again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hull_test_support::archive::Tar;
use hull_test_support::http::{Http, Lost};
use hull_test_support::image::{Compression, Image};
use hull_test_support::serve::{RegistryServer, digest, pull, push};
use hull_test_support::{Hull, eventually};
use serde_json::json;

/// Clients at once.
const CLIENTS: usize = 200;

/// How often the engine itself collects meanwhile, at most.
const PRUNES: usize = 100;

/// An image with a layer that several have and one of its own.
fn image(number: usize) -> Image {
    let shared =
        Tar::new().file("shared", 0o644, &vec![u8::try_from(number % 5).unwrap_or(0); 40_000]);
    let own = Tar::new().file("own", 0o644, format!("{number} ").repeat(3000).as_bytes());
    Image::new()
        .layer(shared.finish(), Compression::Gzip)
        .layer(own.finish(), Compression::Gzip)
        .set("Labels", json!({ "number": number.to_string() }))
}

#[test]
fn privileged_two_hundred_clients_while_garbage_is_collected() {
    let Some(hull) = Hull::new() else { return };
    let config = hull.file(
        "registry.toml",
        b"[limits]\nconnections_per_client = 1000\n[collect]\ninterval = \"100ms\"\n",
    );
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    let http = server.http();
    let done = AtomicBool::new(false);
    let pushed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // The engine collects, too.
        let prune = || {
            let mut command = hull.command(&["image", "prune", "-f"]);
            command.stdout(std::process::Stdio::null());
            command
        };
        let mut prunes: Vec<_> = (0..PRUNES).map(|_| prune()).collect();
        let stop = &done;
        scope.spawn(move || {
            for command in &mut prunes {
                if !stop.load(Ordering::Relaxed) {
                    assert!(command.status().expect("hull starts").success());
                }
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (http, pushed) = (&http, &pushed);
                scope.spawn(move || {
                    // Several write to one repository, and all to one tag of it.
                    let repository = format!("team{}/app", number % 20);
                    let own = push(http, &repository, &format!("v{number}"), &image(number));
                    push(http, &repository, "latest", &image(number));
                    pushed.fetch_add(1, Ordering::Relaxed);
                    for reference in [own.as_str(), &format!("v{number}"), "latest"] {
                        pull(http, &repository, reference);
                    }
                    let moved = format!("/v2/{repository}/manifests/v{number}");
                    if number % 3 == 0 {
                        assert_eq!(http.send("DELETE", &moved, &[], b"").status, 202);
                    }
                })
            })
            .collect();
        let failed = clients.into_iter().filter_map(|client| client.join().err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0, "clients that failed");
    });
    assert_eq!(pushed.load(Ordering::Relaxed), CLIENTS);
    for number in (0..CLIENTS).filter(|number| number % 3 != 0) {
        pull(&http, &format!("team{}/app", number % 20), &format!("v{number}"));
    }
    let metrics = http.get("/metrics").text();
    let collections =
        metrics.lines().find(|line| line.starts_with("hull_registry_collections_total"));
    assert_ne!(collections, Some("hull_registry_collections_total 0"));
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

/// How often the server is killed: a hundred times with `--full`.
fn rounds() -> usize {
    let full = std::env::var_os("HULL_FULL").is_some_and(|value| value == "1");
    if full { 100 } else { 8 }
}

/// Pushes an image, giving up at the first lost answer; true if all of it was taken.
fn try_push(http: &Http, repository: &str, tag: &str, image: &Image) -> Result<(), Lost> {
    let files = image.oci_files(tag);
    let mut manifest = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        let text = String::from_utf8_lossy(bytes);
        if text.starts_with('{') && text.contains("\"schemaVersion\"") {
            manifest.clone_from(bytes);
            continue;
        }
        // In two pieces, so that there are uploads to be found half done.
        let path = format!("/v2/{repository}/blobs/uploads/");
        let begun = http.try_send("POST", &path, &[], b"")?;
        let location = begun.header("location").ok_or_else(|| Lost(name.clone()))?.to_owned();
        let half = bytes.len() / 2;
        http.try_send("PATCH", &location, &[], &bytes[..half])?;
        let path = format!("{location}?digest={}", digest("sha256", bytes));
        let done = http.try_send("PUT", &path, &[], &bytes[half..])?;
        assert_eq!(done.status, 201, "{}", done.text());
    }
    let kind = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
    let done =
        http.try_send("PUT", &format!("/v2/{repository}/manifests/{tag}"), &kind, &manifest)?;
    assert_eq!(done.status, 201, "{}", done.text());
    Ok(())
}

#[test]
fn privileged_a_registry_that_is_killed_at_any_moment_loses_nothing() {
    let Some(hull) = Hull::new() else { return };
    let config = hull.file("registry.toml", b"[collect]\ninterval = \"50ms\"\n");
    let kept = Mutex::new(Vec::new());
    let mut number = 0;
    for round in 0..rounds() {
        let server = RegistryServer::start_with(&hull, &["--config", &config]);
        let http = server.http();
        let known: Vec<(String, String)> = kept.lock().unwrap().clone();
        for (repository, tag) in known.iter().rev().take(20) {
            pull(&http, repository, tag);
        }
        let base = number;
        number += 1000;
        std::thread::scope(|scope| {
            for client in 0..3 {
                let (http, kept) = (&http, &kept);
                scope.spawn(move || {
                    for step in 0..300 {
                        let own = base + client * 300 + step;
                        let (repository, tag) = (format!("team{client}/app"), format!("v{own}"));
                        if try_push(http, &repository, &tag, &image(own)).is_err() {
                            break;
                        }
                        kept.lock().unwrap().push((repository, tag));
                    }
                });
            }
            // Not before something was taken, so that there is something to lose.
            let taken = || kept.lock().unwrap().len() > known.len();
            assert!(eventually(Duration::from_secs(60), taken), "{}", server.log());
            let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let wait = Duration::from_millis(u64::from(nanos.subsec_nanos()) % 400);
            let end = Instant::now() + wait;
            assert!(eventually(wait + Duration::from_secs(5), || Instant::now() >= end));
            server.kill();
        });
        if round % 10 == 0 {
            hull.ok(&["system", "check", "--deep"]);
        }
    }
    let kept = kept.into_inner().unwrap();
    assert!(!kept.is_empty(), "nothing was pushed");
    let config =
        hull.file("registry.toml", b"[collect]\ninterval = \"100ms\"\nuploads = \"1ms\"\n");
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    for (repository, tag) in &kept {
        pull(&server.http(), repository, tag);
    }
    let uploads = hull.data_root().join("uploads");
    let gone = eventually(Duration::from_secs(30), || {
        std::fs::read_dir(&uploads).is_ok_and(|entries| entries.count() == 0)
    });
    assert!(gone, "uploads are left");
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}
