//! Archives made of places inside a root, and unpacked there.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use hull_worker::client::{WorkerError, run};
use hull_worker::job::{Answer, ExtractOptions, FailureKind, Job, LayerMode, Refusal};

use crate::archive::{Archive, Member, directory, file, hard_link, symlink};
use crate::support::{empty_file, input, read, worker};
use crate::tree::listing;

fn extract(
    root: &Path,
    path: &str,
    tar: &[u8],
    options: ExtractOptions,
) -> Result<Answer, WorkerError> {
    let outside = tempfile::tempdir().unwrap();
    let input = input(outside.path(), tar);
    let root = File::open(root).unwrap();
    let options = ExtractOptions { max_bytes: 1 << 30, ..options };
    let job = Job::Extract { path: path.to_owned(), options, userns: false };
    run(worker(), &job, &[root.as_fd(), input.as_fd()])
}

fn pack(root: &Path, path: &str, name: Option<&str>) -> Result<(Answer, Vec<u8>), WorkerError> {
    let outside = tempfile::tempdir().unwrap();
    let output = empty_file(&outside.path().join("output"));
    let root = File::open(root).unwrap();
    let job =
        Job::PackPlace { path: path.to_owned(), name: name.map(str::to_owned), userns: false };
    let answer = run(worker(), &job, &[root.as_fd(), output.as_fd()])?;
    Ok((answer, std::fs::read(outside.path().join("output")).unwrap()))
}

/// What is packed and unpacked again is the same, down to attributes and times.
#[test]
fn privileged_places_survive_the_way_there_and_back() {
    let capability = [&[1, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
    let tar = Archive::new()
        .with(directory("empty").mtime(8))
        .with(file("a/b/c", vec![9; 700_000]).mode(0o6711).ids(70_000, 5))
        .with(hard_link("a/link", "a/b/c"))
        .with(file("caps", "x").pax("SCHILY.xattr.security.capability", capability))
        .with(file("noted", "x").pax("SCHILY.xattr.user.note", "n").pax("mtime", "7.25"))
        .with(symlink("out", "/etc/passwd").ids(3, 4))
        .with(Member::new("fifo", b'6').mode(0o622))
        .with(Member::new("null", b'3').device(1, 3).mode(0o666))
        .with(file("short", "x").pax("path", format!("{}/long", "n".repeat(200))))
        .finish();
    let source = read(&tar, LayerMode::Unpack).unwrap();
    let (answer, packed) = pack(&source.root(), "/.", None).unwrap();
    let names: Vec<_> = source.listing().into_keys().collect();
    assert!(
        matches!(answer, Answer::Packed { entries: 13, bytes: 700_003 }),
        "{answer:?} {names:?}"
    );
    let (_, again) = pack(&source.root(), "/.", None).unwrap();
    assert!(packed == again, "the same tree gives another archive");
    let target = tempfile::tempdir().unwrap();
    extract(target.path(), "/", &packed, ExtractOptions::default()).unwrap();
    let without_root = |root: &Path| {
        let mut listing = listing(root);
        listing.remove(".");
        listing.remove("");
        listing
    };
    assert_eq!(without_root(target.path()), without_root(&source.root()));
}

#[test]
fn privileged_archives_stay_in_their_root() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    for folder in ["root/here", "root/there", "secret"] {
        std::fs::create_dir_all(outside.path().join(folder)).unwrap();
    }
    // Links that were there lead inside the root, wherever they point.
    std::os::unix::fs::symlink("../../there", root.join("here/up")).unwrap();
    std::os::unix::fs::symlink("/there", root.join("here/absolute")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.join("here/away")).unwrap();
    let put = |tar: Archive| extract(&root, "here", &tar.finish(), ExtractOptions::default());
    put(Archive::new().with(file("up/a", "x")).with(file("absolute/b", "x"))).unwrap();
    assert!(root.join("there/a").exists() && root.join("there/b").exists());
    // Those that the archive brings lead nowhere, and nothing leads out.
    for tar in [
        Archive::new().with(file("away/c", "x")),
        Archive::new().with(symlink("l", "/there")).with(file("l/c", "x")),
        Archive::new().with(symlink("l", "../there")).with(file("l/c", "x")),
        Archive::new().with(symlink("l", ".")).with(file("l/c", "x")),
        Archive::new().with(symlink("l", "/there")).with(hard_link("h", "l/a")),
        Archive::new().with(file("../c", "x")),
        Archive::new().with(hard_link("h", "../../secret")),
        Archive::new().with(hard_link("h", "missing")),
    ] {
        let refused = put(tar).unwrap_err();
        assert!(matches!(refused, WorkerError::Failed { .. }), "{refused}");
    }
    // A link that is replaced is not followed.
    put(Archive::new().with(file("up", "a file now"))).unwrap();
    assert_eq!(std::fs::read_to_string(root.join("here/up")).unwrap(), "a file now");
    let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!((names(&outside.path().join("secret")), names(&root.join("there"))), (0, 2));
}

#[test]
fn privileged_what_is_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let make = || {
        std::fs::create_dir_all(root.path().join("d/below")).unwrap();
        std::fs::write(root.path().join("f"), "old").unwrap();
    };
    make();
    let keep = || ExtractOptions { keep_kinds: true, ..ExtractOptions::default() };
    let put = |tar: Archive, options| extract(root.path(), "/", &tar.finish(), options);
    for (tar, words) in [
        (
            Archive::new().with(file("d", "x")),
            "cannot overwrite directory \"d\" with non-directory",
        ),
        (
            Archive::new().with(directory("f")),
            "cannot overwrite non-directory \"f\" with directory",
        ),
    ] {
        let error = put(tar, keep()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    put(Archive::new().with(file("d", "x")).with(directory("f")), ExtractOptions::default())
        .unwrap();
    assert!(root.path().join("d").is_file() && root.path().join("f").is_dir());
    let refused = |path: &str, refusal| {
        let answer =
            extract(root.path(), path, &Archive::new().finish(), ExtractOptions::default());
        assert!(matches!(answer, Ok(Answer::Refused(found)) if found == refusal), "{path}");
        if refusal == Refusal::NotFound {
            let (answer, _) = pack(root.path(), path, None).unwrap();
            assert!(matches!(answer, Answer::Refused(Refusal::NotFound)), "{path}");
        }
    };
    refused("missing", Refusal::NotFound);
    refused("d", Refusal::NotADirectory);
    // All names must lie below the one that was asked for.
    let rename = |old: &str, new: &str| ExtractOptions {
        rename: Some((old.to_owned(), new.to_owned())),
        ..keep()
    };
    put(Archive::new().with(directory("a")).with(file("a/x", "x")), rename("a", "b")).unwrap();
    assert!(root.path().join("b/x").is_file());
    for name in ["other", "ab", "/a"] {
        let error = put(Archive::new().with(file(name, "x")), rename("a", "b")).unwrap_err();
        let WorkerError::Failed { kind, message } = error else { panic!("{error}") };
        assert_eq!(kind, FailureKind::Invalid, "{message}");
    }
}
