//! `cp`: names, trailing slashes, links, owners, volumes, archives.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use hull_test_support::Hull;
use hull_test_support::archive::{Tar, members};
use hull_test_support::busybox::{busybox_image, probe_image};
use hull_test_support::image::Compression;

/// A Hull with a running container `box` of an image with `/d`.
fn set_up() -> Option<Hull> {
    let hull = Hull::new()?;
    let tar = Tar::new()
        .directory("d/", 0o755)
        .file("d/one", 0o4755, b"1")
        .directory("d/sub/", 0o700)
        .file("d/sub/two", 0o644, b"2")
        .symlink("ld", "/d")
        .symlink("lone", "d/one")
        .hard_link("d/hard", "d/one");
    hull.load(&busybox_image()?.layer(tar.finish(), Compression::Gzip), "base");
    hull.ok(&["run", "-d", "--init", "--name", "box", "base", "sleep", "1000"]);
    Some(hull)
}

/// Names below a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            names.push(path.strip_prefix(folder).unwrap().display().to_string());
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    names.sort();
    names
}

#[test]
fn privileged_copies_out_are_named_as_docker_names_them() {
    let Some(hull) = set_up() else { return };
    let mut count = 0;
    let mut out = |words: &[&str], prepare: &dyn Fn(&Path), to: &str| {
        count += 1;
        let folder = hull.folder().join(format!("out{count}"));
        std::fs::create_dir(&folder).unwrap();
        prepare(&folder);
        let to = format!("{}/{to}", folder.display());
        let words: Vec<&str> = ["cp"].iter().chain(words).copied().chain([to.as_str()]).collect();
        let output = hull.run(&words);
        (names(&folder), output.stderr, folder)
    };
    let nothing = |_: &Path| {};
    let tree = |root: &str| {
        let below = ["", "/hard", "/one", "/sub", "/sub/two"];
        below.map(|name| format!("{root}{name}")).to_vec()
    };
    assert_eq!(out(&["box:/d"], &nothing, ".").0, tree("d"));
    assert_eq!(out(&["box:/d"], &nothing, "new").0, tree("new"));
    assert_eq!(out(&["box:/d"], &nothing, "new/").0, tree("new"));
    assert_eq!(out(&["box:/d/."], &nothing, "new").0, tree("new"));
    assert_eq!(out(&["box:/d/."], &nothing, ".").0, ["hard", "one", "sub", "sub/two"]);
    assert_eq!(out(&["box:d/sub/two"], &nothing, ".").0, ["two"]);
    assert_eq!(out(&["box:/d/one"], &nothing, "new").0, ["new"]);
    assert_eq!(out(&["box:/ld/"], &nothing, ".").0, tree("ld"));
    assert_eq!(out(&["-L", "box:/ld"], &nothing, ".").0, tree("ld"));
    assert_eq!(out(&["-L", "box:/lone"], &nothing, ".").0, ["lone"]);
    let (found, _, folder) = out(&["box:/lone"], &nothing, ".");
    assert!(found == ["lone"] && folder.join("lone").is_symlink());
    let existing = |folder: &Path| std::fs::write(folder.join("file"), "old").unwrap();
    let (_, _, folder) = out(&["box:/d/one"], &existing, "file");
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "1");
    let through_link = |folder: &Path| symlink("target", folder.join("l")).unwrap();
    assert_eq!(out(&["box:/d/one"], &through_link, "l").0, ["l", "target"]);

    assert!(out(&["box:/d"], &existing, "file").1.contains("cannot copy directory"));
    assert!(out(&["box:/d/one"], &nothing, "new/").1.contains("no such directory"));
    assert!(out(&["box:/d/one"], &nothing, "no/such").1.contains("invalid output path"));
    let (_, said, _) = out(&["box:/nope"], &nothing, ".");
    assert!(said.contains("Could not find the file /nope in container box"), "{said}");
    let in_the_way = |folder: &Path| std::fs::write(folder.join("d"), "old").unwrap();
    let (found, said, _) = out(&["box:/d"], &in_the_way, ".");
    assert!(found == ["d"] && said.contains("cannot overwrite non-directory \"d\""), "{said}");

    // Content, modes and hard links are the same; owners are those of the one who copies.
    let (_, _, folder) = out(&["box:/d"], &nothing, ".");
    let one = folder.join("d/one").metadata().unwrap();
    assert_eq!((one.permissions().mode() & 0o7777, one.nlink(), one.uid()), (0o4755, 2, 0));
    hull.finish();
}

#[test]
fn privileged_copies_in_are_named_as_docker_names_them() {
    let Some(hull) = set_up() else { return };
    let source = hull.folder().join("src");
    std::fs::create_dir_all(source.join("dir/sub")).unwrap();
    for name in ["file", "dir/a", "dir/sub/b"] {
        std::fs::write(source.join(name), name).unwrap();
    }
    symlink("dir", source.join("ldir")).unwrap();
    std::os::unix::fs::chown(source.join("dir/a"), Some(12), Some(34)).unwrap();
    let show = "cd /in && for p in * */* */*/*; do [ -e $p ] && echo $p; done; true";
    let put = |words: &[&str], prepare: &str, to: &str| {
        hull.ok(&["exec", "box", "sh", "-c", &format!("rm -rf /in; mkdir /in; cd /in; {prepare}")]);
        let mut command = hull.command(&["cp"]);
        let output = command.args(words).arg(to).current_dir(&source).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (hull.ok(&["exec", "box", "sh", "-c", show]).replace('\n', " "), said)
    };
    assert_eq!(put(&["file"], "", "box:/in").0, "file");
    assert_eq!(put(&["file"], "", "box:/in/new").0, "new");
    assert_eq!(put(&["dir"], "", "box:/in").0, "dir dir/a dir/sub dir/sub/b");
    assert_eq!(put(&["dir"], "", "box:/in/new").0, "new new/a new/sub new/sub/b");
    assert_eq!(put(&["dir/."], "", "box:/in").0, "a sub sub/b");
    assert_eq!(put(&["-L", "ldir"], "", "box:in").0, "ldir ldir/a ldir/sub ldir/sub/b");
    assert_eq!(put(&["file"], "mkdir d; ln -s d l", "box:/in/l").0, "d l d/file l/file");
    assert_eq!(put(&["file"], "ln -s /in/t l", "box:/in/l").0, "l t");
    let merged = put(&["dir"], "mkdir dir; echo x > dir/keep", "box:/in").0;
    assert_eq!(merged, "dir dir/a dir/keep dir/sub dir/sub/b");
    assert!(put(&["file"], "", "box:/in/new/").1.contains("no such directory"));
    assert!(put(&["dir"], "touch x", "box:/in/x").1.contains("cannot copy directory"));
    assert!(put(&["dir"], "touch dir", "box:/in").1.contains("cannot overwrite non-directory"));
    assert!(put(&["file"], "mkdir file", "box:/in").1.contains("cannot overwrite directory"));
    assert!(put(&["nope"], "", "box:/in").1.contains("no such file or directory"));
    assert!(put(&["file"], "", "file2").1.contains("at least one container source"));
    assert!(put(&["box:/x"], "", "box:/y").1.contains("between containers is not supported"));
    assert!(put(&["file"], "", "no-such:/x").1.contains("No such container: no-such"));

    // Owners are those of the files, in the ids of the container.
    put(&["dir"], "", "box:/in");
    assert_eq!(hull.ok(&["exec", "box", "stat", "-c", "%u:%g", "/in/dir/a"]), "12:34");
    hull.finish();
}

#[test]
fn privileged_archives_on_standard_input_and_output() {
    let Some(hull) = set_up() else { return };
    let archive = hull.command(&["cp", "box:/d", "-"]).output().unwrap().stdout;
    let found: Vec<String> = members(&archive).into_iter().map(|member| member.name).collect();
    assert_eq!(found, ["d/", "d/hard", "d/one", "d/sub/", "d/sub/two"]);
    for compression in [Compression::Plain, Compression::Gzip, Compression::Zstd] {
        let bytes = hull_test_support::image::compress(&archive, compression);
        hull.ok(&["exec", "box", "sh", "-c", "rm -rf /in; mkdir /in"]);
        let output = hull.run_with_input(&["cp", "-", "box:/in"], &bytes);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let again = hull.command(&["cp", "box:/in/d", "-"]).output().unwrap().stdout;
        assert!(members(&again) == members(&archive), "{compression:?}: not the same");
    }
    let output = hull.run_with_input(&["cp", "-", "box:/d/one"], &archive);
    assert!(output.stderr.contains("must be a directory"), "{}", output.stderr);
    let output = hull.run_with_input(&["cp", "-", "box:/d"], b"no archive");
    assert_eq!(output.code, 1, "{}", output.stderr);
    hull.finish();
}

#[test]
fn privileged_copies_of_volumes_and_of_what_does_not_run() {
    let Some(hull) = Hull::new() else { return };
    hull.load(&probe_image(), "probe");
    let (bound, file) = (hull.folder().join("bound"), hull.file("f", b"content"));
    std::fs::create_dir(&bound).unwrap();
    let bind = format!("{}:/bound", bound.display());
    let read_only = format!("{}:/fixed:ro", bound.display());
    let mut create = vec!["create", "--name", "box", "-v", "vol:/vol", "-v", &bind];
    create.extend(["-v", &read_only, "probe", "/probe", "read", "/vol/f"]);
    hull.ok(&create);
    let to = |container: &str, path: &str| hull.run(&["cp", &file, &format!("{container}:{path}")]);
    // Before it ever ran, and after: into its own files, its volume and its bind mount.
    for round in ["a", "b"] {
        for folder in ["", "/vol", "/bound"] {
            let path = format!("{folder}/{round}");
            let output = to("box", &path);
            assert_eq!(output.code, 0, "{path}: {}", output.stderr);
            let back = hull.command(&["cp", &format!("box:{path}"), "-"]).output().unwrap();
            assert_eq!(members(&back.stdout)[0].data, b"content", "{path}");
        }
        assert!(bound.join(round).exists());
        assert!(to("box", "/fixed/x").stderr.contains("mounted volume is marked read-only"));
        to("box", "/vol/f");
        assert_eq!(hull.ok(&["start", "-a", "box"]), "content");
    }
    hull.ok(&[
        "run",
        "-d",
        "--read-only",
        "--name",
        "fixed",
        "-v",
        "vol:/vol",
        "--tmpfs",
        "/tmp",
        "probe",
        "/probe",
        "sleep",
    ]);
    hull.ok(&["create", "--read-only", "--name", "stopped", "probe", "/probe", "true"]);
    for container in ["fixed", "stopped"] {
        let said = to(container, "/x").stderr;
        assert!(said.contains("container rootfs is marked read-only"), "{container}: {said}");
    }
    for path in ["/vol/c", "/tmp/c"] {
        assert_eq!(to("fixed", path).code, 0, "{path}");
        assert_eq!(hull.ok(&["exec", "fixed", "/probe", "read", path]), "content");
    }
    hull.ok(&["rm", "-f", "fixed", "stopped", "box"]);
    hull.ok(&["volume", "rm", "vol"]);
    hull.finish();
}
