//! Caches that engines give each other: `--cache-to` and `--cache-from`.
//!
//! A `RUN` of these Dockerfiles gives something else each time, so an image that is the same on
//! another engine was not built there.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use hull_test_support::Hull;
use hull_test_support::base64::decoded;
use hull_test_support::daemon::Daemon;
use hull_test_support::registry::{Answer, DebianRegistry, ScriptedRegistry};
use hull_test_support::serve::RegistryServer;
use hull_test_support::shelf::{Shelf, ask};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.hull.buildcache.config.v1+json";

/// Two stages, of which the second takes a file of the first.
const STAGES: &str = "FROM busybox AS build\n\
    WORKDIR /work\n\
    RUN cat /proc/sys/kernel/random/uuid >/work/id\n\
    COPY source /work/source\n\
    RUN cat /work/id /work/source >/work/out; seq 1 20000 >/work/large\n\
    FROM busybox\n\
    RUN cat /proc/sys/kernel/random/uuid >/id\n\
    COPY --from=build /work/out /out\n\
    RUN cat /id /out >/all\n\
    CMD [\"cat\", \"/all\"]\n";

/// One stage.
const STAGE: &str = "FROM busybox\n\
    RUN cat /proc/sys/kernel/random/uuid >/id\n\
    COPY source /source\n\
    RUN cat /id /source >/all\n";

/// What a build came to.
#[derive(Debug)]
struct Built {
    /// Instructions with whether they were cached, in the order in which they ended.
    steps: Vec<(String, bool)>,
    /// All else that was done.
    others: Vec<String>,
    warnings: Vec<String>,
    /// Of the image's manifest.
    digest: String,
}

impl Built {
    /// The instructions that were run.
    fn ran(&self) -> Vec<&str> {
        self.steps.iter().filter(|(_, cached)| !cached).map(|(step, _)| step.as_str()).collect()
    }

    #[track_caller]
    fn is_all_cached(&self) {
        assert!(self.ran().is_empty() && self.warnings.is_empty(), "{self:#?}");
    }

    fn did(&self, text: &str) -> bool {
        self.others.iter().any(|other| other.contains(text))
    }
}

/// Writes a context; its path.
fn context(hull: &Hull, dockerfile: &str, source: &str) -> PathBuf {
    let root = hull.folder().join("context");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("Dockerfile"), dockerfile).unwrap();
    fs::write(root.join("source"), source).unwrap();
    root
}

/// Builds the context of a Hull as `image`.
#[track_caller]
fn build(hull: &Hull, options: &[&str]) -> Built {
    let metadata = hull.folder().join("metadata.json");
    let (metadata_text, root) =
        (metadata.display().to_string(), hull.folder().join("context").display().to_string());
    let mut words = vec!["build", "--progress", "rawjson", "--metadata-file", &metadata_text];
    if !options.contains(&"-t") {
        words.extend(["-t", "image"]);
    }
    words.extend(options);
    words.push(&root);
    let output = hull.run(&words);
    assert_eq!(output.code, 0, "hull {words:?}\n{}{}", output.stdout, output.stderr);
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let mut built = Built {
        steps: Vec::new(),
        others: Vec::new(),
        warnings: Vec::new(),
        digest: metadata["containerimage.digest"].as_str().unwrap().to_owned(),
    };
    let said = format!("{}{}", output.stdout, output.stderr);
    for line in said.lines().filter(|line| line.starts_with('{')) {
        let status: Value = serde_json::from_str(line).unwrap();
        let all = |name: &str| status[name].as_array().cloned().unwrap_or_default();
        for vertex in all("vertexes") {
            if vertex["completed"].is_null() {
                continue;
            }
            let name = vertex["name"].as_str().unwrap().to_owned();
            let instruction = name.split_once("] ").map(|(_, text)| text.to_owned());
            match instruction.filter(|text| !text.starts_with("FROM") && !name.starts_with("[int"))
            {
                Some(text) => built.steps.push((text, vertex["cached"] == true)),
                None => built.others.push(name),
            }
        }
        for status in all("statuses") {
            built.others.push(status["id"].as_str().unwrap().to_owned());
        }
        for warning in all("warnings") {
            built.warnings.push(decoded(warning["short"].as_str().unwrap()));
        }
    }
    built
}

/// Two engines that know nothing of each other, with the same base image.
fn two() -> Option<(Hull, Hull)> {
    Some((Hull::with_busybox()?, Hull::with_busybox()?))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn at(folder: &Path, digest: &Value) -> PathBuf {
    folder.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
}

/// The manifest of the one cache in a folder.
fn manifest(folder: &Path) -> Value {
    let index = read(&folder.join("index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "{index}");
    read(&at(folder, &index["manifests"][0]["digest"]))
}

/// Puts the cache of a folder onto a shelf, as `cache:1`.
fn shelve(folder: &Path) -> Shelf {
    let shelf = Shelf::new();
    let manifest = manifest(folder);
    let layers = manifest["layers"].as_array().unwrap();
    for blob in layers.iter().chain([&manifest["config"]]) {
        shelf.blob(&fs::read(at(folder, &blob["digest"])).unwrap());
    }
    shelf.manifest("cache", "1", MANIFEST, manifest.to_string().as_bytes());
    shelf
}

/// The digests of blobs that were asked for.
fn fetched(registry: &ScriptedRegistry) -> Vec<String> {
    let blob = |path: &str| path.split_once("/blobs/").map(|(_, digest)| digest.to_owned());
    let requests = registry.requests();
    requests.iter().filter(|one| one.method == "GET").filter_map(|one| blob(one.path())).collect()
}

/// Builds on one engine, then on another one with what the first has written.
fn through_registry(address: &str) {
    let Some((first, second)) = two() else { return };
    let name = format!("{address}/team/cache:main");
    let (to, from) =
        (format!("type=registry,ref={name},mode=max"), format!("type=registry,ref={name}"));
    context(&first, STAGES, "one\n");
    context(&second, STAGES, "one\n");
    let made = build(&first, &["--cache-to", &to]);
    assert!(made.did("exporting cache to registry"), "{made:#?}");
    let found = build(&second, &["--cache-from", &from]);
    found.is_all_cached();
    assert!(found.did(&format!("importing cache manifest from {name}")), "{found:#?}");
    assert_eq!(found.digest, made.digest);
    let run = |hull: &Hull| hull.ok(&["run", "--rm", "image"]);
    assert_eq!(run(&second), run(&first));

    // What is there already is not sent again, and a short form is enough.
    let path = "/v2/team/cache/manifests/main";
    let before = ask(address, "GET", path, "", b"").2;
    let again = build(&second, &["--cache-from", &name, "--cache-to", &to]);
    again.is_all_cached();
    assert_eq!(ask(address, "GET", path, "", b"").2, before, "the same steps, the same cache");
    let document: Value = serde_json::from_str(&before).unwrap();
    assert_eq!(document["config"]["mediaType"], CONFIG);

    // What comes after a file that changed is run, what comes before it is not.
    context(&second, STAGES, "two\n");
    let changed = build(&second, &["--cache-from", &from]);
    let ran = changed.ran();
    assert_eq!(ran.len(), 4, "{changed:#?}");
    assert!(ran[0].starts_with("COPY source") && ran[3].contains("/id /out"), "{ran:?}");
    first.finish();
    second.finish();
}

#[test]
fn privileged_a_cache_in_our_own_registry_builds_nothing_elsewhere() {
    let Some(host) = Hull::new() else { return };
    let server = RegistryServer::start(&host);
    through_registry(server.address());
    assert_eq!(server.stop(), Some(0));
    host.finish();
}

#[test]
fn privileged_a_cache_in_docker_registry_builds_nothing_elsewhere() {
    let Some(registry) = DebianRegistry::start() else { return };
    through_registry(registry.address());
}

#[test]
fn privileged_a_folder_holds_the_result_or_all_stages() {
    let Some((first, second)) = two() else { return };
    let folder = first.folder().join("cache");
    let place = folder.display();
    context(&first, STAGES, "one\n");
    context(&second, STAGES, "one\n");
    let from = format!("type=local,src={place}");
    let made = build(&first, &["--cache-to", &format!("type=local,dest={place}")]);
    assert!(made.did("exporting cache to client directory"), "{made:#?}");
    assert_eq!(manifest(&folder)["layers"].as_array().unwrap().len(), 3);

    // Of the first stage nothing is known: what it gives is something else this time.
    let few = build(&second, &["--cache-from", &from]);
    let ran = few.ran();
    assert_eq!(ran.len(), 6, "{few:#?}");
    assert!(!ran.iter().any(|step| step.contains("uuid >/id")), "{ran:?}");
    assert_ne!(few.digest, made.digest);

    let old = manifest(&folder);
    let to = format!("type=local,dest={place},mode=max,compression=zstd");
    build(&first, &["--cache-to", &to]).is_all_cached();
    let new = manifest(&folder);
    assert_eq!(new["layers"].as_array().unwrap().len(), 7);
    assert!(new["layers"][0]["mediaType"].as_str().unwrap().ends_with("zstd"), "{new}");
    for blob in old["layers"].as_array().unwrap() {
        assert!(!at(&folder, &blob["digest"]).exists(), "what nothing leads to is removed");
    }
    let third = Hull::with_busybox().unwrap();
    context(&third, STAGES, "one\n");
    let all = build(&third, &["--cache-from", &from]);
    all.is_all_cached();
    assert_eq!(all.digest, made.digest);
    // Several caches in one folder, and a folder without the one that is asked for.
    build(&third, &["--cache-to", &format!("type=local,dest={place},tag=other")]);
    let index = read(&folder.join("index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let fourth = Hull::with_busybox().unwrap();
    context(&fourth, STAGES, "one\n");
    let none = build(&fourth, &["--cache-from", &format!("{from},tag=none")]);
    assert_eq!(none.ran().len(), 7, "{none:#?}");
    assert!(none.warnings[0].contains("has no cache \"none\""), "{none:#?}");
    for hull in [first, second, third, fourth] {
        hull.finish();
    }
}

#[test]
fn privileged_only_layers_that_are_needed_are_fetched() {
    let Some((first, second)) = two() else { return };
    let folder = first.folder().join("cache");
    context(&first, STAGES, "one\n");
    context(&second, STAGES, "one\n");
    let to = format!("type=local,dest={},mode=max", folder.display());
    let made = build(&first, &["--cache-to", &to]);
    let shelf = shelve(&folder);
    let registry = shelf.serve();
    let from = format!("type=registry,ref={}/cache:1", registry.address());
    let layers: Vec<String> = manifest(&folder)["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect();
    let found = build(&second, &["--cache-from", &from]);
    found.is_all_cached();
    assert_eq!(found.digest, made.digest);
    let asked = fetched(&registry);
    let came: Vec<bool> = layers.iter().map(|layer| asked.contains(layer)).collect();
    // Four of the first stage, three of the result.
    assert_eq!(came, [false, false, false, false, true, true, true], "{asked:?}");

    // Everything is here now: the layers are not asked for again, and without news nobody is.
    let count = asked.len();
    build(&second, &["--cache-from", &from]).is_all_cached();
    let again = fetched(&registry);
    assert_eq!(again[count..].iter().filter(|digest| layers.contains(digest)).count(), 0);

    // A step that runs needs what lies below it.
    context(&second, STAGES, "two\n");
    let changed = build(&second, &["--cache-from", &from]);
    assert_eq!(changed.ran().len(), 4, "{changed:#?}");
    let asked = fetched(&registry);
    let came: Vec<bool> = layers.iter().map(|layer| asked.contains(layer)).collect();
    assert_eq!(came, [true, true, false, false, true, true, true], "{asked:?}");
    first.finish();
    second.finish();
}

#[test]
fn privileged_what_a_registry_has_is_not_sent_again_and_not_fetched_for_it() {
    let Some((first, second)) = two() else { return };
    let folder = first.folder().join("cache");
    context(&first, STAGES, "one\n");
    context(&second, STAGES, "one\n");
    let to = format!("type=local,dest={},mode=max", folder.display());
    build(&first, &["--cache-to", &to]);
    let shelf = shelve(&folder);
    let registry = shelf.serve_with(|request| match request.method.as_str() {
        "PUT" => {
            let digest = Shelf::new().blob(&request.body);
            Some(Answer::new(201).header("Docker-Content-Digest", digest))
        }
        "POST" => Some(Answer::new(500)),
        _ => None,
    });
    let name = format!("type=registry,ref={}/cache:1", registry.address());
    let to = format!("{name},mode=max");
    build(&second, &["--cache-from", &name, "--cache-to", &to]).is_all_cached();
    let sent: Vec<_> = registry.requests().into_iter().filter(|one| one.method == "PUT").collect();
    assert_eq!(sent.len(), 1, "the manifest alone: {sent:?}");
    assert_eq!(sent[0].path(), "/v2/cache/manifests/1");
    let sent: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(sent, manifest(&folder));
    // The config, and the three layers of the result.
    assert_eq!(fetched(&registry).len(), 4);
    first.finish();
    second.finish();
}

#[test]
fn privileged_what_was_imported_is_for_the_builds_that_name_it() {
    let Some((first, second)) = two() else { return };
    let folder = first.folder().join("cache");
    context(&first, STAGE, "one\n");
    context(&second, STAGE, "one\n");
    let made = build(&first, &["--cache-to", &format!("type=local,dest={}", folder.display())]);
    let from = format!("type=local,src={}", folder.display());
    let found = build(&second, &["--cache-from", &from]);
    assert_eq!(found.digest, made.digest);
    let own = build(&second, &[]);
    assert_eq!(own.ran().len(), 3, "{own:#?}");
    assert_ne!(own.digest, made.digest);
    // What is known here is taken first, and nobody is asked.
    let own_again = build(&second, &["--cache-from", &from]);
    own_again.is_all_cached();
    assert_eq!(own_again.digest, own.digest);
    assert!(!own_again.did("importing cache"), "{own_again:#?}");
    build(&second, &["--no-cache", "--cache-from", &from]);
    assert!(own.digest != build(&second, &["--cache-from", &from]).digest);
    first.finish();
    second.finish();
}

#[test]
fn privileged_what_is_made_on_something_imported_is_not_taken_elsewhere() {
    let Some((first, second)) = two() else { return };
    let folder = first.folder().join("cache");
    let begin = "FROM busybox\nARG SOURCE_DATE_EPOCH\n\
        RUN cat /proc/sys/kernel/random/uuid >/id\nRUN echo same >/same\n";
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    context(&first, begin, "");
    let to = format!("--cache-to=type=local,dest={}", folder.display());
    build(&first, &[epoch[0], epoch[1], &to]);
    context(&second, &format!("{begin}RUN cat /id /same >/all\n"), "");
    let from = format!("--cache-from=type=local,src={}", folder.display());
    let from = [epoch[0], epoch[1], &from];
    let mixed = build(&second, &from);
    assert_eq!(mixed.ran(), ["RUN cat /id /same >/all"]);
    // The layer below is the same to the byte, but what lies below that is not.
    let own = build(&second, &epoch);
    assert_eq!(own.ran().len(), 3, "{own:#?}");
    let said = second.ok(&["run", "--rm", "image", "sh", "-c", "cat /id /same; echo; cat /all"]);
    let (own, made) = said.split_once("\n\n").unwrap();
    assert_eq!(own, made);
    first.finish();
    second.finish();
}

#[test]
fn privileged_an_image_with_a_cache_inside() {
    let Some((first, second)) = two() else { return };
    let Some(registry) = DebianRegistry::start() else { return };
    let name = format!("{}/team/app:1", registry.address());
    context(&first, STAGE, "one\n");
    context(&second, STAGE, "one\n");
    let made = build(&first, &["--cache-to", "type=inline", "-t", &name]);
    first.ok(&["push", &name]);
    let pushed = first.ok(&["image", "inspect", "--format", "{{.Id}}", &name]);
    let from = format!("type=registry,ref={name}");
    let found = build(&second, &["--cache-to", "type=inline", "--cache-from", &from, "-t", &name]);
    found.is_all_cached();
    assert_eq!(found.digest, made.digest);
    assert_eq!(second.ok(&["image", "inspect", "--format", "{{.Id}}", &name]), pushed);

    // What is built on it does not say that it has its steps.
    let child = format!("FROM {name}\nRUN true\n");
    context(&second, &child, "");
    build(&second, &[]);
    let saved = second.folder().join("saved.tar").display().to_string();
    second.ok(&["save", "-o", &saved, "image"]);
    let bytes = fs::read(&saved).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("diff_ids") && !has("hull.buildcache"));
    first.finish();
    second.finish();
}

#[test]
fn privileged_docker_asks_with_the_name_of_an_image_that_is_here() {
    let Some((first, second)) = two() else { return };
    context(&first, STAGE, "one\n");
    build(&first, &["--cache-to", "type=inline", "-t", "localhost:1/app:1"]);
    let saved = first.folder().join("saved.tar").display().to_string();
    first.ok(&["save", "-o", &saved, "localhost:1/app:1"]);
    second.ok(&["load", "-q", "-i", &saved]);
    let daemon = Daemon::start(&second);
    let root = context(&second, STAGE, "one\n");
    let tar = second.folder().join("context.tar");
    let mut pack = std::process::Command::new("tar");
    pack.arg("-C").arg(root).arg("-cf").arg(&tar).arg(".");
    assert!(pack.status().unwrap().success());
    let body = fs::read(tar).unwrap();
    let mut request = format!(
        "POST /v1.51/build?t=new&cachefrom=%5B%22localhost%3A1%2Fapp%3A1%22%5D HTTP/1.1\r\n\
         Host: d\r\nConnection: close\r\nContent-Type: application/x-tar\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    let said = daemon.raw(&request);
    assert!(said.contains("Successfully tagged new:latest"), "{said}");
    assert_eq!(said.matches("Using cache").count(), 3, "{said}");
    assert_eq!(daemon.stop(), Some(0));
    let id = |hull: &Hull, name| hull.ok(&["run", "--rm", name, "cat", "/id"]);
    assert_eq!(id(&second, "new"), id(&first, "localhost:1/app:1"));
    first.finish();
    second.finish();
}

/// Builds with a cache that something is wrong with: it is told, and everything is run.
#[track_caller]
fn useless(hull: &Hull, from: &str, warning: &str) {
    hull.ok(&["builder", "prune", "-af"]);
    let built = build(hull, &["--cache-from", from]);
    // Steps that were taken at first are told twice.
    let mut ran = built.ran();
    ran.retain(|step| !step.is_empty());
    assert_eq!(ran.iter().filter(|step| step.contains("uuid")).count(), 1, "{built:#?}");
    let said = built.warnings.join("\n");
    assert!(said.contains(warning), "must say {warning:?}: {built:#?}");
    assert_eq!(hull.ok(&["run", "--rm", "image", "cat", "/source"]), "one");
    hull.ok(&["image", "rm", "image"]);
}

#[test]
fn privileged_hostile_and_absent_caches_are_told_and_not_used() {
    let Some((first, second)) = two() else { return };
    let folder = first.folder().join("cache");
    context(&first, STAGE, "one\n");
    context(&second, STAGE, "one\n");
    build(&first, &["--cache-to", &format!("type=local,dest={}", folder.display())]);
    let honest = manifest(&folder);
    let config = read(&at(&folder, &honest["config"]["digest"]));
    let shelf = shelve(&folder);
    let registry = shelf.serve();
    let put = |tag: &str, manifest: &Value| {
        shelf.manifest("cache", tag, MANIFEST, manifest.to_string().as_bytes());
        format!("type=registry,ref={}/cache:{tag}", registry.address())
    };
    let with_config = |tag: &str, kind: &str, bytes: &[u8]| {
        let mut manifest = honest.clone();
        let digest = shelf.blob(bytes);
        manifest["config"] = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
        put(tag, &manifest)
    };
    let nobody = format!("type=registry,ref={}/none:1", registry.address());
    useless(&second, &nobody, "none:1 is not used");
    useless(&second, "type=registry,ref=127.0.0.1:1/cache:1", "127.0.0.1:1/cache:1 is not used");
    useless(&second, "type=local,src=/nonexistent", "/nonexistent is not used: cannot open");

    let mut other = config.clone();
    other["version"] = json!(2);
    let from = with_config("version", CONFIG, other.to_string().as_bytes());
    useless(&second, &from, "it has version 2, this engine reads 1");
    let from = with_config("huge", CONFIG, &vec![b' '; 9 << 20]);
    useless(&second, &from, "huge is not used");
    let from = with_config("deep", CONFIG, "[".repeat(1 << 20).as_bytes());
    useless(&second, &from, "it cannot be read");
    let mut other = config.clone();
    other["steps"][0]["layer"] = json!(7);
    let from = with_config("range", CONFIG, other.to_string().as_bytes());
    useless(&second, &from, "there is no layer 7");
    let kind = "application/vnd.buildkit.cacheconfig.v0";
    useless(&second, &with_config("buildkit", kind, b"{}"), "it is a cache of BuildKit");

    let layers = honest["layers"].as_array().unwrap();
    let theirs = json!({"mediaType": kind, "digest": shelf.blob(b"{}"), "size": 2});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [layers[0], theirs]});
    shelf.manifest("cache", "index", INDEX, index.to_string().as_bytes());
    let from = format!("type=registry,ref={}/cache:index", registry.address());
    useless(&second, &from, "it is a cache of BuildKit");

    // A layer that is another one: of two, so that the first was taken when it is seen.
    let mut other = config.clone();
    other["diffIds"][2] = other["diffIds"][0].clone();
    let from = with_config("swapped", CONFIG, other.to_string().as_bytes());
    useless(&second, &from, "is not used any more");
    let mut other = honest.clone();
    other["layers"][1]["size"] = json!(other["layers"][1]["size"].as_u64().unwrap() + 1);
    useless(&second, &put("size", &other), "is not used any more");
    let digest = honest["layers"][1]["digest"].as_str().unwrap();
    let mut bytes = fs::read(at(&folder, &honest["layers"][1]["digest"])).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    shelf.falsify(digest, bytes.clone());
    let from = format!("type=registry,ref={}/cache:1", registry.address());
    useless(&second, &from, "is not used any more");
    fs::write(at(&folder, &honest["layers"][1]["digest"]), bytes).unwrap();
    let from = format!("type=local,src={}", folder.display());
    useless(&second, &from, "is not used any more");
    fs::remove_file(at(&folder, &honest["layers"][1]["digest"])).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at(&folder, &honest["layers"][1]["digest"])).unwrap();
    useless(&second, &from, "is not used any more");
    first.finish();
    second.finish();
}

#[test]
fn privileged_options_that_make_no_sense_and_caches_that_cannot_be_written() {
    let Some(hull) = Hull::with_busybox() else { return };
    let root = context(&hull, STAGE, "one\n").display().to_string();
    let refused = |option: &str, value: &str, text: &str| {
        hull.fails(&["build", option, value, &root], 1, text);
    };
    refused("--cache-to", "type=gha", "type \"gha\" is not known");
    refused("--cache-from", "type=s3,bucket=x", "type \"s3\" is not known");
    refused("--cache-to", "type=registry", "needs ref");
    refused("--cache-to", "type=local", "needs dest");
    refused("--cache-to", "type=inline,mode=max", "has mode=min only");
    refused("--cache-from", "type=local,dest=x", "needs src");
    refused("--cache-from", "type=inline", "is no source");
    refused("--cache-to", "type=local,dest=x,mode=mid", "is not min or max");
    refused("--cache-to", "type=local,dest=x,what=1", "has no attribute \"what\"");
    let nowhere = "type=registry,ref=127.0.0.1:1/cache:1";
    let failed = hull.run(&["build", "--cache-to", nowhere, &root]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("cannot export the cache to 127.0.0.1:1/cache:1"), "{failed:?}");
    let built = build(&hull, &["--cache-to", &format!("{nowhere},ignore-error=true")]);
    assert!(built.warnings[0].contains("cannot export the cache"), "{built:#?}");
    hull.finish();
}
