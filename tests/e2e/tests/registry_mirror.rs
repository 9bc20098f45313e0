//! A registry that fetches from another what it is asked for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hull_test_support::busybox::probe_image;
use hull_test_support::http::Http;
use hull_test_support::serve::{DockerRegistry, RegistryServer, digest, pull, push, push_blob};
use hull_test_support::{Hull, eventually};
use serde_json::json;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn mirror(hull: &Hull, upstream: &str, refresh: &str) -> RegistryServer {
    let text = format!(
        "[[mirror]]\nprefix = \"hub\"\nupstream = \"{upstream}\"\nrefresh = \"{refresh}\"\n"
    );
    let config = hull.file("mirror.toml", text.as_bytes());
    RegistryServer::start_with(hull, &["--config", &config])
}

/// Waits until an image that was fetched is one of the store.
#[track_caller]
fn wait_for_image(hull: &Hull, name: &str) {
    let known = || hull.run(&["image", "inspect", name]).code == 0;
    assert!(eventually(Duration::from_secs(30), known), "no image {name}");
}

#[test]
fn privileged_what_is_asked_for_is_fetched_and_kept() {
    let Some(hull) = Hull::new() else { return };
    let Some(upstream) = DockerRegistry::start(hull.folder()) else { return };
    let first = push(&upstream.http(), "team/probe", "v1", &probe_image());
    let server = mirror(&hull, upstream.address(), "0s");
    let http = server.http();
    pull(&http, "hub/team/probe", "v1");
    wait_for_image(&hull, "localhost:5000/hub/team/probe:v1");
    // As a client asks that has it as a mirror.
    let same = http.get(&format!("/v2/team/probe/manifests/v1?ns={}", upstream.address()));
    assert_eq!(same.header("docker-content-digest"), Some(first.as_str()));
    // A tag that moves is followed.
    let second = push(&upstream.http(), "team/probe", "v1", &probe_image().set("User", json!("7")));
    let moved = http.get("/v2/hub/team/probe/manifests/v1");
    assert_eq!(moved.header("docker-content-digest"), Some(second.as_str()));
    let settled = || {
        let listed = hull.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}@{{.Digest}}"]);
        listed.contains(&second)
    };
    assert!(eventually(Duration::from_secs(30), settled), "the tag does not move");
    for missing in ["/v2/hub/team/probe/manifests/none", "/v2/hub/nothing/manifests/v1"] {
        assert_eq!(http.get(missing).status, 404, "{missing}");
    }
    // What is another registry's is not written to.
    let refused = http.send("POST", "/v2/hub/team/probe/blobs/uploads/", &[], b"");
    assert_eq!(refused.status, 403, "{}", refused.text());
    // Without the other registry it gives out what it has.
    drop(upstream);
    let manifest = pull(&http, "hub/team/probe", "v1");
    assert_eq!(digest("sha256", manifest.to_string().as_bytes()).len(), 71);
    assert_eq!(http.get("/v2/hub/team/other/manifests/v1").status, 502);
    assert_eq!(server.stop(), Some(0));
    let view = hull.json(&["run", "--rm", "localhost:5000/hub/team/probe:v1", "/probe", "view"]);
    assert!(view.is_object());
    hull.ok(&["image", "prune", "-a", "-f"]);
    hull.finish();
}

#[test]
fn privileged_many_who_want_a_blob_share_one_fetch() {
    let Some(hull) = Hull::new() else { return };
    let Some(other) = Hull::new() else { return };
    let upstream = RegistryServer::start(&other);
    let layer: Vec<u8> =
        (0..8_u32 << 20).map(|place| (place.wrapping_mul(97) >> 5).to_le_bytes()[0]).collect();
    let layer = push_blob(&upstream.http(), "app", &layer);
    let config = push_blob(&upstream.http(), "app", b"{}");
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.example", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/octet-stream", "digest": layer, "size": 8 << 20 }] });
    let kind = [("Content-Type", OCI_MANIFEST)];
    let text = manifest.to_string();
    let put = upstream.http().send("PUT", "/v2/app/manifests/v1", &kind, text.as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    let server = mirror(&hull, upstream.address(), "1h");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| pull(&server.http(), "hub/app", "v1"));
        }
    });
    let metrics = upstream.http().get("/metrics").text();
    let fetched = "hull_registry_requests_total{route=\"blob\",method=\"GET\",status=\"200\"} 2";
    assert!(metrics.contains(fetched), "{metrics}");
    assert_eq!(upstream.stop(), Some(0));
    assert_eq!(server.stop(), Some(0));
    other.finish();
    hull.finish();
}

/// A registry that does what a test says: with the layer it waits in the middle until it is told
/// to go on.
struct Scripted {
    address: String,
    go_on: mpsc::Sender<()>,
}

fn scripted(manifest: String, config: &'static [u8], layer: Vec<u8>, claimed: String) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (go_on, told) = mpsc::channel();
    let told = Arc::new(Mutex::new(told));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (manifest, layer, claimed) = (manifest.clone(), layer.clone(), claimed.clone());
            let told = Arc::clone(&told);
            std::thread::spawn(move || {
                let Ok(stream) = stream else { return };
                while answer(&stream, &manifest, config, &layer, &claimed, &told).is_some() {}
            });
        }
    });
    Scripted { address, go_on }
}

fn answer(
    mut stream: &TcpStream,
    manifest: &str,
    config: &[u8],
    layer: &[u8],
    claimed: &str,
    told: &Mutex<mpsc::Receiver<()>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let head = |kind: &str, digest: &str, length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    if path.contains("/manifests/") {
        let digest = digest("sha256", manifest.as_bytes());
        stream.write_all(head(OCI_MANIFEST, &digest, manifest.len()).as_bytes()).ok()?;
        if method == "GET" {
            stream.write_all(manifest.as_bytes()).ok()?;
        }
    } else if path.ends_with(claimed) {
        stream.write_all(head("application/octet-stream", claimed, layer.len()).as_bytes()).ok()?;
        let half = layer.len() / 2;
        stream.write_all(&layer[..half]).ok()?;
        told.lock().ok()?.recv_timeout(Duration::from_secs(60)).ok()?;
        stream.write_all(&layer[half..]).ok()?;
    } else if path.contains("/blobs/") {
        let digest = digest("sha256", config);
        stream
            .write_all(head("application/octet-stream", &digest, config.len()).as_bytes())
            .ok()?;
        stream.write_all(config).ok()?;
    } else {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").ok()?;
    }
    Some(())
}

fn manifest_of(layer: &str, size: usize) -> String {
    json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.example", "digest": digest("sha256", b"{}"), "size": 2 },
        "layers": [{ "mediaType": "application/octet-stream", "digest": layer, "size": size }] })
    .to_string()
}

/// Asks for a blob and reads until `count` bytes of its body are here.
fn begin(http: &Http, path: &str, count: usize) -> (TcpStream, Vec<u8>) {
    let mut stream = http.connect();
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    stream.write_all(http.head("GET", path, &[], "").as_bytes()).expect("it takes a request");
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|end| end + 4);
        if body.is_some_and(|body| bytes.len() >= body + count) {
            return (stream, bytes);
        }
        let read = stream.read(&mut buffer).expect("the begin of the blob comes");
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
}

#[test]
fn privileged_a_blob_goes_out_while_it_comes_in() {
    let Some(hull) = Hull::new() else { return };
    let layer = vec![9_u8; 4 << 20];
    let name = digest("sha256", &layer);
    let upstream = scripted(manifest_of(&name, layer.len()), b"{}", layer.clone(), name.clone());
    let server = mirror(&hull, &upstream.address, "1h");
    let http = server.http();
    assert_eq!(http.get("/v2/hub/app/manifests/v1").status, 200);
    // A good part of the first half is here while the second has not been sent.
    let (mut stream, mut bytes) = begin(&http, &format!("/v2/hub/app/blobs/{name}"), 1 << 20);
    upstream.go_on.send(()).unwrap();
    stream.read_to_end(&mut bytes).unwrap();
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(bytes[body..], layer);
    assert_eq!(server.stop(), Some(0));
    // What was fetched beside it may have been stopped half way, to be gone on with later.
    hull.ok(&["system", "prune", "-a", "-f"]);
    hull.finish();
}

#[test]
fn privileged_a_blob_that_is_not_what_it_should_be_never_goes_out_whole() {
    let Some(hull) = Hull::new() else { return };
    let (claimed, sent) = (vec![9_u8; 2 << 20], vec![8_u8; 2 << 20]);
    let name = digest("sha256", &claimed);
    let upstream = scripted(manifest_of(&name, sent.len()), b"{}", sent, name.clone());
    let server = mirror(&hull, &upstream.address, "1h");
    let http = server.http();
    assert_eq!(http.get("/v2/hub/app/manifests/v1").status, 200);
    let path = format!("/v2/hub/app/blobs/{name}");
    let (mut stream, mut bytes) = begin(&http, &path, 1 << 19);
    upstream.go_on.send(()).unwrap();
    let _broken = stream.read_to_end(&mut bytes);
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert!(bytes.len() - body < 2 << 20, "all of it went out");
    assert!(!hull.data_root().join("blobs").join(name.replace(':', "/")).exists());
    assert!(server.log().contains("cannot fetch a blob"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
    hull.ok(&["system", "prune", "-a", "-f"]);
    hull.finish();
}
