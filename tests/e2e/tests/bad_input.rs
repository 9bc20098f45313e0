//! What is refused, with one clear line, the right exit code, and nothing left behind.

use std::path::Path;
use std::process::Command;

use hull_test_support::archive::{
    BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, Entry, FIFO, FILE, HARD_LINK, SYMLINK, Tar,
};
use hull_test_support::busybox::{base_tar, busybox_image, probe_image};
use hull_test_support::image::{Compression, Image, compress};
use hull_test_support::{Hull, needs};
use serde_json::json;

#[track_caller]
fn nothing_happened(hull: &Hull) {
    assert_eq!(hull.ok(&["ps", "-aq"]), "", "containers are left");
    hull.assert_nothing_left();
}

#[test]
fn privileged_no_such_image() {
    let Some(hull) = Hull::new() else { return };
    for command in ["run", "create"] {
        hull.fails(&[command, "--pull", "never", "absent"], 125, "No such image: absent:latest");
        hull.fails(&[command, "absent@sha256:12"], 125, "sha256:12");
        hull.fails(&[command, "Bad/Name"], 125, "lowercase");
    }
    for command in ["history", "rmi"] {
        hull.fails(&[command, "absent"], 1, "absent");
    }
    // Without being told not to, it is looked for where it could be.
    let registries = hull.file("registries.toml", b"offline = true\n");
    let hull = hull.with_env("HULL_REGISTRIES", &registries);
    let output = hull.run(&["run", "absent"]);
    assert_eq!(output.code, 125, "{}", output.stderr);
    let lines: Vec<_> = output.stderr.lines().collect();
    assert_eq!(lines[0], "Unable to find image 'absent:latest' locally");
    assert!(lines[1].contains("absent:latest") && lines[1].contains("offline"), "{lines:?}");
    nothing_happened(&hull);
    hull.finish();
}

#[test]
fn privileged_no_such_command() {
    let Some(hull) = Hull::with_probe() else { return };
    hull.fails(&["run", "--rm", "probe", "absent"], 127, "absent");
    hull.fails(&["run", "--rm", "probe", "/absent"], 127, "/absent");
    nothing_happened(&hull);
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    hull.fails(&["exec", "box", "absent"], 127, "absent");
    hull.ok(&["rm", "-f", "box"]);
    nothing_happened(&hull);
    hull.finish();
}

#[test]
fn privileged_what_cannot_be_executed() {
    let Some(hull) = Hull::new() else { return };
    // The start of an ELF file for another machine (s390, big-endian): never this one's.
    let mut foreign = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0];
    foreign.extend([0; 8]);
    foreign.extend([0, 2, 0, 22, 0, 0, 0, 1]);
    foreign.resize(64, 0);
    let tar = base_tar()
        .file("plain", 0o644, b"not a program")
        .file("foreign", 0o755, &foreign)
        .file("script", 0o755, b"#!/no/such/interpreter\n")
        .file("empty", 0o755, b"")
        .finish();
    hull.load(&Image::new().layer(tar, Compression::Gzip), "image");
    hull.fails(&["run", "--rm", "image", "/plain"], 126, "/plain");
    hull.fails(&["run", "--rm", "image", "/etc"], 126, "/etc");
    hull.fails(&["run", "--rm", "image", "/foreign"], 126, "/foreign");
    let said = hull.run(&["run", "--rm", "image", "/script"]);
    assert!([126, 127].contains(&said.code), "{} {}", said.code, said.stderr);
    assert!(said.stderr.contains("/no/such/interpreter"), "{}", said.stderr);
    hull.fails(&["run", "--rm", "image", "/empty"], 126, "/empty");
    nothing_happened(&hull);
    hull.finish();
}

#[test]
fn privileged_image_for_another_machine() {
    let Some(hull) = Hull::new() else { return };
    let foreign = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let image = probe_image().architecture(foreign);
    let path = hull.file("image.tar", &image.docker_archive(&["foreign"]));
    hull.ok(&["load", "-q", "-i", &path]);
    hull.fails(&["run", "--rm", "foreign"], 125, foreign);
    nothing_happened(&hull);
    hull.finish();
}

#[test]
fn privileged_bad_options() {
    let Some(hull) = Hull::with_probe() else { return };
    for (options, text) in [
        (&["--mount", "type=bind,source=/no/such/source,target=/x"][..], "/no/such/source"),
        (&["-v", "/etc/passwd/sub:/x"], "/etc/passwd/sub"),
        (&["--mount", "type=bind,source=/tmp"], "target"),
        (&["-v", "/tmp:relative"], "relative"),
        (&["-u", "stranger"], "stranger"),
        (&["-u", "0:strangers"], "strangers"),
        (&["-u", "4294967296"], "4294967296"),
        (&["-u", "-1"], "-1"),
        (&["-w", "relative"], "relative"),
        (&["--memory", "1"], "memory"),
        (&["--memory", "lots"], "lots"),
        (&["--cpus", "1000"], "CPUs"),
        (&["--network", "absent"], "absent"),
        (&["--ulimit", "nonsense=1"], "nonsense"),
        (&["--security-opt", "nonsense=1"], "nonsense"),
        (&["--userns", "elsewhere"], "elsewhere"),
        (&["--stop-signal", "NONSENSE"], "NONSENSE"),
        (&["--env-file", "/no/such/file"], "/no/such/file"),
    ] {
        let mut words = vec!["run", "--rm"];
        words.extend(options);
        words.extend(["probe", "/probe", "true"]);
        hull.fails(&words, 125, text);
        nothing_happened(&hull);
    }
    // Advice on flags may take more than a line.
    let output = hull.run(&["run", "--rm", "--no-such-flag", "probe"]);
    assert_eq!(output.code, 125, "{}", output.stderr);
    assert!(output.stderr.contains("--no-such-flag"), "{}", output.stderr);
    hull.finish();
}

#[test]
fn privileged_bad_archives() {
    let Some(hull) = Hull::new() else { return };
    let whole = probe_image().docker_archive(&["broken"]);
    let compressed = compress(&whole, Compression::Gzip);
    let mut flipped = compressed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let oci = probe_image().oci_archive("broken");
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"this is no archive"),
        ("zeros", &[0; 10240]),
        ("truncated in the header", &whole[..300]),
        ("truncated in a layer", &whole[..whole.len() / 2]),
        ("truncated oci", &oci[..oci.len() / 2]),
        ("truncated gzip", &compressed[..compressed.len() / 2]),
        ("flipped gzip", &flipped),
        ("no manifest", &Tar::new().file("a", 0o644, b"b").finish()),
    ] {
        let path = hull.file("bad.tar", bytes);
        let output = hull.run(&["load", "-i", &path]);
        assert_eq!(output.code, 1, "{name}: {}{}", output.stdout, output.stderr);
        assert!(!output.stderr.trim().is_empty(), "{name}: nothing was said");
        assert_eq!(hull.ok(&["images", "-aq"]), "", "{name}");
        nothing_happened(&hull);
    }
    hull.finish();
}

#[test]
fn privileged_digest_mismatch() {
    let Some(hull) = Hull::new() else { return };
    let path = hull.file("bad.tar", &probe_image().lie_about_layer(0).oci_archive("lie"));
    hull.fails(&["load", "-i", &path], 1, "digest");
    // A config that lists other layers than the archive holds.
    let other = Image::new().layer(Tar::new().file("x", 0o644, b"x").finish(), Compression::Plain);
    let config = other.config_bytes();
    let layer = base_tar().finish();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["lie:latest"], "Layers": ["l.tar"]}]);
    let tar = Tar::new()
        .file("c.json", 0o644, &config)
        .file("l.tar", 0o644, &layer)
        .file("manifest.json", 0o644, manifest.to_string().as_bytes())
        .finish();
    let path = hull.file("bad.tar", &tar);
    hull.fails(&["load", "-i", &path], 1, "sha256:");
    assert_eq!(hull.ok(&["images", "-aq"]), "");
    nothing_happened(&hull);
    hull.finish();
}

/// Names that leave the root are refused; none of them may touch anything outside.
#[test]
fn privileged_layers_that_leave_their_root() {
    let Some(hull) = Hull::new() else { return };
    let outside = hull.folder().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let canary = outside.join("canary");
    std::fs::write(&canary, "untouched").unwrap();
    let absolute = canary.display().to_string();
    let outside_text = outside.display().to_string();
    let file = |name| Entry { name, data: b"evil", kind: FILE, ..Entry::default() };
    let link = |name, link, kind| Entry { name, link, kind, ..Entry::default() };
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("dot dot", Tar::new().entry(&file("../../../../evil")).finish(), true),
        ("dot dot inside", Tar::new().entry(&file("a/../../evil")).finish(), true),
        (
            "hard link to outside",
            Tar::new().entry(&link("hard", "../../../../etc/passwd", HARD_LINK)).finish(),
            true,
        ),
        (
            "hard link through a symlink",
            Tar::new()
                .entry(&link("way", &outside_text, SYMLINK))
                .entry(&link("hard", "way/canary", HARD_LINK))
                .finish(),
            true,
        ),
        (
            "file through an absolute symlink",
            Tar::new()
                .entry(&link("way", &outside_text, SYMLINK))
                .entry(&file("way/canary"))
                .finish(),
            false,
        ),
        (
            "file through a climbing symlink",
            Tar::new()
                .entry(&link("way", "../../../../../../../../tmp", SYMLINK))
                .entry(&file("way/evil-from-a-layer"))
                .finish(),
            false,
        ),
        ("absolute name", Tar::new().entry(&file(&absolute)).finish(), false),
    ];
    for mode in ["erofs", "unpack"] {
        let hull = Hull::new().expect("root a moment ago").with_env("HULL_LAYER_MODE", mode);
        for (name, layer, must_fail) in &cases {
            let image = Image::new().layer(base_tar().finish(), Compression::Gzip);
            let image = image.layer(layer.clone(), Compression::Gzip);
            let path = hull.file("bad.tar", &image.docker_archive(&["evil"]));
            let output = hull.run(&["load", "-i", &path]);
            assert!(output.code == 1 || !must_fail, "{mode} {name}: {}", output.stdout);
            if output.code == 0 {
                // Taken as names inside the root: then it must also run, and stay inside.
                hull.ok(&["run", "--rm", "evil", "/probe", "true"]);
                hull.ok(&["rmi", "-f", "evil"]);
            }
            assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched", "{mode} {name}");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{mode} {name}");
            assert!(!Path::new("/tmp/evil-from-a-layer").exists(), "{mode} {name}");
            nothing_happened(&hull);
        }
        hull.finish();
    }
    hull.finish();
}

/// Device nodes of a layer are refused, or cannot be opened.
#[test]
fn privileged_device_nodes_in_a_layer() {
    let Some(hull) = Hull::new() else { return };
    let node = |name, kind, device| Entry { name, kind, device, mode: 0o666, ..Entry::default() };
    let tar = base_tar()
        .entry(&node("kmem", CHARACTER_DEVICE, (1, 1)))
        .entry(&node("disk", BLOCK_DEVICE, (254, 0)))
        .entry(&node("pipe", FIFO, (0, 0)))
        .finish();
    let path = hull
        .file("nodes.tar", &Image::new().layer(tar, Compression::Gzip).docker_archive(&["nodes"]));
    let output = hull.run(&["load", "-i", &path]);
    if output.code == 0 {
        for name in ["/kmem", "/disk"] {
            let read = hull.run(&["run", "--rm", "nodes", "/probe", "read", name]);
            assert_eq!(read.code, 99, "{name} was opened");
        }
    } else {
        assert!(output.stderr.contains("device"), "{}", output.stderr);
    }
    nothing_happened(&hull);
    hull.finish();
}

#[test]
fn privileged_ten_gigabytes_of_zeros_in_a_small_gzip() {
    let Some(hull) = Hull::new() else { return };
    // One member of 64 MiB, 160 times over: a gzip file may be a chain of members.
    let member = compress(&vec![0; 64 << 20], Compression::Gzip);
    let header = Tar::new()
        .header_only(&Entry { name: "zeros", ..Entry::default() }, 160 * (64 << 20))
        .unfinished();
    let mut layer = compress(&header, Compression::Gzip);
    for _ in 0..160 {
        layer.extend_from_slice(&member);
    }
    layer.extend_from_slice(&compress(&[0; 1024], Compression::Gzip));
    assert!(layer.len() < 64 << 20);
    let config = Image::new().layer(base_tar().finish(), Compression::Plain).config_bytes();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["bomb:latest"], "Layers": ["l.tar"]}]);
    let tar = Tar::new()
        .file("c.json", 0o644, &config)
        .file("l.tar", 0o644, &layer)
        .file("manifest.json", 0o644, manifest.to_string().as_bytes())
        .finish();
    let path = hull.file("bomb.tar", &tar);
    let start = std::time::Instant::now();
    let output = hull.run(&["load", "-i", &path]);
    assert_eq!(output.code, 1, "{}", output.stdout);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    assert_eq!(hull.ok(&["images", "-aq"]), "");
    nothing_happened(&hull);
    hull.finish();
}

#[test]
fn privileged_absurd_headers() {
    let Some(hull) = Hull::new() else { return };
    let many_zeros = "0/".repeat(5000);
    let long = "x".repeat(70_000);
    let huge = Entry { name: "huge", ..Entry::default() };
    let mut bad_sum = Tar::new().file("a", 0o644, b"a").finish();
    bad_sum[148] ^= 1;
    for (name, layer) in [
        ("deep path", Tar::new().pax(&[("path", &many_zeros)]).entry(&huge).finish()),
        ("long name", Tar::new().pax(&[("path", &long)]).entry(&huge).finish()),
        ("huge size", Tar::new().header_only(&huge, 0o77_777_777_777).unfinished()),
        ("negative pax size", Tar::new().pax(&[("size", "-5")]).entry(&huge).finish()),
        ("pax for nothing", Tar::new().pax(&[("path", "x")]).finish()),
        ("bad checksum", bad_sum),
        (
            "file where a folder is",
            Tar::new().file("a", 0o644, b"").file("a/b", 0o644, b"").finish(),
        ),
        (
            "symlink loop",
            Tar::new().symlink("a", "b").symlink("b", "a").file("a/c", 0o644, b"").finish(),
        ),
        (
            "name of nothing",
            Tar::new().entry(&Entry { name: "", kind: DIRECTORY, ..Entry::default() }).finish(),
        ),
    ] {
        let image = Image::new().layer(base_tar().finish(), Compression::Plain);
        let image = image.layer(layer, Compression::Plain);
        let path = hull.file("bad.tar", &image.docker_archive(&["absurd"]));
        let output = hull.run(&["load", "-i", &path]);
        if output.code == 0 {
            // What is merely odd may be taken, as long as the image then runs and goes.
            hull.ok(&["run", "--rm", "absurd", "/probe", "true"]);
            hull.ok(&["rmi", "-f", "absurd"]);
        } else {
            assert_eq!(output.code, 1, "{name}: {}", output.stderr);
            assert!(!output.stderr.contains("panicked"), "{name}: {}", output.stderr);
        }
        nothing_happened(&hull);
    }
    hull.finish();
}

/// A small file system of its own that is unmounted when the value is dropped.
struct Disk {
    mount: std::path::PathBuf,
}

impl Disk {
    fn new(folder: &Path, mebibytes: u32) -> Self {
        let image = folder.join("disk.img");
        let mount = folder.join("disk");
        std::fs::create_dir(&mount).expect("a new folder");
        let run = |program: &str, words: &[&str]| {
            let output = Command::new(program).args(words).output().expect("program starts");
            assert!(output.status.success(), "{program}: {output:?}");
        };
        let (image, target) = (image.display().to_string(), mount.display().to_string());
        run("truncate", &["-s", &format!("{mebibytes}M"), &image]);
        run("mkfs.ext4", &["-q", "-m", "0", &image]);
        run("mount", &["-o", "loop", &image, &target]);
        Self { mount }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).output();
    }
}

#[test]
fn privileged_full_disk() {
    if !needs::root() {
        return;
    }
    let Some(_) = needs::program("mkfs.ext4") else { return };
    let Some(image) = busybox_image() else { return };
    let outer = tempfile::tempdir().unwrap();
    let disk = Disk::new(outer.path(), 96);
    let hull = Hull::at(tempfile::tempdir_in(&disk.mount).unwrap());
    hull.load(&image, "busybox");
    let big = Tar::new().file("big", 0o644, &noise(160 << 20)).finish();
    let too_big = image.clone().layer(big, Compression::Plain);
    let path = outer.path().join("big.tar");
    std::fs::write(&path, too_big.docker_archive(&["big"])).unwrap();
    hull.fails(&["load", "-i", &path.display().to_string()], 1, "space");
    hull.assert_nothing_left();
    // The container's own writes fail inside, the engine goes on.
    let fill = [
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/urandom of=/f bs=1M count=256; echo end",
    ];
    let output = hull.run(&fill);
    assert!(output.stderr.contains("No space left"), "{}", output.stderr);
    assert_eq!(output.stdout, "end\n");
    assert_eq!(hull.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
    hull.finish();
    drop(disk);
}

/// Bytes that do not compress, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
