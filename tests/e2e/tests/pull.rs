//! Images from registries: `pull`, and the pull that a `run` brings about.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use hull_test_support::busybox::{base_tar, probe_image};
use hull_test_support::daemon::Daemon;
use hull_test_support::image::{Compression, Image, compress};
use hull_test_support::registry::{Answer, DebianRegistry, Request, ScriptedRegistry};
use hull_test_support::serve::{RegistryServer, digest};
use hull_test_support::shelf::Shelf;
use hull_test_support::{Hull, archive::Tar, eventually, kill_9};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// The probe, and above it one layer of every kind.
fn layered() -> Image {
    let file = |name: &str, seed| Tar::new().file(name, 0o644, &noise(100_000, seed)).finish();
    Image::new()
        .layer(base_tar().finish(), Compression::Gzip)
        .layer(file("gzip", 1), Compression::Gzip)
        .layer(file("zstd", 2), Compression::Zstd)
        .layer(Tar::new().file("plain", 0o644, b"plain").finish(), Compression::Plain)
        .set("Cmd", json!(["/probe", "read", "/plain"]))
        .set("Labels", json!({"made": "by a test"}))
}

/// An image whose largest layer takes a while.
fn large(bytes: usize) -> Image {
    let tar = Tar::new().file("large", 0o644, &noise(bytes, 7)).finish();
    probe_image().layer(tar, Compression::Gzip)
}

fn manifest_requests(registry: &ScriptedRegistry) -> Vec<String> {
    let requests = registry.requests();
    requests.iter().map(|request| format!("{} {}", request.method, request.path())).collect()
}

fn blob_requests(registry: &ScriptedRegistry, digest: &str) -> Vec<Request> {
    let ending = format!("/blobs/{digest}");
    registry.requests().into_iter().filter(|request| request.path().ends_with(&ending)).collect()
}

/// What a class of `system df` takes, in bytes as people read them.
#[track_caller]
fn class(hull: &Hull, name: &str) -> f64 {
    let usage = hull.ok(&["system", "df", "--format", "{{.Type}}={{.Size}}"]);
    let wanted = format!("On disk: {name}=");
    let size = usage.lines().find_map(|line| line.strip_prefix(&wanted));
    let size = size.unwrap_or_else(|| panic!("no class {name} in {usage}"));
    let (number, unit) = size.split_at(size.find(char::is_alphabetic).unwrap());
    let factor = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        unit => panic!("unit {unit}"),
    };
    number.parse::<f64>().unwrap() * factor
}

fn everything_is_freed(hull: &Hull) {
    hull.ok(&["system", "prune", "-a", "-f"]);
    for name in ["images", "compressed copies", "unfinished writes"] {
        assert!(class(hull, name) < 1.0, "{name} are left");
    }
}

#[test]
fn privileged_a_pull_from_dockers_registry_and_what_comes_of_it() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let shelf = Shelf::new();
    let image = layered();
    let digest = shelf.image("team/app", "1", &image);
    shelf.copy_to(registry.address(), "team/app");
    let name = format!("{}/team/app:1", registry.address());

    let said = hull.ok(&["pull", &name]);
    for line in [
        "1: Pulling from team/app".to_owned(),
        format!("Digest: {digest}"),
        format!("Status: Downloaded newer image for {name}"),
        name.clone(),
    ] {
        assert!(said.contains(&line), "no {line:?} in {said}");
    }
    assert_eq!(said.matches("Pull complete").count(), 4, "{said}");
    assert_eq!(hull.ok(&["run", "--rm", &name]), "plain");
    assert_eq!(hull.ok(&["images", "-q", "--no-trunc", &name]), image.id());
    let by_digest = format!("{}/team/app@{digest}", registry.address());
    let inspected = hull.json(&["image", "inspect", &name]);
    assert_eq!(inspected[0]["RepoDigests"], json!([by_digest]));
    assert_eq!(inspected[0]["RepoTags"], json!([name]));

    let again = hull.ok(&["pull", &name]);
    assert!(again.contains(&format!("Status: Image is up to date for {name}")), "{again}");
    assert!(!again.contains("Pull complete"), "{again}");
    assert_eq!(hull.ok(&["run", "--rm", &by_digest]), "plain");
    let events = hull.ok(&["events", "--since", "1", "--until", "0s", "--filter", "event=pull"]);
    let expected =
        format!("image pull {name} (made=by a test, name={}/team/app)", registry.address());
    assert_eq!(events.matches(&expected).count(), 2, "{events}");

    let removed = hull.ok(&["rmi", &name]);
    assert!(removed.contains(&format!("Untagged: {name}")), "{removed}");
    assert!(removed.contains(&format!("Untagged: {by_digest}")), "{removed}");
    assert!(removed.contains(&format!("Deleted: {}", image.id())), "{removed}");
    hull.ok(&["pull", "-q", &by_digest]);
    assert_eq!(hull.ok(&["images", "--format", "{{.Repository}} {{.Tag}}"]).trim(), {
        let repository = format!("{}/team/app", registry.address());
        format!("{repository} <none>")
    });
    assert_eq!(hull.ok(&["run", "--rm", &by_digest]), "plain");
    everything_is_freed(&hull);
    hull.finish();
}

#[test]
fn privileged_unpacked_layers_come_the_same_way() {
    let Some(hull) = Hull::new() else { return };
    let hull = hull.with_env("HULL_LAYER_MODE", "unpack");
    let shelf = Shelf::new();
    shelf.image("app", "1", &layered());
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    hull.ok(&["pull", "-q", &name]);
    assert_eq!(hull.ok(&["run", "--rm", &name]), "plain");
    everything_is_freed(&hull);
    hull.finish();
}

#[test]
fn privileged_a_present_image_takes_one_round_trip() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let digest = shelf.image("app", "1", &layered());
    shelf.image("app", "2", &layered().layer(Tar::new().finish(), Compression::Gzip));
    let registry = shelf.serve();
    let name = |tag: &str| format!("{}/app:{tag}", registry.address());
    hull.ok(&["pull", "-q", &name("1")]);
    let before = manifest_requests(&registry).len();
    hull.ok(&["pull", &name("1")]);
    assert_eq!(manifest_requests(&registry)[before..], ["HEAD /v2/app/manifests/1".to_owned()]);

    // A digest means itself, and what another image has is not asked for.
    let before = manifest_requests(&registry).len();
    hull.ok(&["pull", "-q", &format!("{}/app@{digest}", registry.address())]);
    assert_eq!(manifest_requests(&registry).len(), before);
    let said = hull.ok(&["pull", &name("2")]);
    assert_eq!(said.matches("Already exists").count(), 4, "{said}");
    let new = manifest_requests(&registry)[before..].to_vec();
    assert_eq!(new.iter().filter(|request| request.contains("/blobs/")).count(), 2, "{new:?}");
    hull.finish();
}

#[test]
fn privileged_the_same_layer_in_another_compression_is_not_fetched() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let tar = base_tar().finish();
    shelf.image("app", "gzip", &Image::new().layer(tar.clone(), Compression::Gzip));
    shelf.image("app", "zstd", &Image::new().layer(tar, Compression::Zstd));
    let registry = shelf.serve();
    hull.ok(&["pull", "-q", &format!("{}/app:gzip", registry.address())]);
    let before = registry.requests().len();
    // The image is the same, only its manifest is another.
    hull.ok(&["pull", "-q", &format!("{}/app:zstd", registry.address())]);
    let new = manifest_requests(&registry)[before..].to_vec();
    assert!(!new.iter().any(|request| request.contains("/blobs/")), "{new:?}");
    hull.finish();
}

#[test]
fn privileged_the_manifest_for_the_platform_is_chosen() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let mut list = Vec::new();
    let (own, other) =
        if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") };
    for architecture in ["s390x", other, own] {
        let image = probe_image().architecture(architecture).set("User", json!(architecture));
        let (kind, bytes) = shelf.parts(&image);
        let size = bytes.len();
        let digest = shelf.manifest("app", &format!("only-{architecture}"), &kind, &bytes);
        list.push(json!({"mediaType": kind, "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": architecture}}));
    }
    let attestation = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": shelf.blob(b"none"), "size": 4,
        "platform": {"os": "unknown", "architecture": "unknown"}});
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list}).to_string();
    let inner_digest = shelf.manifest("app", "inner", INDEX, inner.as_bytes());
    let outer = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation,
        {"mediaType": INDEX, "digest": inner_digest, "size": inner.len()}]});
    let outer_digest = shelf.manifest("app", "1", INDEX, outer.to_string().as_bytes());
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    let said = hull.ok(&["pull", &name]);
    assert!(said.contains(&format!("Digest: {outer_digest}")), "{said}");
    let field = |format: &str| hull.ok(&["image", "inspect", "--format", format, &name]);
    assert_eq!(field("{{.Architecture}} {{.Config.User}}"), format!("{own} {own}"));
    assert_eq!(field("{{.RepoDigests}}"), format!("[{}/app@{outer_digest}]", registry.address()));

    let platform = format!("linux/{other}");
    hull.ok(&["pull", "-q", "--platform", &platform, &name]);
    assert!(hull.ok(&["pull", &name]).contains("up to date"));
    assert!(hull.ok(&["pull", "--platform", &platform, &name]).contains("up to date"));
    let missing = hull.fails(
        &["pull", "--platform", "linux/riscv64", &name],
        1,
        "no matching manifest for linux/riscv64 in the manifest list entries",
    );
    assert!(missing.stderr.contains("s390x"), "{}", missing.stderr);
    hull.fails(
        &["pull", "--platform", "linux/riscv64", &format!("{}/app:only-s390x", registry.address())],
        1,
        "is for linux/s390x, not for linux/riscv64 as was asked",
    );
    everything_is_freed(&hull);
    hull.finish();
}

#[test]
fn privileged_all_tags_and_what_is_not_there() {
    let Some(hull) = Hull::new() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let shelf = Shelf::new();
    for tag in ["1", "2", "latest"] {
        shelf.image("app", tag, &probe_image().set("User", json!(tag)));
    }
    shelf.copy_to(registry.address(), "app");
    let repository = format!("{}/app", registry.address());
    let said = hull.ok(&["pull", "--all-tags", &repository]);
    assert_eq!(said.matches("Pulling from app").count(), 3, "{said}");
    let tags = hull.ok(&["images", "--format", "{{.Tag}}"]);
    let mut tags: Vec<_> = tags.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2", "latest"]);
    hull.fails(&["pull", "-q", &format!("{repository}:3")], 1, "manifest unknown");
    hull.fails(&["pull", "-q", &format!("{}/none", registry.address())], 1, "404 Not Found");
    hull.fails(&["pull", "localhost:1/none"], 1, "localhost:1");
    hull.finish();
}

#[test]
fn privileged_run_pulls_what_is_missing() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    shelf.image("app", "latest", &layered());
    let registry = shelf.serve();
    let name = format!("{}/app", registry.address());
    let output = hull.run(&["run", "--rm", &name]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "plain"), "{}", output.stderr);
    let said = format!("Unable to find image '{name}:latest' locally");
    assert!(output.stderr.contains(&said), "{}", output.stderr);
    hull.fails(&["run", "--rm", "--pull", "never", &format!("{name}:other")], 125, "No such image");
    let before = registry.requests().len();
    assert_eq!(hull.ok(&["run", "--rm", "--pull", "missing", &name]), "plain");
    assert_eq!(registry.requests().len(), before);
    assert_eq!(hull.run(&["run", "--rm", "--pull", "always", &name]).stdout, "plain");
    assert_eq!(registry.requests().len(), before + 1);
    hull.finish();
}

/// Large enough to be written past the page cache, by a process that may do little else.
#[test]
fn privileged_a_large_layer_is_all_there() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    shelf.image("app", "1", &large(18_000_011));
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    hull.ok(&["pull", "-q", &name]);
    hull.ok(&["system", "check", "--deep"]);
    hull.ok(&["create", "--name", "box", &name]);
    let to = hull.data_root().with_file_name("large");
    hull.ok(&["cp", "box:/large", to.to_str().unwrap()]);
    assert!(std::fs::read(to).unwrap() == noise(18_000_011, 7));
    hull.ok(&["rm", "box"]);
    hull.finish();
}

/// The image under digests of sha512, all but its diffIDs.
fn with_sha512(shelf: &Shelf, image: &Image) -> Vec<u8> {
    let (_, manifest) = shelf.parts(image);
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let blobs: HashMap<String, Vec<u8>> = (image.oci_files("x:1").into_iter())
        .filter_map(|(path, bytes)| Some((path.strip_prefix("blobs/")?.replace('/', ":"), bytes)))
        .collect();
    let mut rename = |descriptor: &mut Value| {
        let bytes = &blobs[descriptor["digest"].as_str().unwrap()];
        let digest = digest("sha512", bytes);
        shelf.falsify(&digest, bytes.clone());
        descriptor["digest"] = digest.into();
    };
    rename(&mut manifest["config"]);
    manifest["layers"].as_array_mut().unwrap().iter_mut().for_each(&mut rename);
    manifest.to_string().into_bytes()
}

#[test]
fn privileged_layers_told_by_sha512() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let bytes = with_sha512(&shelf, &layered());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    shelf.manifest("app", "1", kind, &bytes);
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    hull.ok(&["pull", "-q", &name]);
    assert_eq!(hull.ok(&["run", "--rm", &name]), "plain");
    hull.ok(&["system", "check", "--deep"]);

    // It goes on as it came, and comes back from an archive too.
    let other = RegistryServer::start(&hull);
    hull.ok(&["tag", &name, "localhost:5000/app:1"]);
    let served = other.http().get("/v2/app/manifests/1");
    assert_eq!(String::from_utf8_lossy(&served.body), String::from_utf8_lossy(&bytes));
    hull.ok(&["rmi", "localhost:5000/app:1"]);
    let archive = hull.data_root().with_file_name("app.tar").display().to_string();
    hull.ok(&["save", "-o", &archive, &name]);
    assert_eq!(other.stop(), Some(0));
    hull.ok(&["system", "prune", "-af"]);
    hull.ok(&["load", "-q", "-i", &archive]);
    assert_eq!(hull.ok(&["run", "--rm", "--pull", "never", &name]), "plain");

    // One that is not what it should be, where nothing is here to take instead.
    hull.ok(&["system", "prune", "-af"]);
    let mut wrong: Value = serde_json::from_slice(&bytes).unwrap();
    let digest = wrong["layers"][1]["digest"].as_str().unwrap().to_owned();
    wrong["layers"][1]["digest"] = digest.replace(&digest[7..11], "dead").into();
    let false_digest = wrong["layers"][1]["digest"].as_str().unwrap().to_owned();
    let layer = Tar::new().file("gzip", 0o644, b"other").finish();
    let layer = compress(&layer, Compression::Gzip);
    wrong["layers"][1]["size"] = layer.len().into();
    shelf.falsify(&false_digest, layer);
    shelf.manifest("wrong", "1", kind, wrong.to_string().as_bytes());
    let name = format!("{}/wrong:1", registry.address());
    hull.fails(&["pull", "-q", &name], 1, &false_digest);
    // What arrived of the others is kept until then.
    hull.ok(&["system", "prune", "-af"]);
    hull.finish();
}

#[test]
fn privileged_artifacts_are_kept_and_said_to_be_none() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let (config, layer) = (shelf.blob(b"{}"), shelf.blob(b"wasm or whatever"));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.thing",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": layer, "size": 16}],
    });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    shelf.manifest("thing", "1", kind, manifest.to_string().as_bytes());
    let registry = shelf.serve();
    let name = format!("{}/thing:1", registry.address());
    let said = hull.ok(&["pull", &name]);
    assert!(said.contains("no image but application/vnd.example.thing"), "{said}");
    let blob = hull.data_root().join("blobs").join(layer.replace(':', "/"));
    assert_eq!(std::fs::read(&blob).unwrap(), b"wasm or whatever");
    assert_eq!(hull.ok(&["images", "-q"]), "");
    assert_eq!(hull.run(&["run", "--rm", "--pull", "never", &name]).code, 125);
    assert!(hull.ok(&["pull", &name]).contains("Status: "));
    hull.ok(&["rmi", &name]);
    assert!(!blob.exists());
    hull.finish();
}

/// Serves a shelf but stops in the middle of a blob, for as long as `held` says.
fn stalls_at(shelf: &Shelf, digest: &str, bytes: usize) -> ScriptedRegistry {
    let ending = format!("/blobs/{digest}");
    let shelf_of = shelf.clone();
    shelf.serve_with(move |request| {
        let first = request.path().ends_with(&ending) && request.range_start().is_none();
        (first && request.method == "GET").then(|| shelf_of.answer(request).stall(bytes))
    })
}

fn partial_of(hull: &Hull, digest: &str) -> std::path::PathBuf {
    hull.data_root().join("ingest").join(digest.replace(':', "-"))
}

fn arrived(hull: &Hull, digest: &str) -> u64 {
    std::fs::metadata(partial_of(hull, digest)).map_or(0, |metadata| metadata.len())
}

#[test]
fn privileged_a_pull_goes_on_where_a_killed_one_ended() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    shelf.image("app", "1", &large(3_000_000));
    let (digest, size) = shelf.blobs()[0].clone();
    // What comes is handed on in pieces of half a megabyte.
    let (half, least) = (size / 2, u32::try_from(size / 2 - (600 << 10)).unwrap());
    let registry = stalls_at(&shelf, &digest, half);
    let name = format!("{}/app:1", registry.address());
    let mut kept = 0;
    for signal in [Signal::KILL, Signal::INT] {
        let mut command = hull.command(&["pull", "-q", &name]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let came = eventually(Duration::from_secs(20), || arrived(&hull, &digest) >= least.into());
        assert!(came, "{} of {half} bytes arrived", arrived(&hull, &digest));
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(hull.ok(&["images", "-q"]), "");
        assert!(class(&hull, "unfinished writes") >= f64::from(least));
        assert_eq!(hull.run(&["system", "check", "--deep"]).code, 0);
        kept = arrived(&hull, &digest);
        if signal == Signal::KILL {
            // The next one begins anew, to be ended otherwise.
            let gone = eventually(Duration::from_secs(10), || {
                hull.ok(&["system", "prune", "-f"]);
                arrived(&hull, &digest) == 0
            });
            assert!(gone, "prune leaves what nobody fetches");
        }
    }
    let said = hull.ok(&["pull", &name]);
    assert!(said.contains("Downloaded newer image"), "{said}");
    let ranges: Vec<_> =
        blob_requests(&registry, &digest).iter().filter_map(Request::range_start).collect();
    assert_eq!(ranges.iter().map(|start| *start as u64).collect::<Vec<_>>(), [kept]);
    assert_eq!(arrived(&hull, &digest), 0);
    everything_is_freed(&hull);
    hull.finish();
}

#[test]
fn privileged_what_lies_in_a_partial_file_is_not_believed() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    shelf.image("app", "1", &large(300_000));
    let (digest, size) = shelf.blobs()[0].clone();
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    hull.ok(&["images"]);
    // Zeros, as a crash leaves them; and more than there can be.
    for length in [size / 3, size, size + 5] {
        std::fs::write(partial_of(&hull, &digest), vec![0; length]).unwrap();
        hull.ok(&["pull", "-q", &name]);
        assert_eq!(hull.run(&["system", "check", "--deep"]).code, 0);
        everything_is_freed(&hull);
    }
    hull.finish();
}

#[test]
fn privileged_two_pulls_at_once_share_the_work() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let image = layered()
        .layer(Tar::new().file("large", 0o644, &noise(2_000_000, 9)).finish(), Compression::Gzip);
    shelf.image("app", "1", &image);
    let blobs = shelf.blobs();
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    let start = || {
        let mut command = hull.command(&["pull", &name]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for (digest, _) in blobs {
        // The manifest lies among the blobs; configs are small and may be asked for by each.
        let requests = blob_requests(&registry, &digest);
        let layer = requests.len() != 4;
        assert!(!layer || requests.len() <= 1, "{digest} was asked for {} times", requests.len());
    }
    assert_eq!(hull.ok(&["run", "--rm", &name]), "plain");
    hull.finish();
}

#[test]
fn privileged_kills_at_any_moment_break_nothing() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let image = (0..4).fold(layered(), |image, seed| {
        let tar = Tar::new().file(&format!("f{seed}"), 0o644, &noise(1_500_000, seed)).finish();
        image.layer(tar, Compression::Gzip)
    });
    shelf.image("app", "1", &image);
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    let begun = std::time::Instant::now();
    hull.ok(&["pull", "-q", &name]);
    let whole = begun.elapsed();
    hull.ok(&["system", "prune", "-a", "-f"]);
    let full = std::env::var_os("HULL_FULL").is_some_and(|value| value == "1");
    let times = if full { 100 } else { 12 };
    let mut finished = 0;
    for time in 0..times {
        if time % 3 != 0 {
            // What was done until now goes, but for what arrived.
            hull.run(&["rmi", "-f", &name]);
            hull.ok(&["image", "prune", "-f"]);
        }
        let mut command = hull.command(&["pull", "-q", &name]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap();
        // Spread over the whole, not in order.
        let part = f64::from(time * 37 % times) / f64::from(times);
        std::thread::sleep(whole.mul_f64(part));
        kill_9(i32::try_from(child.id()).unwrap());
        finished += i32::from(child.wait().unwrap().success());
        let check = hull.run(&["system", "check", "--deep"]);
        assert_eq!(check.code, 0, "after {part}: {}{}", check.stdout, check.stderr);
        if time % 5 == 4 {
            hull.ok(&["pull", "-q", &name]);
            assert_eq!(hull.ok(&["run", "--rm", &name]), "plain");
            hull.ok(&["rmi", &name]);
        }
    }
    println!("{finished} of {times} pulls were done before they were killed");
    hull.ok(&["pull", "-q", &name]);
    assert_eq!(hull.ok(&["run", "--rm", &name]), "plain");
    everything_is_freed(&hull);
    hull.finish();
}

#[test]
fn privileged_copies_stay_within_their_budget() {
    let Some(hull) = Hull::new() else { return };
    let hull = hull.with_env("HULL_COMPRESSED_BUDGET", "500kB");
    let shelf = Shelf::new();
    shelf.image("app", "old", &large(300_000));
    let other = Tar::new().file("other", 0o644, &noise(300_000, 8)).finish();
    shelf.image("app", "new", &Image::new().layer(other, Compression::Gzip));
    let registry = shelf.serve();
    let name = |tag: &str| format!("{}/app:{tag}", registry.address());
    hull.ok(&["pull", "-q", &name("old")]);
    hull.ok(&["pull", "-q", &name("new")]);
    let kept = class(&hull, "compressed copies");
    assert!((300e3..=500e3).contains(&kept), "{kept} bytes of copies");
    let group = hull.ok(&["run", "--rm", &name("old"), "/probe", "read", "/etc/group"]);
    assert!(group.starts_with("root:"), "{group}");
    assert!(hull.ok(&["pull", &name("old")]).contains("up to date"), "copies need not be here");
    everything_is_freed(&hull);
    hull.finish();
}

#[test]
fn privileged_what_is_saved_is_fetched_again_where_it_is_not_kept() {
    let Some(hull) = Hull::new() else { return };
    let hull = hull.with_env("HULL_COMPRESSED_BUDGET", "0");
    let shelf = Shelf::new();
    shelf.image("app", "1", &layered());
    let registry = shelf.serve();
    let name = format!("{}/app:1", registry.address());
    hull.ok(&["pull", "-q", &name]);
    let archive = hull.folder().join("saved.tar").display().to_string();
    hull.ok(&["save", "-o", &archive, &name]);
    let Some(far) = Hull::new() else { return };
    far.ok(&["load", "-q", "-i", &archive]);
    assert_eq!(far.ok(&["run", "--rm", &name]), "plain");
    far.finish();
    std::fs::remove_file(&archive).unwrap();
    // They go again with the next chance.
    hull.ok(&["pull", "-q", &name]);
    drop(registry);
    hull.fails(&["save", "-o", &archive, &name], 1, "cannot be fetched again");
    hull.finish();
}

/// `{"username":"u","password":"p"}` as Docker's clients send it.
const AUTH: &str = "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ==";

/// A registry that wants the user `u` with the password `p`.
fn wants_credentials(shelf: &Shelf) -> ScriptedRegistry {
    shelf.serve_with(|request| {
        let right = request.header("authorization") == Some("Basic dTpw");
        let asks = Answer::new(401).header("WWW-Authenticate", "Basic realm=\"here\"");
        (!right).then(|| asks.body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"who"}]}"#))
    })
}

#[test]
fn privileged_the_api_tells_a_pull_as_dockers_clients_read_it() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    let digest = shelf.image("app", "1", &layered());
    let registry = wants_credentials(&shelf);
    let daemon = Daemon::start(&hull);
    let ask = |request: &str, more: &str, body: &str| {
        let length = body.len();
        let answer = daemon.raw(
            format!(
                "{request} HTTP/1.1\r\nHost: hull\r\nConnection: close\r\n{more}Content-Length: \
                 {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    };
    let auth = format!("X-Registry-Auth: {AUTH}\r\n");
    let image = format!("{}/app", registry.address());
    let create = |tag: &str| format!("POST /v1.51/images/create?fromImage={image}&tag={tag}");

    // What is known before the first message is the status.
    let (status, body) = ask(&create("none"), &auth, "");
    assert_eq!(status, 404, "{body}");
    assert!(body.contains("\"message\":"), "{body}");
    let (status, _) = ask(&create("1"), "", "");
    assert_eq!(status, 403, "nobody said who asks");
    assert_eq!(ask(&create("1"), "X-Registry-Auth: ?\r\n", "").0, 400);
    assert_eq!(ask(&create("No_Such~Tag"), &auth, "").0, 400);

    let (status, body) = ask(&create("1"), &auth, "");
    assert_eq!(status, 200);
    let messages: Vec<serde_json::Value> = body
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(messages[0], json!({"status": "Pulling from app", "id": "1"}));
    let begun = |message: &&serde_json::Value| message["status"] == "Pulling fs layer";
    let first = messages.iter().find(begun).unwrap();
    assert_eq!(first["progressDetail"], json!({}), "{first}");
    assert_eq!(first["id"].as_str().unwrap().len(), 12);
    let done = messages.iter().filter(|message| message["status"] == "Pull complete").count();
    assert_eq!(done, 4, "{body}");
    let last: Vec<_> = messages.iter().rev().take(2).map(|m| m["status"].clone()).collect();
    assert_eq!(last[0], format!("Status: Downloaded newer image for {image}:1"));
    assert_eq!(last[1], format!("Digest: {digest}"));

    let (status, body) = ask(&format!("GET /distribution/{image}:1/json"), &auth, "");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(&digest) && body.contains("\"architecture\""), "{body}");
    let (status, body) = ask(&format!("GET /distribution/{image}:1/manifest"), &auth, "");
    assert_eq!(status, 200);
    assert!(body.starts_with("{") && body.contains("schemaVersion"), "{body}");
    let kind = "Content-Type: application/json\r\n";
    let login = |password: &str| {
        let address = registry.address();
        format!(r#"{{"username":"u","password":"{password}","serveraddress":"{address}"}}"#)
    };
    let (status, body) = ask("POST /auth", kind, &login("p"));
    assert_eq!((status, body.contains("Login Succeeded")), (200, true), "{body}");
    let (status, body) = ask("POST /auth", kind, &login("wrong"));
    assert!(matches!(status, 401 | 403), "{status} {body}");
    assert!(!body.contains("wrong"), "{body}");
    daemon.stop();
    hull.finish();
}

#[test]
fn privileged_a_client_that_goes_away_ends_its_pull_and_nothing_is_lost() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    shelf.image("app", "1", &large(3_000_000));
    let (digest, size) = shelf.blobs()[0].clone();
    let registry = stalls_at(&shelf, &digest, size / 2);
    let daemon = Daemon::start(&hull);
    let name = format!("{}/app:1", registry.address());
    let host = daemon.host();
    let mut command = hull.command(&["--host", &host, "pull", "-q", &name]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let least = (size / 2 - (600 << 10)) as u64;
    assert!(eventually(Duration::from_secs(20), || arrived(&hull, &digest) >= least));
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock is free, so the next one does not wait for who is gone; it asks for the rest only.
    let said = hull.ok(&["--host", &host, "pull", &name]);
    assert!(said.contains("Downloaded newer image"), "{said}");
    let ranges = blob_requests(&registry, &digest).iter().filter_map(Request::range_start).count();
    assert_eq!(ranges, 1);
    daemon.stop();
    hull.finish();
}

#[test]
fn privileged_a_registry_that_breaks_leaves_no_name() {
    let Some(hull) = Hull::new() else { return };
    let shelf = Shelf::new();
    shelf.image("app", "1", &probe_image());
    let registry = shelf.serve_with(|request| {
        let get = request.method == "GET" && request.path().contains("/blobs/");
        get.then(|| Answer::new(403).body("{}"))
    });
    let name = format!("{}/app:1", registry.address());
    hull.fails(&["pull", "-q", &name], 1, &registry.address());
    assert_eq!(hull.ok(&["images", "-q"]), "");
    hull.finish();
}
