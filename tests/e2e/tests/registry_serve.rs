//! `hull registry serve` over the store of an engine.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use hull_test_support::archive::Tar;
use hull_test_support::busybox::probe_image;
use hull_test_support::http::Http;
use hull_test_support::image::{Compression, Image};
use hull_test_support::serve::{RegistryServer, digest, pull, push, push_blob};
use hull_test_support::{Hull, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// `alice` with the password `correct horse`, `bob` with `battery`.
const USERS: &str = "alice:$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e
bob:$2b$04$abcdefghijklmnopqrstuugTWdwTf8XNmEQNdyCZrv8m00VeeC2Ga
";
const ALICE: &str = "Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==";
const BOB: &str = "Basic Ym9iOmJhdHRlcnk=";

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// A small image that differs from others by its name.
fn image(name: &str) -> Image {
    let tar = Tar::new().file("name", 0o644, name.as_bytes());
    Image::new().layer(tar.finish(), Compression::Gzip).set("Labels", json!({ "name": name }))
}

fn location(answer: &hull_test_support::http::Answer) -> String {
    answer.header("location").expect("a Location").to_owned()
}

fn start_upload(http: &Http, repository: &str) -> String {
    let answer = http.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    location(&answer)
}

#[test]
fn privileged_a_tagged_image_is_served_with_no_copy() {
    for mode in ["erofs", "unpack"] {
        let Some(hull) = Hull::new() else { return };
        let hull = hull.with_env("HULL_LAYER_MODE", mode);
        let server = RegistryServer::start(&hull);
        hull.load(&probe_image(), "probe");
        hull.ok(&["tag", "probe", "localhost:5000/team/probe:v1"]);
        let manifest = pull(&server.http(), "team/probe", "v1");
        let config = manifest["config"]["digest"].as_str().expect("a digest");
        assert_eq!(config, probe_image().id());
        hull.ok(&["rmi", "localhost:5000/team/probe:v1"]);
        assert_eq!(server.http().get("/v2/team/probe/manifests/v1").status, 404);
        // What has another name is not shown.
        let path = format!("/v2/team/probe/blobs/{config}");
        assert!(eventually(Duration::from_secs(5), || server.http().get(&path).status == 404));
        assert_eq!(server.stop(), Some(0));
        hull.finish();
    }
}

#[test]
fn privileged_a_pushed_image_runs_without_a_pull() {
    for mode in ["erofs", "unpack"] {
        let Some(hull) = Hull::new() else { return };
        let hull = hull.with_env("HULL_LAYER_MODE", mode);
        let server = RegistryServer::start(&hull);
        push(&server.http(), "team/probe", "v1", &probe_image());
        assert_eq!(server.stop(), Some(0));
        let listed = hull.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        assert_eq!(listed, "localhost:5000/team/probe:v1");
        assert_ne!(hull.ok(&["images", "--format", "{{.Size}}"]), "0B");
        assert_eq!(hull.ok(&["system", "check", "--deep"]).lines().count(), 1);
        let view = hull.json(&["run", "--rm", "localhost:5000/team/probe:v1", "/probe", "view"]);
        assert!(view.is_object());
        hull.ok(&["rmi", "localhost:5000/team/probe:v1"]);
        hull.finish();
    }
}

#[test]
fn privileged_an_upload_goes_on_after_the_server_was_killed() {
    let Some(hull) = Hull::new() else { return };
    let server = RegistryServer::start(&hull);
    let bytes = vec![7_u8; 3 << 20];
    let path = start_upload(&server.http(), "app");
    let patched = server.http().send("PATCH", &path, &[OCTETS], &bytes[..1 << 20]);
    assert_eq!(patched.status, 202);
    // A chunk that breaks off: what has come of it stays.
    let mut half = server.http().connect();
    let length = format!("Content-Length: {}\r\n", 1 << 20);
    half.write_all(server.http().head("PATCH", &path, &[OCTETS], &length).as_bytes()).unwrap();
    half.write_all(&bytes[..1000]).unwrap();
    server.kill();
    drop(half);
    let server = RegistryServer::start(&hull);
    let status = server.http().get(&path);
    assert_eq!(status.status, 204);
    let range = status.header("range").expect("a range").to_owned();
    let here: usize = range.trim_start_matches("0-").parse::<usize>().unwrap() + 1;
    assert!(here >= 1 << 20, "{range}");
    let range = format!("{here}-{}", bytes.len() - 1);
    let rest =
        server.http().send("PATCH", &path, &[OCTETS, ("Content-Range", &range)], &bytes[here..]);
    assert_eq!(rest.status, 202, "{}", rest.text());
    let digest = digest("sha256", &bytes);
    let done = server.http().send("PUT", &format!("{path}?digest={digest}"), &[], b"");
    assert_eq!(done.status, 201, "{}", done.text());
    assert_eq!(server.http().get(&format!("/v2/app/blobs/{digest}")).body, bytes);
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_an_upload_is_taken_over_from_a_client_that_is_gone() {
    let Some(hull) = Hull::new() else { return };
    let server = RegistryServer::start(&hull);
    let path = start_upload(&server.http(), "app");
    let mut stuck = server.http().connect();
    let length = "Content-Length: 1000\r\n";
    stuck.write_all(server.http().head("PATCH", &path, &[OCTETS], length).as_bytes()).unwrap();
    stuck.write_all(b"some").unwrap();
    let metrics = || server.http().get("/metrics").text();
    let busy =
        eventually(Duration::from_secs(10), || metrics().contains("hull_registry_uploads 1"));
    assert!(busy);
    let status = server.http().get(&path);
    assert_eq!(status.status, 204, "{}", status.text());
    drop(stuck);
    assert_eq!(server.http().send("DELETE", &path, &[], b"").status, 204);
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

fn token(http: &Http, scope: &str) -> (u16, String) {
    let answer = http.get(&format!("/token?service=localhost:5000&scope={scope}"));
    (answer.status, answer.json()["token"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn privileged_users_rules_and_tokens() {
    let Some(hull) = Hull::new() else { return };
    let users = hull.file("users", USERS.as_bytes());
    let config = hull.file(
        "registry.toml",
        format!(
            "htpasswd = {users:?}
             [[rule]]\nrepositories = [\"public/**\"]\nusers = [\"anonymous\"]\nallow = [\"pull\"]
             [[rule]]\nrepositories = [\"**\"]\nusers = [\"alice\"]\nallow = [\"pull\", \"push\", \"delete\"]
             [[rule]]\nrepositories = [\"team/**\"]\nusers = [\"*\"]\nallow = [\"pull\"]\n"
        )
        .as_bytes(),
    );
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    let (anybody, http) = (server.http(), server.http());
    let (alice, bob) = (http.clone().as_whom(ALICE), http.as_whom(BOB));
    for repository in ["public/app", "team/app", "private/app"] {
        push(&alice, repository, "v1", &image("secret"));
    }
    // Who, where, what, and the answer.
    for (who, name, repository, expected) in [
        (&anybody, "anybody", "public/app", 200),
        (&anybody, "anybody", "team/app", 401),
        (&bob, "bob", "team/app", 200),
        (&bob, "bob", "public/app", 200),
        (&bob, "bob", "private/app", 403),
        (&alice, "alice", "private/app", 200),
    ] {
        let answer = who.get(&format!("/v2/{repository}/manifests/v1"));
        assert_eq!(answer.status, expected, "{name} {repository}: {}", answer.text());
    }
    assert_eq!(anybody.send("POST", "/v2/public/app/blobs/uploads/", &[], b"").status, 401);
    assert_eq!(bob.send("POST", "/v2/team/app/blobs/uploads/", &[], b"").status, 403);
    assert_eq!(bob.send("DELETE", "/v2/team/app/manifests/v1", &[], b"").status, 403);
    let refused = anybody.get("/v2/team/app/tags/list");
    let challenge = refused.header("www-authenticate").expect("a challenge");
    let realm = format!("Bearer realm=\"http://{}/token\"", server.address());
    assert!(challenge.starts_with(&realm), "{challenge}");
    assert!(challenge.contains("scope=\"repository:team/app:pull\""), "{challenge}");
    assert_eq!(anybody.get("/v2/").status, 401);
    assert_eq!(alice.get("/v2/").status, 200);
    assert_eq!(server.http().as_whom("Basic YWxpY2U6d3Jvbmc=").get("/v2/").status, 401);

    let (status, granted) = token(&bob, "repository:team/app:pull,push");
    assert_eq!(status, 200);
    let holder = server.http().as_whom(&format!("Bearer {granted}"));
    assert_eq!(holder.get("/v2/team/app/manifests/v1").status, 200);
    assert_eq!(holder.get("/v2/private/app/manifests/v1").status, 403);
    assert_eq!(holder.send("POST", "/v2/team/app/blobs/uploads/", &[], b"").status, 403);
    let (_, nobodys) = token(&anybody, "repository:public/app:pull");
    let holder = server.http().as_whom(&format!("Bearer {nobodys}"));
    assert_eq!(holder.get("/v2/public/app/manifests/v1").status, 200);
    assert_eq!(holder.get("/v2/team/app/manifests/v1").status, 401);
    assert_eq!(server.http().as_whom("Bearer a.b.c").get("/v2/").status, 401);

    let names = |who: &Http| who.get("/v2/_catalog").json()["repositories"].clone();
    assert_eq!(names(&alice), json!(["private/app", "public/app", "team/app"]));
    assert_eq!(names(&bob), json!(["public/app", "team/app"]));
    assert_eq!(anybody.get("/v2/_catalog").status, 401);
    // A blob of a repository that one may not pull from is not mounted either.
    let manifest = alice.get("/v2/private/app/manifests/v1").json();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let path = format!("/v2/team/new/blobs/uploads/?mount={layer}&from=private/app");
    assert_eq!(bob.send("POST", &path, &[], b"").status, 403);
    // No password in the log.
    let log = server.log();
    assert!(
        log.contains("alice") && !log.contains("correct") && !log.contains("YWxpY2U6"),
        "{log}"
    );
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_quotas_and_rates() {
    let Some(hull) = Hull::new() else { return };
    let config = hull.file(
        "registry.toml",
        b"[quota]\nrepositories = 1\nrepository_bytes = 20000\n[limits]\nupload = 10000\n",
    );
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    let http = server.http();
    push(&http, "first", "v1", &image("first"));
    let answer = http.send("POST", "/v2/second/blobs/uploads/", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "{}", answer.text());
    push_blob(&http, "first", &[1; 9000]);
    push_blob(&http, "first", &[2; 9000]);
    let path = start_upload(&http, "first");
    let patched = http.send_streamed("PATCH", &path, &[OCTETS], &[3; 9000]);
    assert_eq!(patched.status, 413, "{}", patched.text());
    assert_eq!(server.stop(), Some(0));
    hull.finish();

    let Some(hull) = Hull::new() else { return };
    let config = hull.file("registry.toml", b"[limits]\nrequests_per_second = 0.1\nburst = 5\n");
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    let answers: Vec<_> = (0..6).map(|_| server.http().get("/v2/")).collect();
    assert!(answers[..5].iter().all(|answer| answer.status == 200));
    let refused = &answers[5];
    assert_eq!((refused.status, refused.code().as_str()), (429, "TOOMANYREQUESTS"));
    let wait: u64 = refused.header("retry-after").expect("a time").parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_retention_and_collection_while_it_serves() {
    let Some(hull) = Hull::new() else { return };
    let config = hull.file(
        "registry.toml",
        b"[collect]\ninterval = \"300ms\"\nuntagged = \"1ms\"
          [[retention]]\nrepositories = [\"**\"]\nkeep_last = 2\nkeep = [\"stable\"]\n",
    );
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    let http = server.http();
    let stable = push(&http, "app", "stable", &image("stable"));
    let mut last = String::new();
    for number in 0..6 {
        last = push(&http, "app", &format!("v{number}"), &image(&format!("v{number}")));
    }
    let tags = || http.get("/v2/app/tags/list").json()["tags"].clone();
    let few =
        eventually(Duration::from_secs(20), || tags().as_array().is_some_and(|t| t.len() == 3));
    assert!(few, "{}", tags());
    assert!(tags().as_array().unwrap().contains(&json!("stable")), "{}", tags());
    pull(&http, "app", "stable");
    // A manifest without a tag goes, with all that only it had.
    push(&http, "app", "stable", &image("newer"));
    let path = format!("/v2/app/manifests/{stable}");
    assert!(eventually(Duration::from_secs(20), || http.get(&path).status == 404));
    pull(&http, "app", "stable");
    assert!(!last.is_empty());
    let metrics = http.get("/metrics").text();
    assert!(!metrics.contains("hull_registry_retired_tags_total 0"), "{metrics}");
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_a_blob_that_rotted_is_found_and_can_be_pushed_again() {
    let Some(hull) = Hull::new() else { return };
    let config = hull
        .file("registry.toml", b"[scrub]\ninterval = \"200ms\"\nbytes_per_second = \"100MB\"\n");
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    let http = server.http();
    push(&http, "app", "v1", &image("rotten"));
    let manifest = pull(&http, "app", "v1");
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let file = hull.data_root().join("blobs").join(layer.replace(':', "/"));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[9] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    let path = format!("/v2/app/blobs/{layer}");
    assert!(eventually(Duration::from_secs(20), || http.get(&path).status == 404));
    assert!(server.log().contains("the bytes of a blob are wrong"), "{}", server.log());
    push(&http, "app", "v1", &image("rotten"));
    pull(&http, "app", "v1");
    assert_eq!(server.stop(), Some(0));
    // What was taken out lies in the trash until something is collected.
    hull.ok(&["image", "prune", "-f"]);
    hull.finish();
}

#[test]
fn privileged_requests_at_work_are_finished_when_it_stops() {
    let Some(hull) = Hull::new() else { return };
    let mut server = Some(RegistryServer::start(&hull));
    let running = server.as_ref().unwrap();
    let http = running.http();
    let bytes = b"slowly sent";
    let path = format!("/v2/app/blobs/uploads/?digest={}", digest("sha256", bytes));
    let mut slow = http.connect();
    let length = format!("Content-Length: {}\r\n", bytes.len());
    slow.write_all(http.head("POST", &path, &[OCTETS], &length).as_bytes()).unwrap();
    slow.write_all(&bytes[..6]).unwrap();
    let metrics = || http.get("/metrics").text();
    assert!(eventually(Duration::from_secs(10), || metrics().contains("hull_registry_uploads 1")));
    running.signal(Signal::TERM);
    let closed = || std::net::TcpStream::connect(http.address()).is_err();
    assert!(eventually(Duration::from_secs(5), closed), "it still listens");
    slow.write_all(&bytes[6..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.take().unwrap().stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_hostile_clients_are_cut_off() {
    let Some(hull) = Hull::new() else { return };
    let config =
        hull.file("registry.toml", b"[limits]\nstall = \"1s\"\nconnections_per_client = 8\n");
    let server = RegistryServer::start_with(&hull, &["--config", &config]);
    let http = server.http();
    // A head without end.
    let mut stream = http.connect();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(b"GET /v2/ HTTP/1.1\r\n");
    let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
    for _ in 0..200 {
        if stream.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // A body that stalls.
    let path = start_upload(&http, "app");
    let mut stream = http.connect();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = "Content-Length: 1000\r\n";
    stream.write_all(http.head("PATCH", &path, &[OCTETS], length).as_bytes()).unwrap();
    stream.write_all(b"a few bytes").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(http.send("DELETE", &path, &[], b"").status, 204);
    // A client that takes nothing.
    let blob = push_blob(&http, "app", &vec![5; 32 << 20]);
    let mut deaf = http.connect();
    deaf.write_all(http.head("GET", &format!("/v2/app/blobs/{blob}"), &[], "").as_bytes()).unwrap();
    let gone = eventually(Duration::from_secs(20), || {
        let metrics = http.get("/metrics").text();
        metrics.contains("hull_registry_connections 1\n")
    });
    assert!(gone, "{}", http.get("/metrics").text());
    drop(deaf);
    // As many connections as it may have, and one more.
    let held: Vec<_> = (0..8).map(|_| http.connect()).collect();
    let refused =
        eventually(Duration::from_secs(10), || http.try_send("GET", "/v2/", &[], b"").is_err());
    assert!(refused, "a ninth connection was served");
    drop(held);
    assert!(eventually(Duration::from_secs(10), || {
        http.try_send("GET", "/v2/", &[], b"").is_ok_and(|answer| answer.status == 200)
    }));
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_the_log_of_access_and_the_numbers() {
    let Some(hull) = Hull::new() else { return };
    let server = RegistryServer::start(&hull);
    let http = server.http();
    push(&http, "app", "v1", &image("logged"));
    pull(&http, "app", "v1");
    http.send("GET", "/v2/app/tags/list", &[("User-Agent", "odd\"agent")], b"");
    let requests = || -> Vec<Value> {
        let lines = server.lines();
        lines.into_iter().filter(|line| line["target"] == "hull_registry::access").collect()
    };
    let seen = eventually(Duration::from_secs(10), || {
        requests().iter().any(|line| line["path"] == "/v2/app/tags/list")
    });
    assert!(seen, "{}", server.log());
    let requests = requests();
    let list = requests.iter().find(|line| line["path"] == "/v2/app/tags/list").unwrap();
    assert_eq!((&list["method"], &list["status"]), (&json!("GET"), &json!(200)));
    assert_eq!((&list["client"], &list["user"]), (&json!("127.0.0.1"), &json!("-")));
    assert_eq!(list["agent"], json!("odd\\\"agent"));
    let metrics = http.get("/metrics").text();
    for line in [
        "hull_registry_requests_total{route=\"manifest\",method=\"PUT\",status=\"201\"} 1",
        "hull_registry_repositories 1",
        "# TYPE hull_registry_request_seconds histogram",
    ] {
        assert!(metrics.contains(line), "no {line:?} in\n{metrics}");
    }
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_configurations_that_cannot_be_used() {
    let Some(hull) = Hull::new() else { return };
    let serve = |text: &str, said: &str| {
        let config = hull.file("registry.toml", text.as_bytes());
        hull.fails(&["registry", "serve", "--config", &config], 1, said);
    };
    serve("colour = 1", "colour");
    serve("addr = \"0.0.0.0:0\"\nhtpasswd = \"x\"", "for all to read");
    serve("htpasswd = \"/nowhere/users\"", "/nowhere/users");
    serve("[tls]\ncert = \"/nowhere/c\"\nkey = \"/nowhere/k\"", "/nowhere/c");
    hull.fails(&["registry", "serve", "--addr", "nonsense"], 1, "nonsense");
    hull.fails(&["registry", "serve", "--config", "/nowhere/x.toml"], 1, "/nowhere/x.toml");
    let server = RegistryServer::start(&hull);
    hull.fails(&["registry", "serve", "--addr", server.address()], 1, "cannot listen on");
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

#[test]
fn privileged_the_page_for_people() {
    let Some(hull) = Hull::new() else { return };
    let server = RegistryServer::start(&hull);
    let http = server.http();
    let empty = http.get("/");
    assert_eq!(empty.status, 200);
    assert!(empty.text().contains("Nothing is here yet"), "{}", empty.text());
    let hostile = image("<script>alert(1)</script>");
    let digest = push(&http, "team/app", "v1", &hostile);
    let about = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.signature",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
            "digest": push_blob(&http, "team/app", b"{}") },
        "layers": [], "annotations": { "note": "\"><img src=x>" },
        "subject": { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1 } });
    let kind = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
    let put = http.send("PUT", "/v2/team/app/manifests/sig", &kind, about.to_string().as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    let page = |query: &str| {
        let answer = http.get(&format!("/{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        let text = answer.text();
        for foreign in ["<script", "<img", "http://", "https://", "src="] {
            assert!(!text.replace("src=x", "").contains(foreign), "{query} has {foreign}:\n{text}");
        }
        text
    };
    let contains = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    };
    contains(&page(""), &["team/app", "?repository=team/app", "<td>2</td>"]);
    let arch = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    contains(
        &page("?repository=team/app"),
        &["v1", "sig", arch, "application/vnd.example.signature"],
    );
    let pulls = format!("hull pull {}/team/app:v1", server.address());
    let shown = page("?repository=team/app&reference=v1");
    contains(&shown, &[&pulls, &digest, "Layers", "step 0", "Referrers", "&lt;script&gt;"]);
    contains(&page("?repository=team/app&reference=sig"), &["&quot;&gt;&lt;img"]);
    for missing in ["?repository=none", "?repository=team/app&reference=none", "nowhere"] {
        assert_eq!(http.get(&format!("/{missing}")).status, 404, "{missing}");
    }
    assert_eq!(server.stop(), Some(0));
    hull.ok(&["rmi", "localhost:5000/team/app:v1"]);
    hull.finish();
}

/// What a browser makes of the page, which has no script for it to run, with a picture of it in the test's folder: `HULL_SCREENSHOTS`
/// names another.
#[test]
fn privileged_the_page_in_a_browser() {
    if !hull_test_support::needs::full() {
        return;
    }
    let Some(browser) = hull_test_support::needs::program("chromium") else { return };
    let Some(hull) = Hull::new() else { return };
    let server = RegistryServer::start(&hull);
    hull.load(&probe_image(), "localhost:5000/team/probe:v1");
    hull.ok(&["tag", "localhost:5000/team/probe:v1", "localhost:5000/team/probe:latest"]);
    push(&server.http(), "team/app", "v1", &image("app"));
    let folder = std::env::var_os("HULL_SCREENSHOTS")
        .map_or_else(|| hull.folder().to_owned(), std::path::PathBuf::from);
    for (name, query, shown) in [
        ("repositories", "", "team/probe"),
        ("tags", "?repository=team/probe", "latest"),
        ("image", "?repository=team/probe&reference=v1", "Layers"),
    ] {
        let picture = folder.join(format!("{name}.png"));
        let run = |what: &[&str]| {
            let output = std::process::Command::new(&browser)
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,800"])
                .arg(format!("--user-data-dir={}", hull.folder().join("browser").display()))
                .args(what)
                .arg(format!("http://{}/{query}", server.address()))
                .output()
                .expect("the browser starts");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        run(&[&format!("--screenshot={}", picture.display())]);
        let bytes = std::fs::read(&picture).expect("a picture");
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 5000, "{} bytes", bytes.len());
        let document = run(&["--dump-dom"]);
        assert!(document.contains(shown), "{name}: no {shown:?} in\n{document}");
        let place = picture.display();
        hull_test_support::note(&format!("the page {name} as a browser shows it: {place}"));
    }
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}

/// Makes a certificate for 127.0.0.1 that signs itself; its path and its key's.
fn certificate(hull: &Hull, name: &str) -> Option<(String, String)> {
    let openssl = hull_test_support::needs::program("openssl")?;
    let path = |end: &str| hull.folder().join(format!("{name}.{end}")).display().to_string();
    let (cert, key) = (path("crt"), path("key"));
    let made = std::process::Command::new(openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args([
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"])
        .args(["-keyout", &key, "-out", &cert])
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some((cert, key))
}

/// A client's certificate, by an authority that is made for it: `authority.crt`.
fn client_certificate(hull: &Hull) -> Option<(String, String)> {
    let (authority, authority_key) = certificate(hull, "authority")?;
    let openssl = hull_test_support::needs::program("openssl")?;
    let path = |end: &str| hull.folder().join(format!("client.{end}")).display().to_string();
    let (cert, key, request) = (path("crt"), path("key"), path("csr"));
    let extensions = hull.file("client.ext", b"extendedKeyUsage=clientAuth\n");
    let run = |words: &[&str]| {
        let made = std::process::Command::new(&openssl).args(words).output();
        let made = made.expect("openssl starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let curve = "ec_paramgen_curve:P-256";
    run(&[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        curve,
        "-nodes",
        "-subj",
        "/CN=client",
        "-keyout",
        &key,
        "-out",
        &request,
    ]);
    run(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &authority,
        "-CAkey",
        &authority_key,
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        &extensions,
        "-out",
        &cert,
    ]);
    Some((cert, key))
}

#[test]
fn privileged_tls_with_both_versions_of_http() {
    let Some(hull) = Hull::new() else { return };
    let Some(curl) = hull_test_support::needs::program("curl") else { return };
    let Some((cert, key)) = certificate(&hull, "server") else { return };
    let Some((client, client_key)) = client_certificate(&hull) else { return };
    let authority = hull.folder().join("authority.crt");
    let options = ["--tls-cert", &cert, "--tls-key", &key];
    let ask = |address: &str, words: &[&str], path: &str| {
        let output = std::process::Command::new(&curl)
            .args(["-sS", "-o", "-", "-w", "\n%{http_version} %{http_code}", "--cacert", &cert])
            .args(words)
            .arg(format!("https://{address}{path}"))
            .output()
            .expect("curl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, last) = text.rsplit_once('\n').unwrap_or(("", &text));
        (last.to_owned(), body.to_owned(), output.status.success())
    };
    let server = RegistryServer::start_with(&hull, &options);
    let address = server.address().to_owned();
    for (version, expected) in [("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        assert_eq!(ask(&address, &[version], "/v2/").0, expected);
        let bytes = vec![b'x'; 3 << 20];
        let file = hull.file("blob", &bytes);
        let name = digest("sha256", &bytes);
        let upload = format!("/v2/app/blobs/uploads/?digest={name}");
        let data = format!("@{file}");
        let octets = "Content-Type: application/octet-stream";
        let words = [version, "-X", "POST", "-H", octets, "--data-binary", &data];
        let (status, said, _) = ask(&address, &words, &upload);
        assert!(status.ends_with(" 201"), "{status} {said}");
        let (status, body, _) = ask(&address, &[version], &format!("/v2/app/blobs/{name}"));
        assert_eq!(body.len(), bytes.len(), "{status}");
    }
    // Without TLS nothing is said there.
    assert!(server.http().try_send("GET", "/v2/", &[], b"").is_err());
    // Another certificate, read when it is told to.
    let (other, other_key) = certificate(&hull, "other").expect("another certificate");
    std::fs::copy(&other, &cert).unwrap();
    std::fs::copy(&other_key, &key).unwrap();
    server.signal(Signal::HUP);
    assert!(eventually(Duration::from_secs(10), || server.log().contains("read again")));
    assert_eq!(ask(&address, &["--http2"], "/v2/").0, "2 200");
    assert_eq!(server.stop(), Some(0));

    let config =
        hull.file("registry.toml", format!("[tls]\nclient_ca = {authority:?}\n").as_bytes());
    let options = [&options[..], &["--config", &config]].concat();
    let server = RegistryServer::start_with(&hull, &options);
    let address = server.address().to_owned();
    assert!(!ask(&address, &[], "/v2/").2, "a client without certificate was served");
    let own = ["--cert", client.as_str(), "--key", client_key.as_str()];
    assert_eq!(ask(&address, &own, "/v2/").0, "2 200");
    assert_eq!(server.stop(), Some(0));
    hull.finish();
}
