//! `cp` into and out of containers that fight back.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hull_test_support::archive::{Entry, SYMLINK, Tar, members};
use hull_test_support::busybox::probe_image;
use hull_test_support::{Hull, Output, exchange};

/// Runs `work` while `real` and `link` change places as fast as can be.
fn while_swapping(real: &Path, link: &Path, work: impl FnOnce()) {
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // A copy onto the link replaces it: for a moment there is none.
                swaps.fetch_add(u64::from(exchange(real, link)), Ordering::Relaxed);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(swaps.load(Ordering::Relaxed) > 1000, "there was no race");
}

/// CVE-2018-15664, CVE-2019-10152: a path of a running container that turns into a link to a place
/// of the host while it is read or written. The host's place exists, the container's does not.
#[test]
fn privileged_cve_2018_15664_directory_swapped_while_copying() {
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    let canary = hull.folder().join("canary");
    let shared = hull.folder().join("shared");
    for folder in [&canary, &shared.join("swapped")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(canary.join("file"), "of the host").unwrap();
    std::fs::write(shared.join("swapped/file"), "of the container").unwrap();
    std::os::unix::fs::symlink(&canary, shared.join("link")).unwrap();
    let mount = format!("{}:/shared", shared.display());
    let options = ["-v", &mount, "probe", "/probe", "sleep"];
    hull.ok(&[&["run", "-d", "--name", "box"][..], &options].concat());
    // Here not even ids keep the worker from what is the host's.
    hull.ok(&[&["run", "-d", "--userns=host", "--name", "host-ids"][..], &options].concat());
    let source = hull.file("source", b"copied in");
    let mut read = 0;
    while_swapping(&shared.join("swapped"), &shared.join("link"), || {
        for name in ["box", "host-ids"].repeat(12) {
            for path in ["swapped/file", "swapped/."] {
                let output = hull.run(&["cp", &format!("{name}:/shared/{path}"), "-"]);
                assert!(!output.stdout.contains("of the host"), "{name}: {path} led to the host");
                read += u32::from(output.stdout.contains("of the container"));
            }
            // Either into the container's folder, or refused.
            for path in ["swapped/written", "swapped"] {
                hull.run(&["cp", &source, &format!("{name}:/shared/{path}")]);
            }
        }
    });
    assert!(read > 0, "nothing was ever read");
    let names: Vec<_> =
        std::fs::read_dir(&canary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"], "something was written to the host");
    assert_eq!(std::fs::read_to_string(canary.join("file")).unwrap(), "of the host");
    hull.finish();
}

/// CVE-2019-14271, CVE-2026-41567: what reads and writes for `cp` runs nothing and loads nothing
/// of the container, and unpacks nothing by a program.
#[test]
fn privileged_cve_2019_14271_nothing_of_the_container_is_run() {
    let Some(hull) = Hull::new() else { return };
    let canary = b"#!/probe write /canary run\n";
    let mut tar = hull_test_support::busybox::base_tar();
    for name in ["bin/xz", "bin/unpigz", "bin/tar", "lib/libnss_files.so.2", "etc/nsswitch.conf"] {
        tar = tar.file(name, 0o755, canary);
    }
    let image = hull_test_support::image::Image::new()
        .layer(tar.finish(), hull_test_support::image::Compression::Gzip);
    hull.load(&image, "traps");
    hull.ok(&["run", "-d", "--name", "box", "-u", "www-data", "traps", "/probe", "sleep"]);
    let source = hull.file("source", b"copied");
    hull.ok(&["cp", "-a", &source, "box:/tmp/copied"]);
    assert_eq!(hull.ok(&["exec", "box", "/probe", "read", "/tmp/copied"]), "copied");
    let xz = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\0\0\0\0\x1c\xdf\x44\x21\x1f\xb6\xf3\x7d";
    let output = hull.run_with_input(&["cp", "-", "box:/tmp"], xz);
    assert_eq!(output.code, 1, "{}", output.stderr);
    let output = hull.run(&["cp", "box:/canary", "-"]);
    assert_eq!(output.code, 1, "something of the container was run");
    hull.finish();
}

/// CVE-2021-41089 and its kin: an archive that leads its own entries somewhere else.
#[test]
fn privileged_archives_that_lead_themselves_away() {
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    hull.ok(&["run", "-d", "--name", "box", "probe", "/probe", "sleep"]);
    let canary = hull.folder().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let put = |tar: Tar| hull.run_with_input(&["cp", "-", "box:/tmp"], &tar.finish());
    let refused = |output: &Output, what: &str| {
        assert_eq!(output.code, 1, "{what}");
        let said = &output.stderr;
        assert!(said.contains("hull: ") && said.lines().count() == 1, "{what}: {said}");
    };
    let host = canary.display().to_string();
    for target in [host.as_str(), "/etc", "../etc", "../../../../../etc"] {
        let output = put(Tar::new().symlink("out", target).file("out/passwd", 0o644, b"x"));
        refused(&output, target);
        let output = put(Tar::new().symlink("away", target).entry(&Entry {
            name: "away",
            kind: hull_test_support::archive::DIRECTORY,
            mode: 0o777,
            ..Entry::default()
        }));
        refused(&output, "a directory over a link");
    }
    refused(&put(Tar::new().file("../etc/passwd", 0o644, b"x")), "..");
    refused(&put(Tar::new().symlink("l", "/etc").hard_link("h", "l/passwd")), "a hard link");
    let passwd = hull.ok(&["exec", "box", "/probe", "read", "/etc/passwd"]);
    assert!(passwd.starts_with("root:"), "{passwd}");
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    hull.finish();
}

/// What a container says about itself leads nowhere on the machine of the one who copies out.
#[test]
fn privileged_links_that_are_copied_out_stay_links() {
    let Some(hull) = Hull::new() else { return };
    let canary = hull.folder().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let host = canary.display().to_string();
    let tar = hull_test_support::busybox::base_tar()
        .directory("data/", 0o755)
        .symlink("data/link", &host)
        .symlink("root-link", &host);
    let image = hull_test_support::image::Image::new()
        .layer(tar.finish(), hull_test_support::image::Compression::Gzip);
    hull.load(&image, "links");
    hull.ok(&["create", "--name", "box", "links", "/probe", "true"]);
    let out = hull.folder().join("out");
    std::fs::create_dir(&out).unwrap();
    hull.ok(&["cp", "box:/data", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_link(out.join("data/link")).unwrap(), canary);
    let output = hull.run(&["cp", "-L", "box:/root-link", "-"]);
    assert_eq!(output.code, 1, "a link of the container showed the host");
    let archive = hull.command(&["cp", "box:/root-link", "-"]).output().unwrap();
    let members = members(&archive.stdout);
    assert_eq!((members.len(), members[0].kind, &members[0].link), (1, SYMLINK, &host));
    hull.finish();
}
