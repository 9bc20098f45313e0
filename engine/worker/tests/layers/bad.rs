//! Layers that are refused, each with one line that says why, and what they leave outside.

use std::io::Write;

use hull_worker::client::WorkerError;
use hull_worker::job::{FailureKind, LayerMode, Limits};

use crate::archive::{Archive, Member, directory, file, hard_link, symlink, whiteout};
use crate::support::{LIMITS, input, read_from, refused};

fn invalid(archive: Archive, message: &str) {
    refused(&archive.finish(), FailureKind::Invalid, message);
}

fn one(member: Member, message: &str) {
    invalid(Archive::new().with(member), message);
}

#[test]
fn privileged_names_that_leave_the_layer() {
    one(file("../outside", "x"), "holds a `..`");
    one(file("a/../../outside", "x"), "holds a `..`");
    one(file("a/../b", "x"), "holds a `..`");
    one(directory(".."), "holds a `..`");
    one(file("/..", "x"), "holds a `..`");
    one(file("x", "x").pax("path", "a/../../../etc/passwd"), "holds a `..`");
    one(whiteout(".wh..."), "a whiteout of no file");
    one(whiteout(".wh.."), "a whiteout of no file");
    one(whiteout(".wh."), "a whiteout of no file");
    one(whiteout("../.wh.x"), "holds a `..`");
    one(file(".wh.d/x", "x"), "named like a whiteout");
    one(file("x", "x").pax("path", "a\0b"), "pax record path is not valid");
    one(file("x", "x").pax("path", "n".repeat(256)), "longer than");
    one(file("x", "x").pax("path", "d/".repeat(2100) + "x"), "longer than");
    one(file("x", "x").pax("path", "d/".repeat(32 << 10) + "x"), "longer than");
    one(file(".", "x"), "the root is not a directory");
    one(symlink("./", "x"), "the root is not a directory");
}

#[test]
fn privileged_links_to_what_is_not_there() {
    one(hard_link("a", "absent"), "which this layer does not hold");
    one(hard_link("a", "/etc/passwd"), "which this layer does not hold");
    one(hard_link("a", "../../etc/passwd"), "target holds a `..`");
    one(hard_link("a", "a"), "which this layer does not hold");
    one(hard_link("a", "/"), "a hard link to the root");
    one(hard_link("/", "a"), "a hard link in place of the root");
    let archive = Archive::new();
    invalid(archive.clone().with(directory("d")).with(hard_link("a", "d")), "to a directory");
    invalid(
        archive.clone().with(hard_link("a", "b")).with(hard_link("b", "a")),
        "which this layer does not hold",
    );
    invalid(
        archive.clone().with(whiteout(".wh.w")).with(hard_link("a", "w")),
        "which this layer does not hold",
    );
    invalid(
        archive.clone().with(file("d/f", "x")).with(hard_link("d", "d/f")),
        "the directory that holds its target",
    );
    // A symlink that leads out of the layer leads nowhere in it.
    invalid(
        archive.clone().with(symlink("s", "/etc")).with(hard_link("a", "s/passwd")),
        "which this layer does not hold",
    );
    invalid(
        archive.with(symlink("a", "b")).with(symlink("b", "a")).with(file("a/x", "x")),
        "too many symlinks",
    );
    invalid(Archive::new().with(file("f", "")).with(file("f/x", "x")), "is not a directory");
    one(symlink("s", "x").pax("linkpath", "t".repeat(5000)), "target is too long");
}

#[test]
fn privileged_what_no_layer_may_hold() {
    one(Member::new("w", b'3').device(0, 0), "0:0 stands for a deleted file");
    one(Member::new("d", b'3').device(4096, 0), "device number is out of range");
    one(Member::new("s", b'S'), "sparse");
    one(file("s", "x").pax("GNU.sparse.major", "1"), "sparse");
    one(file("u", "x").ids(u64::from(u32::MAX), 0), "owner's id is out of range");
    one(file("u", "x").ids(1 << 40, 0), "owner's id is out of range");
    one(file("c", "x").pax("SCHILY.xattr.security.capability", "x"), "not a file capability");
    one(file("a", "x").pax("SCHILY.xattr.system.posix_acl_access", "x"), "ACL is malformed");
    one(file("a", "x").pax("SCHILY.xattr.user.big", vec![0; 70_000]), "extended attributes");
    one(file("a", "x").pax("SCHILY.xattr.user.big", vec![0; 1 << 20]), "longer than 1 MiB");
}

#[test]
fn privileged_streams_that_are_cut_short_or_go_on() {
    let tar = Archive::new().with(file("a", vec![b'a'; 100_000])).finish();
    let refused = |bytes: &[u8], message: &str| refused(bytes, FailureKind::Invalid, message);
    refused(&tar[..50_000], "tar at byte 50000: the archive ends 50512 bytes before");
    refused(&tar[..100], "inside a header");
    refused(&[&tar[..], b"more"].concat(), "something follows the end of the archive");
    refused(b"not a tar", "inside a header");
    refused(&[b'x'; 4096], "tar at byte 0: ");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar).unwrap();
    let gzip = encoder.finish().unwrap();
    refused(&gzip[..gzip.len() - 1], "gzip stream at byte ");
    refused(&gzip[..gzip.len() / 2], "cut short");
    refused(&[&gzip[..], b"garbage"].concat(), "gzip stream at byte ");
    refused(&[&gzip[..], &[0; 512]].concat(), "gzip stream at byte ");
    let mut flipped = gzip.clone();
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    refused(&flipped, "gzip stream at byte ");
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    refused(&zstd[..zstd.len() - 1], "cut short");
    refused(&[&zstd[..], b"garbage"].concat(), "zstd stream at byte ");
    refused(b"\xfd7zXZ\0...", "xz stream at byte 0: layers are compressed with gzip or zstd only");
    refused(
        b"BZh91AY&SY...",
        "bzip2 stream at byte 0: layers are compressed with gzip or zstd only",
    );
    // A window of 512 MiB.
    refused(b"\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00", "zstd stream at byte ");
}

fn too_large(bytes: &[u8], limits: Limits, message: &str) {
    for mode in [LayerMode::Erofs, LayerMode::Unpack] {
        let directory = tempfile::tempdir().unwrap();
        let input = input(directory.path(), bytes);
        match read_from(directory, &input, None, mode, limits) {
            Err(WorkerError::Failed { kind: FailureKind::TooLarge, message: actual }) => {
                assert!(actual.contains(message), "{actual:?}, not {message:?}");
            }
            Err(error) => panic!("{error}, not {message:?}"),
            Ok(_) => panic!("not refused"),
        }
    }
}

#[test]
fn privileged_bounds() {
    let tar = Archive::new()
        .with(file("a/b/c/d", "x"))
        .with(hard_link("e", "a/b/c/d"))
        .with(file("f", vec![0; 10_000]))
        .finish();
    too_large(&tar, Limits { max_entries: 5, ..LIMITS }, "more than 5 entries");
    too_large(&tar, Limits { max_bytes: 10_000, ..LIMITS }, "more than 10000 bytes");
    let directory = tempfile::tempdir().unwrap();
    let input = input(directory.path(), &tar);
    let exact = Limits { max_bytes: tar.len() as u64, max_entries: 6 };
    read_from(directory, &input, None, LayerMode::Erofs, exact).unwrap();
    // Names that imply very many directories.
    let mut deep = Archive::new();
    for index in 0..1000 {
        deep.add(&file("x", "").pax("path", format!("{index}/") + &"d/".repeat(1000)));
    }
    too_large(&deep.finish(), LIMITS, "more than 500000 entries");
}

#[test]
fn privileged_ten_gigabytes_of_zeros_end_early() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let header = Archive::new().with(file("zeros", "").size(10 << 30)).unfinished();
    encoder.write_all(&header).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..200 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let begin = std::time::Instant::now();
    let limits = Limits { max_bytes: 100 << 30, ..LIMITS };
    too_large(&bomb, limits, "bytes came out of");
    too_large(&zstd::encode_all(&zeros.repeat(200)[..], 3).unwrap(), limits, "bytes came out of");
    assert!(begin.elapsed().as_secs() < 20);
}

#[test]
fn privileged_ranges_are_read_where_they_are() {
    let tar = Archive::new().with(file("a", "x")).finish();
    let bytes = [&b"before"[..], &tar, b"after"].concat();
    let read = |range| {
        let directory = tempfile::tempdir().unwrap();
        let input = input(directory.path(), &bytes);
        read_from(directory, &input, Some(range), LayerMode::Erofs, LIMITS)
    };
    let length = tar.len() as u64;
    let kept = read((6, length)).unwrap();
    assert_eq!(kept.report.diff_id, hull_oci::Digest::sha256(&tar));
    assert_eq!(kept.report.size, length);
    let error = read((6, length + 6)).err().unwrap().to_string();
    assert!(error.contains("ends 1 bytes before the layer does"), "{error}");
}
