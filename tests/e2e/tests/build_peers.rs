//! The same Dockerfiles built by BuildKit and by Hull: the images compared file by file and config
//! field by field.
//!
//! The files are in `build/corpus`; a last line `# options: ...` holds further options of the
//! command. With `labs` Docker's own BuildKit does not have what the file uses: Hull builds it alone.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_test_support::busybox::static_busybox;
use hull_test_support::{Hull, needs};
use serde_json::Value;

/// What is known to differ: file, what, why.
const DIFFERENCES: &[(&str, &str, &str)] = &[];

/// One Dockerfile.
struct Case {
    name: String,
    path: PathBuf,
    options: Vec<String>,
    only_hull: bool,
}

fn corpus() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build/corpus");
    let mut cases: Vec<Case> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let last = text.lines().last().unwrap_or_default();
            let options = last.strip_prefix("# options: ").unwrap_or_default();
            let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
            let only_hull = options == ["labs"];
            let options = if only_hull { Vec::new() } else { options };
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Case { name, path, options, only_hull }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() >= 60, "{} Dockerfiles", cases.len());
    cases
}

/// The context that the files of the corpus are built with.
fn context(root: &Path) {
    let file = |path: &str, text: &str, mode: u32| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    file("plain", "plain text\n", 0o644);
    file("secret", "the secret\n", 0o600);
    file("name with space", "spaces\n", 0o644);
    file("tree/top", "top\n", 0o640);
    file("tree/sub/leaf", "leaf\n", 0o755);
    file("tree/sub/deeper/leaf", "deeper\n", 0o600);
    file("tree/extra/plain", "extra\n", 0o644);
    for name in ["a.txt", "ab.txt", "c.txt", "x.md", "yy.md"] {
        file(&format!("glob/{name}"), name, 0o644);
    }
    file("hard/one", "linked\n", 0o644);
    std::fs::hard_link(root.join("hard/one"), root.join("hard/two")).unwrap();
    file("links/target", "target\n", 0o644);
    file("links/dir/inner", "inner\n", 0o644);
    for (target, link) in [("target", "to-file"), ("dir", "to-dir"), ("/nowhere", "dangling")] {
        std::os::unix::fs::symlink(target, root.join("links").join(link)).unwrap();
    }
    file("ignored/deep/file", "never\n", 0o644);
    file("ignored/kept", "kept\n", 0o644);
    file("some.log", "never\n", 0o644);
    file(".dockerignore", "# comment\n*.log\nignored\n!ignored/kept\n*.tar.gz.tmp\n", 0o644);
    for (name, arguments) in
        [("archive.tar", "-cf"), ("archive.tar.gz", "-czf"), ("archive.notar", "-cf")]
    {
        let mut tar = Command::new("tar");
        tar.args([arguments, name, "--owner=0", "--group=0", "-C", "tree", "."]);
        assert!(tar.current_dir(root).status().unwrap().success());
    }
    // What is copied keeps its time.
    let touch = ["-exec", "touch", "-h", "-d", "2020-02-02T02:02:02Z", "{}", "+"];
    assert!(Command::new("find").arg(root).args(touch).status().unwrap().success());
}

/// One file of a tree, without what a build cannot promise.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    /// Of files that were there before the builds.
    time: Option<i64>,
    content: String,
}

fn tree(root: &Path) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            // Mount points and files that engines put into every container.
            let engines = [
                "dev",
                "proc",
                "sys",
                ".dockerenv",
                "etc/hosts",
                "etc/hostname",
                "etc/resolv.conf",
                "etc/mtab",
            ];
            if engines.contains(&name.as_str()) {
                continue;
            }
            let found = std::fs::symlink_metadata(&path).unwrap();
            let content = if found.is_symlink() {
                std::fs::read_link(&path).unwrap().display().to_string()
            } else if found.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                format!(
                    "{} bytes {}",
                    bytes.len(),
                    String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
                )
            } else {
                String::new()
            };
            let old = found.mtime() == 1_580_608_922 && !found.is_dir();
            let time = old.then_some(found.mtime());
            let owner = (found.uid(), found.gid());
            entries.insert(name, Entry { mode: found.mode(), owner, time, content });
            if found.is_dir() {
                open.push(path);
            }
        }
    }
    entries
}

/// The tree of an image, exported and unpacked.
fn exported(hull: &Hull, image: &str, name: &str) -> BTreeMap<String, Entry> {
    let folder = hull.folder().join(name);
    let tar = folder.with_extension("export.tar");
    hull.ok(&["create", "--name", name, image, "x"]);
    hull.ok(&["export", "-o", &tar.display().to_string(), name]);
    hull.ok(&["rm", "-v", name]);
    std::fs::create_dir(&folder).unwrap();
    let unpacked = Command::new("tar").args(["-xpf"]).arg(&tar).arg("-C").arg(&folder).status();
    assert!(unpacked.unwrap().success());
    let entries = tree(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::remove_file(&tar).unwrap();
    entries
}

/// What an image says of itself, without names and times.
fn config(hull: &Hull, image: &str) -> Value {
    let text = hull.ok(&["image", "inspect", image]);
    let inspected: Value = serde_json::from_str(&text).unwrap();
    let image_config = &inspected[0];
    let history = hull.ok(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}|{{.Comment}}|{{.Size}}",
        image,
    ]);
    // Of sizes only whether there is a layer: some of them are of metadata.
    let history: Vec<String> = history
        .lines()
        .map(|line| {
            let (rest, _size) = line.rsplit_once('|').unwrap_or((line, ""));
            rest.to_owned()
        })
        .collect();
    serde_json::json!({
        "Config": image_config["Config"],
        "Architecture": image_config["Architecture"],
        "Os": image_config["Os"],
        "Variant": image_config["Variant"],
        "Author": image_config["Author"],
        "Layers": image_config["RootFS"]["Layers"].as_array().map_or(0, Vec::len),
        "History": history,
    })
}

/// Where a `RUN` of BuildKit leaves what it mounted on in the layer; Hull's has it below all layers.
const MOUNTED_ON: [&str; 4] = ["dev/", "etc/", "proc/", "sys/"];

/// What is in the layers of an image in a docker-archive, lowest first: names, kinds, modes, owners
/// and sizes, sorted.
fn layers(archive: &Path, folder: &Path) -> Vec<Vec<String>> {
    let tar = |words: &[&str]| {
        let output = Command::new("tar").current_dir(folder).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    std::fs::create_dir(folder).unwrap();
    tar(&["-xf", &archive.display().to_string()]);
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let paths = manifest[0]["Layers"].as_array().unwrap().iter();
    let layers = paths
        .map(|path| {
            let listed = tar(&["--numeric-owner", "-tvf", path.as_str().unwrap()]);
            let entry = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                // mode owner size date time name
                let name = words[5..].join(" ");
                // Of a whiteout only the name means something.
                let mode = if name.contains("/.wh.") { "whiteout" } else { words[0] };
                format!("{mode} {} {} {name}", words[1], words[2])
            };
            let mut entries: Vec<String> = listed.lines().map(entry).collect();
            entries.sort();
            entries
        })
        .collect();
    std::fs::remove_dir_all(folder).unwrap();
    layers
}

/// What differs between two values, a line each.
fn differences(path: &str, docker: &Value, hull: &Value, found: &mut Vec<String>) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
    };
    match (docker, hull) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> =
                one.keys().chain(other.keys()).collect();
            for key in keys {
                let missing = Value::Null;
                let (one, other) =
                    (one.get(key).unwrap_or(&missing), other.get(key).unwrap_or(&missing));
                differences(&format!("{path}.{key}"), one, other, found);
            }
        }
        (one, other) if one == other || (empty(one) && empty(other)) => {}
        (one, other) => found.push(format!("{path}: docker {one}, hull {other}")),
    }
}

/// Builds all of the corpus with Docker; their images lie in `<folder>/<name>.tar` then.
fn docker_builds(folder: &str, cases: &[Case]) -> String {
    let mut script = format!(
        "set -e; cd {folder}; mkdir -p docker exec
         dockerd --data-root $PWD/docker --exec-root $PWD/exec -H unix://$PWD/docker.sock \
             --pidfile $PWD/pid --bridge none --iptables=false --ip6tables=false >log 2>&1 &
         daemon=$!; trap 'kill $daemon; wait $daemon || true; umount -R docker 2>/dev/null || true' EXIT
         export DOCKER_HOST=unix://$PWD/docker.sock DOCKER_CONFIG=$PWD/config
         for n in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.2; done
         docker import --change 'ENV PATH=/bin' --change 'CMD [\"sh\"]' root.tar base:1 >&2
         docker save -o base.tar base:1; cd context\n"
    );
    for case in cases.iter().filter(|case| !case.only_hull) {
        let (name, options) = (&case.name, case.options.join(" "));
        script.push_str(&format!(
            "if docker build -q --provenance=false --network none -f ../dockerfiles/{name} -t c{name} {options} . >/dev/null 2>../{name}.err; \
             then docker save -o ../{name}.tar c{name}; fi\n"
        ));
    }
    script
}

#[test]
fn privileged_dockerfiles_beside_buildkit() {
    if !needs::full() {
        return;
    }
    let Some(peers) = needs::peers() else { return };
    let Some(hull) = Hull::new() else { return };
    let Some(busybox) = static_busybox() else { return };
    let busybox = std::fs::read(busybox).unwrap();
    let mut tar = hull_test_support::busybox::base_tar().file("bin/busybox", 0o755, &busybox);
    let applets = [
        "cat", "chmod", "chown", "cp", "cut", "echo", "env", "false", "find", "grep", "id", "ln",
        "ls", "mkdir", "mkfifo", "pwd", "rm", "sh", "sort", "stat", "test", "touch", "true",
    ];
    for applet in applets {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    hull.file("root.tar", &tar.finish());
    let cases = corpus();
    let folder = hull.folder().to_owned();
    context(&folder.join("context"));
    std::fs::create_dir(folder.join("dockerfiles")).unwrap();
    for case in &cases {
        std::fs::copy(&case.path, folder.join("dockerfiles").join(&case.name)).unwrap();
    }
    let inside = format!("/host/{}", folder.strip_prefix("/tmp").unwrap().display());
    let output = Command::new(&peers[0])
        .args(&peers[1..])
        .args(["bash", "-c", &docker_builds(&inside, &cases)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    hull.ok(&["load", "-i", &folder.join("base.tar").display().to_string()]);

    let mut report = Vec::new();
    let (mut same, mut alone) = (0, 0);
    for case in &cases {
        let mut found = Vec::new();
        compare(&hull, case, &mut found);
        let differs = !found.is_empty();
        let name = &case.name;
        found.retain(|difference| {
            !DIFFERENCES.iter().any(|(file, what, _)| file == name && difference.contains(what))
        });
        alone += usize::from(!differs && case.only_hull);
        same += usize::from(!differs && !case.only_hull);
        report.extend(found.into_iter().map(|difference| format!("{name}: {difference}")));
    }
    println!(
        "{same} of {} Dockerfiles make the same image, Hull alone builds {alone}",
        cases.len()
    );
    assert!(report.is_empty(), "{}", report.join("\n"));
    hull.finish();
}

fn compare(hull: &Hull, case: &Case, found: &mut Vec<String>) {
    let folder = hull.folder();
    let (name, tag) = (&case.name, format!("h{}", case.name));
    let file = folder.join("dockerfiles").join(name).display().to_string();
    let context = folder.join("context").display().to_string();
    let mut words = vec!["build", "-q", "--network", "none", "-f", &file, "-t", &tag];
    // Paths in options are relative to the context, as they were for the other build.
    let options: Vec<String> = case
        .options
        .iter()
        .map(|option| {
            let option = option.replace("src=", &format!("src={context}/"));
            option.replace("=tree/", &format!("={context}/tree/"))
        })
        .collect();
    words.extend(options.iter().map(String::as_str));
    words.push(&context);
    let built = hull.run(&words);
    let archive = folder.join(format!("{name}.tar"));
    let by_docker = archive.exists();
    match (built.code == 0, by_docker || case.only_hull) {
        (true, true) => {}
        (false, true) => return found.push(format!("hull does not build it: {}", built.stderr)),
        (true, false) => return found.push("docker does not build it".to_owned()),
        (false, false) => return,
    }
    if case.only_hull {
        return;
    }
    hull.ok(&["load", "-q", "-i", &archive.display().to_string()]);
    let by_docker = format!("c{name}");
    differences("image", &config(hull, &by_docker), &config(hull, &tag), found);
    let (docker, ours) =
        (exported(hull, &by_docker, "tree-docker"), exported(hull, &tag, "tree-ours"));
    let saved = folder.join("ours.tar");
    hull.ok(&["save", "-o", &saved.display().to_string(), &tag]);
    let place = folder.join("layers");
    let (theirs, own) = (layers(&archive, &place), layers(&saved, &place));
    let is_stub = |entry: &str| {
        let name = entry.strip_prefix("drwxr-xr-x 0/0 0 ");
        name.is_some_and(|name| MOUNTED_ON.contains(&name))
    };
    for (number, (docker, ours)) in std::iter::zip(&theirs, &own).enumerate() {
        let (more, less): (Vec<_>, Vec<_>) = (
            docker.iter().filter(|entry| !ours.contains(entry) && !is_stub(entry)).collect(),
            ours.iter().filter(|entry| !docker.contains(entry)).collect(),
        );
        if !more.is_empty() || !less.is_empty() {
            found.push(format!("layer {number}: docker alone {more:?}, hull alone {less:?}"));
        }
    }
    let names: std::collections::BTreeSet<&String> = docker.keys().chain(ours.keys()).collect();
    for path in names {
        match (docker.get(path), ours.get(path)) {
            (Some(one), Some(other)) if one == other => {}
            (one, other) => found.push(format!("{path}: docker {one:?}, hull {other:?}")),
        }
    }
}
