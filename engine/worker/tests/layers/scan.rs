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
    for pack in [xz, bzip2] {
        let packed = pack(&tar);
        assert_eq!(scan(&packed, 1 << 20).unwrap(), expected);
        // In two streams, as several processors make them.
        let halves = [pack(&tar[..700]), pack(&tar[700..])].concat();
        assert_eq!(scan(&halves, 1 << 20).unwrap(), expected);
    }
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn xz_and_bzip2_that_are_refused() {
    let tar = Archive::new().with(file("a", vec![b'a'; 100_000])).finish();
    let refused = |bytes: &[u8], kind: FailureKind, message: &str| match scan(bytes, 1 << 30) {
        Err(WorkerError::Failed { kind: actual, message: said }) => {
            assert!(said.contains(message), "{said:?}, not {message:?}");
            assert_eq!(actual, kind, "{said}");
        }
        other => panic!("{other:?}, not {message:?}"),
    };
    for (name, pack) in [("xz", xz as fn(&[u8]) -> Vec<u8>), ("bzip2", bzip2)] {
        let packed = pack(&tar);
        let at = format!("{name} stream at byte ");
        refused(&packed[..packed.len() - 1], FailureKind::Invalid, "cut short");
        refused(&packed[..packed.len() / 2], FailureKind::Invalid, "cut short");
        refused(&[&packed[..], b"garbage!"].concat(), FailureKind::Invalid, &at);
        for at_byte in [10, packed.len() / 2, packed.len() - 5] {
            let mut flipped = packed.clone();
            flipped[at_byte] ^= 0x55;
            assert!(scan(&flipped, 1 << 30).is_err(), "{name}, byte {at_byte}");
        }
        // A tar of one file of zeros that grows a thousandfold and more.
        let bomb = Archive::new().with(file("zeros", vec![0; 100 << 20])).finish();
        refused(&pack(&bomb), FailureKind::TooLarge, "times");
        assert!(scan(&pack(&tar), 50_000).is_err(), "{name}: over the bound");
    }
    // A dictionary of 256 MiB: the same stream with the size's byte changed, and its checksum.
    let mut greedy = xz(&tar);
    let (header, length) = (12, (usize::from(greedy[12]) + 1) * 4);
    let property = header + 4;
    assert_eq!(greedy[property - 2..property], [0x21, 1], "the block's one filter is LZMA2");
    greedy[property] = 32;
    let sum = crc32(&greedy[header..header + length - 4]);
    greedy[header + length - 4..header + length].copy_from_slice(&sum.to_le_bytes());
    refused(&greedy, FailureKind::Invalid, "its dictionary needs more than 128 MiB of memory");
}

/// Spec: RFC 1952, 8, as xz has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
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
