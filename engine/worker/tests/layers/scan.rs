//! Archives that hold images.

use std::io::Write;
use std::os::fd::AsFd;

use hull_worker::client::{WorkerError, run};
use hull_worker::job::{Answer, FailureKind, Job};

use crate::archive::{Archive, directory, file, hard_link, symlink};
use crate::support::{empty_file, input, worker};

/// Names and data of the members.
fn scan(bytes: &[u8], max_bytes: u64) -> Result<Vec<(String, Vec<u8>)>, WorkerError> {
    let directory = tempfile::tempdir().unwrap();
    let input = input(directory.path(), bytes);
    let path = directory.path().join("spool");
    let spool = empty_file(&path);
    let job = Job::ScanArchive { max_bytes };
    let Answer::Archive { members } = run(worker(), &job, &[input.as_fd(), spool.as_fd()])? else {
        panic!("not the answer to this job");
    };
    let spool = std::fs::read(path).unwrap();
    let data = |offset, size| {
        let at = usize::try_from(offset).unwrap();
        spool[at..at + usize::try_from(size).unwrap()].to_vec()
    };
    Ok(members.into_iter().map(|member| (member.name, data(member.offset, member.size))).collect())
}

#[test]
fn members_and_links_to_them() {
    let tar = Archive::new()
        .with(directory("a"))
        .with(file("./a/layer.tar", "first"))
        .with(directory("b"))
        .with(symlink("b/layer.tar", "../a/layer.tar"))
        .with(symlink("c", "b/layer.tar"))
        .with(hard_link("d", "a/layer.tar"))
        .with(file("manifest.json", "old"))
        .with(file("manifest.json", "new"))
        .with(symlink("dangling", "nowhere"))
        .with(symlink("loop", "loop"))
        .finish();
    let expected: Vec<_> = [
        ("a/layer.tar", "first"),
        ("b/layer.tar", "first"),
        ("c", "first"),
        ("d", "first"),
        ("manifest.json", "new"),
    ]
    .map(|(name, data)| (name.to_owned(), data.as_bytes().to_vec()))
    .into();
    assert_eq!(scan(&tar, 1 << 20).unwrap(), expected);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar).unwrap();
    assert_eq!(scan(&encoder.finish().unwrap(), 1 << 20).unwrap(), expected);
}

#[test]
fn archives_that_are_refused() {
    let check = |archive: Archive, message: &str| match scan(&archive.finish(), 1 << 20) {
        Err(WorkerError::Failed { message: actual, .. }) => {
            assert!(actual.contains(message), "{actual:?}, not {message:?}");
        }
        other => panic!("{other:?}, not {message:?}"),
    };
    check(Archive::new().with(file("../x", "x")), "holds a `..`");
    check(Archive::new().with(symlink("a", "../x")), "a symlink that leaves the archive");
    check(Archive::new().with(file(b"\xff", "x")), "not UTF-8");
    let large = Archive::new().with(file("x", vec![1; 2 << 20])).finish();
    assert!(matches!(
        scan(&large, 1 << 20),
        Err(WorkerError::Failed { kind: FailureKind::TooLarge, .. })
    ));
}
