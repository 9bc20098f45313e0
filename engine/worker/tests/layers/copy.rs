//! Trees copied from one directory to another.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use hull_worker::client::{WorkerError, run};
use hull_worker::job::{Answer, FailureKind, Job, LayerMode, Limits};

use crate::archive::{Archive, Member, directory, file, hard_link, symlink};
use crate::support::{LIMITS, read, worker};
use crate::tree::listing;

fn copy(from: &Path, to: &Path, limits: Limits) -> Result<Answer, WorkerError> {
    let (from, to) = (File::open(from).unwrap(), File::open(to).unwrap());
    run(worker(), &Job::CopyTree { limits }, &[from.as_fd(), to.as_fd()])
}

#[test]
fn privileged_copies_are_the_same() {
    let capability = [&[1, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
    let tar = Archive::new()
        .with(directory(".").mode(0o1750).ids(33, 34).mtime(7).pax("SCHILY.xattr.user.r", "1"))
        .with(directory("empty").mtime(8))
        .with(file("a/b/c", vec![9; 700_000]).mode(0o6711).ids(70_000, 5))
        .with(hard_link("a/link", "a/b/c"))
        .with(file("caps", "x").pax("SCHILY.xattr.security.capability", capability))
        .with(symlink("out", "/etc/passwd").ids(3, 4))
        .with(symlink("up", "../../../.."))
        .with(hard_link("up2", "up"))
        .with(Member::new("fifo", b'6').mode(0o622))
        .with(Member::new("null", b'3').device(1, 3).mode(0o666))
        .finish();
    let source = read(&tar, LayerMode::Erofs).unwrap();
    let target = tempfile::tempdir().unwrap();
    let answer = copy(&source.root(), target.path(), LIMITS).unwrap();
    assert!(matches!(answer, Answer::Copied { entries: 11, bytes: 700_001 }), "{answer:?}");
    assert_eq!(listing(target.path()), source.listing());
}

#[test]
fn privileged_copies_are_bounded_and_never_write_over() {
    let source = tempfile::tempdir().unwrap();
    let target = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("a"), [0; 1000]).unwrap();
    std::fs::write(source.path().join("b"), "").unwrap();
    for limits in [Limits { max_bytes: 999, ..LIMITS }, Limits { max_entries: 1, ..LIMITS }] {
        let target = tempfile::tempdir().unwrap();
        assert!(matches!(
            copy(source.path(), target.path(), limits),
            Err(WorkerError::Failed { kind: FailureKind::TooLarge, .. })
        ));
    }
    // Something else made the name first, a symlink to elsewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("x"), target.path().join("a")).unwrap();
    let error = copy(source.path(), target.path(), LIMITS).unwrap_err().to_string();
    assert!(error.contains("make the file \"a\""), "{error}");
    assert!(!elsewhere.path().join("x").exists());
}
