//! Images whose own tree is the attack: links where the engine mounts, and races with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hull_test_support::archive::Tar;
use hull_test_support::busybox::{busybox_image, static_busybox};
use hull_test_support::image::{Compression, Image};
use hull_test_support::{Hull, exchange};
use serde_json::json;

/// A folder of the host that nothing may touch.
struct Canary {
    folder: PathBuf,
}

impl Canary {
    fn new(hull: &Hull) -> Self {
        let folder = hull.folder().join("canary");
        for name in ["pts", "shm", "mqueue", "fs/cgroup", "sub"] {
            std::fs::create_dir_all(folder.join(name)).expect("a new folder");
        }
        for name in ["hosts", "hostname", "resolv.conf", "passwd", "null", "file"] {
            std::fs::write(folder.join(name), "untouched").expect("a new file");
        }
        Self { folder }
    }

    fn text(&self) -> String {
        self.folder.display().to_string()
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        let mut names: Vec<_> = list(&self.folder, &self.folder);
        names.sort();
        let expected = [
            "file",
            "fs",
            "fs/cgroup",
            "hostname",
            "hosts",
            "mqueue",
            "null",
            "passwd",
            "pts",
            "resolv.conf",
            "shm",
            "sub",
        ];
        assert_eq!(names, expected, "{what}");
        for name in ["hosts", "hostname", "resolv.conf", "passwd", "null", "file"] {
            let content = std::fs::read_to_string(self.folder.join(name)).expect("it was there");
            assert_eq!(content, "untouched", "{what}: {name}");
        }
    }
}

fn list(folder: &Path, root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        names.push(path.strip_prefix(root).expect("below").display().to_string());
        if path.is_dir() {
            names.extend(list(&path, root));
        }
    }
    names
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867,
/// CVE-2026-41579, CVE-2026-47766: mount points that are links.
#[test]
fn privileged_cve_2026_41579_links_where_the_engine_mounts() {
    let Some(hull) = Hull::new() else { return };
    let Some(busybox) = static_busybox() else { return };
    // As small as can be: it is loaded dozens of times.
    let busybox = std::fs::read(busybox).unwrap();
    let base = Tar::new().file("bin/busybox", 0o755, &busybox).finish();
    let base = Image::new().layer(base, Compression::Plain);
    let canary = Canary::new(&hull);
    let absolute = canary.text();
    let climbing = format!("../../../../../../../../../..{absolute}");
    let magic = "/proc/self/root/proc/1/root/tmp";
    for target in [absolute.as_str(), &climbing, magic, "/proc/1/root", "loop"] {
        for name in [
            "dev",
            "proc",
            "sys",
            "dev/pts",
            "dev/shm",
            "dev/null",
            "etc",
            "etc/hosts",
            "etc/hostname",
            "etc/resolv.conf",
            "etc/passwd",
            "sys/fs/cgroup",
            "data",
        ] {
            let mut tar = Tar::new();
            if name.starts_with("etc") {
                tar = tar.file(".wh.etc", 0o644, b"");
            }
            if let Some((parent, _)) = name.rsplit_once('/') {
                tar = tar.directory(parent, 0o755);
            }
            let link = if target == "loop" { format!("/{name}") } else { target.to_owned() };
            let image = base
                .clone()
                .layer(tar.symlink(name, &link).finish(), Compression::Plain)
                .set("Volumes", json!({"/data": {}}))
                .set("WorkingDir", json!("/data/made"));
            let path = hull.file("image.tar", &image.docker_archive(&["evil"]));
            // An archive may be refused, and so may the start: both are fine.
            if hull.run(&["load", "-q", "-i", &path]).code == 0 {
                let probe = ["run", "--rm", "evil", "/bin/busybox", "cat", "/proc/self/status"];
                let output = hull.run(&probe);
                if output.code == 0 {
                    assert!(output.stdout.contains("NoNewPrivs:\t1"), "{name} -> {link}");
                }
                hull.run(&["rmi", "-f", "evil"]);
            }
            canary.assert_untouched(&format!("{name} -> {link}"));
        }
    }
    hull.finish();
}

/// CVE-2019-14271's family: a volume over the engine's own mounts.
#[test]
fn privileged_volumes_over_proc_and_sys() {
    let Some(hull) = Hull::new() else { return };
    let Some(base) = busybox_image() else { return };
    for volume in ["/proc", "/sys", "/proc/self", "/dev/pts", "/", "//proc/", "/a/../proc"] {
        hull.load(&base.clone().set("Volumes", json!({volume: {}})), "evil");
        let words = ["run", "--rm", "evil", "cat", "/proc/self/attr/current", "/proc/self/status"];
        let output = hull.run(&words);
        // Refused, or the real procfs is on top.
        assert!(
            output.code == 125 || output.stdout.contains("NoNewPrivs:\t1"),
            "{volume}: {} {}{}",
            output.code,
            output.stdout,
            output.stderr
        );
        hull.assert_nothing_left();
    }
    hull.finish();
}

/// CVE-2021-30465, CVE-2024-45310, CVE-2025-31133: a path of a shared volume is swapped for a
/// link while the engine mounts on it.
#[test]
fn privileged_cve_2021_30465_destination_swapped_while_mounting() {
    let Some(hull) = Hull::new() else { return };
    let Some(base) = busybox_image() else { return };
    hull.load(&base, "busybox");
    let canary = Canary::new(&hull);
    let shared = hull.folder().join("shared");
    std::fs::create_dir_all(shared.join("real/sub")).unwrap();
    std::os::unix::fs::symlink(canary.folder.join("sub"), shared.join("link")).unwrap();
    std::fs::rename(shared.join("real"), shared.join("way")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert!(exchange(&shared.join("way"), &shared.join("link")));
            }
        });
        let bind = format!("{}:/shared", shared.display());
        let source = hull.folder().join("source");
        std::fs::create_dir(&source).unwrap();
        let nested = format!("{}:/shared/way/made/by/mount", source.display());
        for round in 0..40 {
            let words = [
                "run",
                "--rm",
                "-v",
                &bind,
                "-v",
                &nested,
                "--tmpfs",
                "/shared/way/sub",
                "busybox",
                "true",
            ];
            let output = hull.run(&words);
            // A link to nowhere inside the container may make a start fail; never an escape.
            assert!([0, 125].contains(&output.code), "round {round}: {}", output.stderr);
        }
        stop.store(true, Ordering::Relaxed);
    });
    canary.assert_untouched("mounting on a swapped path");
    hull.finish();
}

/// A layer cannot give the container more than files: set-uid programs and file capabilities of
/// an image gain nothing.
#[test]
fn privileged_set_uid_programs_gain_nothing() {
    let Some(hull) = Hull::new() else { return };
    let Some(base) = busybox_image() else { return };
    let probe = std::fs::read(hull.programs().join("hull-probe")).unwrap();
    let tar = Tar::new().file("suid", 0o4755, &probe).finish();
    hull.load(&base.layer(tar, Compression::Gzip), "image");
    let view = hull.json(&["run", "--rm", "-u", "1000:1000", "image", "/suid"]);
    assert_eq!(view["uids"], json!([1000, 1000, 1000, 1000]));
    let option = ["--security-opt", "no-new-privileges=false"];
    let mut words = vec!["run", "--rm"];
    words.extend(option);
    words.extend(["-u", "1000:1000", "image", "/suid"]);
    let view = hull.json(&words);
    assert_eq!(view["uids"], json!([1000, 0, 0, 0]));
    // Even so it is root of the container only.
    assert!(view["uid_map"][0][1].as_u64().unwrap() >= 65536);
    hull.finish();
}

/// The container's root cannot reach host files by ids: a file of host root in a bind mount that
/// only root may read keeps its owner, so container root reads it as root, but a folder of the
/// host that was not given stays out of sight.
#[test]
fn privileged_host_tree_is_out_of_sight() {
    let Some(hull) = Hull::new() else { return };
    let Some(base) = busybox_image() else { return };
    hull.load(&base, "busybox");
    let secret = hull.file("secret", b"of the host");
    let script = format!(
        "cat {secret} 2>/dev/null; for p in /proc/1/root /proc/self/root /proc/self/cwd/..; do \
         cat $p{secret} 2>/dev/null; done; cat /proc/self/mountinfo | grep -c hull-test- "
    );
    let said = hull.run(&["run", "--rm", "busybox", "sh", "-c", &script]).stdout;
    assert!(!said.contains("of the host"), "{said}");
    hull.finish();
}

/// Image used by tests above is fine by itself: the attacks fail, not the image.
#[test]
fn privileged_the_plain_image_runs() {
    let Some(hull) = Hull::new() else { return };
    let Some(base) = busybox_image() else { return };
    let image: Image =
        base.set("Volumes", json!({"/data": {}})).set("WorkingDir", json!("/data/made"));
    hull.load(&image, "plain");
    assert_eq!(hull.ok(&["run", "--rm", "plain", "pwd"]), "/data/made");
    hull.finish();
}
