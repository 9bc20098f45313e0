//! Layers that are fine: mounted and unpacked they look the same, and as GNU tar has them.

use std::path::Path;
use std::process::Command;

use hull_worker::job::LayerMode;

use crate::archive::{Archive, Member, directory, file, hard_link, symlink, whiteout};
use crate::support::{both, read};
use crate::tree::{Listing, listing};

/// What GNU tar makes of the same bytes.
fn gnu(tar: &[u8]) -> Listing {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("tar");
    std::fs::write(&archive, tar).unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    extract(&archive, &root);
    listing(&root)
}

fn extract(archive: &Path, root: &Path) {
    let status = Command::new("tar")
        .args(["--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*", "-xf"])
        .arg(archive)
        .arg("-C")
        .arg(root)
        .status()
        .unwrap();
    assert!(status.success());
}

fn same(ours: &Listing, gnu: &Listing) {
    for (name, line) in gnu {
        assert_eq!(ours.get(name), Some(line), "{name}");
    }
    assert_eq!(ours.len(), gnu.len());
}

fn line<'a>(listing: &'a Listing, name: &str) -> &'a str {
    listing.get(name).unwrap_or_else(|| panic!("no {name:?} in {listing:#?}"))
}

#[test]
fn privileged_kinds_and_attributes() {
    let capability = [&[1, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
    let acl = [
        &[2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0][..],
        &90_000u32.to_le_bytes(),
        &[4, 0, 5, 0, 255, 255, 255, 255, 0x10, 0, 5, 0, 255, 255, 255, 255],
        &[0x20, 0, 4, 0, 255, 255, 255, 255],
    ]
    .concat();
    let names = |index: u32| format!("many/{index:05}-{}", "x".repeat((index % 200) as usize));
    let mut tar = Archive::new()
        .with(directory("./").mode(0o711).mtime(5))
        .with(directory("etc/").ids(0, 7).mode(0o1777))
        .with(file("etc/passwd", "root:x:0:0\n").mode(0o4755).ids(1000, 1001).mtime(0))
        .with(hard_link("etc/passwd-", "etc/passwd"))
        .with(symlink("etc/link", "../../../etc/passwd").ids(5, 6))
        .with(symlink("etc/long", "t".repeat(99)))
        .with(Member::new("etc/longer", b'2').link("x").pax("linkpath", "l/".repeat(1000)))
        .with(hard_link("etc/hardsym", "etc/link"))
        .with(Member::new("fifo", b'6').mode(0o600))
        .with(hard_link("fifo2", "fifo"))
        .with(Member::new("null", b'3').device(1, 3).mode(0o666))
        .with(Member::new("disk", b'4').device(259, 70_000).mode(0o660).ids(0, 6))
        .with(file("empty", ""))
        .with(file("exact", [7; 512]))
        .with(file("large", (0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()))
        .with(file("-dash", "x"))
        .with(file("!before-dot", "x"))
        .with(file(b"not-utf8-\xff\xfe", "x"))
        .with(file("x", "").pax("path", "deep/".repeat(100) + "leaf").mode(0o600))
        .with(file("f", "x").pax("mtime", "1234.000000567").pax("uid", "70000").pax("gid", "80000"))
        .with(file("old", "x").mtime(1 << 33))
        .with(file("caps", "x").pax("SCHILY.xattr.security.capability", capability))
        .with(file("user", "x").pax("SCHILY.xattr.user.a", "1").pax("SCHILY.xattr.user.b", "2"))
        .with(file("huge-attribute", "x").pax("SCHILY.xattr.user.big", vec![b'v'; 3000]))
        .with(directory("attributes").pax("SCHILY.xattr.user.dir", b"\0\n\xff"))
        .with(directory("acl").mode(0o754).pax("SCHILY.xattr.system.posix_acl_access", acl))
        .with(directory("many"));
    for index in 0..400 {
        tar.add(&file(names(index), index.to_string()));
    }
    let tar = tar.finish();
    let (report, listing) = both(&tar);
    assert_eq!(report.max_id, 90_000);
    assert_eq!(report.tar_size, tar.len() as u64);
    // Directories no entry describes: GNU tar gives them the time of the day.
    let without = |listing: &Listing| {
        let mut listing = listing.clone();
        listing.retain(|name, _| !name.starts_with("deep") || name.ends_with("leaf"));
        listing
    };
    same(&without(&listing), &without(&gnu(&tar)));
    assert!(line(&listing, "deep").starts_with("directory 755 0:0 0.000000000"));
    assert!(line(&listing, "disk").starts_with("block 259:70000 660"));
}

#[test]
fn privileged_names_are_cleaned_as_other_engines_do() {
    let tar = Archive::new()
        .with(file("/absolute", "1"))
        .with(file(".//doubled//name", "2"))
        .with(directory("././dir/."))
        .with(hard_link("/link", "/absolute"))
        .with(hard_link("link2", "./absolute"))
        .finish();
    let (_, listing) = both(&tar);
    let names: Vec<_> = listing.keys().map(String::as_str).collect();
    assert_eq!(names, [".", "absolute", "dir", "doubled", "doubled/name", "link", "link2"]);
    assert!(line(&listing, "link2").ends_with("links 3 with absolute"));
}

#[test]
fn privileged_the_last_of_several_entries_counts() {
    let tar = Archive::new()
        .with(file("twice", "first"))
        .with(file("twice", "second"))
        .with(file("to-directory", "x"))
        .with(directory("to-directory"))
        .with(file("to-directory/child", "x"))
        .with(directory("to-file"))
        .with(file("to-file/child", "x"))
        .with(directory("to-file/deeper"))
        .with(file("to-file/deeper/child", "x"))
        .with(file("to-file", "file"))
        .with(directory("kept").mode(0o700))
        .with(file("kept/child", "x"))
        .with(directory("kept").mode(0o750))
        .with(file("name", "linked"))
        .with(hard_link("other", "name"))
        .with(file("name", "new"))
        .with(hard_link("other", "other"))
        .with(symlink("sym", "twice"))
        .with(file("sym", "no longer a symlink"))
        .with(file("file", "x"))
        .with(symlink("file", "twice"))
        .finish();
    let (_, listing) = both(&tar);
    assert!(line(&listing, "twice").starts_with("file 6 "));
    assert!(line(&listing, "to-directory/child").starts_with("file"));
    assert!(line(&listing, "to-file").starts_with("file 4 "));
    assert!(line(&listing, "kept").starts_with("directory 750"));
    assert!(line(&listing, "kept/child").starts_with("file"));
    assert!(line(&listing, "name").starts_with("file 3 "));
    assert!(line(&listing, "other").starts_with("file 6 "));
    assert!(line(&listing, "other").ends_with("links 1"));
    assert!(line(&listing, "sym").starts_with("file 19 "));
    assert!(line(&listing, "file").starts_with("symlink twice"));
}

#[test]
fn privileged_symlinks_on_the_way_lead_inside_the_layer() {
    let tar = Archive::new()
        .with(directory("usr/lib"))
        .with(symlink("lib", "usr/lib"))
        .with(file("lib/relative", "x"))
        .with(symlink("abs", "/usr/lib"))
        .with(file("abs/absolute", "x"))
        .with(symlink("escape", "../../../../../../tmp"))
        .with(file("escape/hull-must-not-be-here", "x"))
        .with(symlink("one", "two"))
        .with(symlink("two", "/three/."))
        .with(directory("three"))
        .with(file("one/chained", "x"))
        .with(hard_link("through", "lib/relative"))
        .finish();
    let (_, listing) = both(&tar);
    for name in [
        "usr/lib/relative",
        "usr/lib/absolute",
        "tmp/hull-must-not-be-here",
        "three/chained",
        "through",
    ] {
        line(&listing, name);
    }
    assert!(!Path::new("/tmp/hull-must-not-be-here").exists());
}

#[test]
fn privileged_whiteouts_hide_lower_layers_only() {
    let opaque = "trusted.overlay.opaque=y";
    let tar = Archive::new()
        .with(file(".wh.gone", ""))
        .with(file("stays-after", "x"))
        .with(whiteout(".wh.stays-after"))
        .with(whiteout(".wh.stays-before"))
        .with(file("stays-before", "x"))
        .with(whiteout("opaque/.wh..wh..opq"))
        .with(file("opaque/new", "x"))
        .with(whiteout(".wh.replaced"))
        .with(directory("replaced"))
        .with(file("replaced/new", "x"))
        .with(directory("replaced-too"))
        .with(whiteout(".wh.replaced-too"))
        .with(whiteout(".wh.implied"))
        .with(file("implied/new", "x"))
        .with(whiteout("other/.wh.x"))
        .with(hard_link(".wh.linked", ".wh..wh.aufs"))
        .with(directory(".wh..wh.plnk"))
        .with(file(".wh..wh.plnk/1.2", "x"))
        .finish();
    let (report, listing) = both(&tar);
    assert!(!report.opaque);
    for name in ["gone", "other/x", "linked"] {
        assert!(line(&listing, name).starts_with("char 0:0 0 0:0"), "{name}");
    }
    for name in ["stays-after", "stays-before", "opaque/new", "replaced/new", "implied/new"] {
        assert!(line(&listing, name).starts_with("file 1 "), "{name}");
    }
    for name in ["opaque", "replaced", "replaced-too", "implied"] {
        assert!(line(&listing, name).ends_with(opaque), "{name}: {}", line(&listing, name));
    }
    assert!(!line(&listing, "other").contains(opaque));
    assert!(!listing.keys().any(|name| name.contains(".wh.")));
    let (report, listing) = both(&Archive::new().with(whiteout(".wh..wh..opq")).finish());
    assert!(report.opaque);
    assert!(line(&listing, ".").ends_with(opaque));
}

#[test]
fn privileged_attributes_that_are_not_a_layers_to_set_are_dropped() {
    let third = [&[0, 0, 0, 3][..], &[0; 16], &1000u32.to_le_bytes()].concat();
    let tar = Archive::new()
        .with(
            directory("d")
                .pax("SCHILY.xattr.trusted.overlay.opaque", "y")
                .pax("SCHILY.xattr.trusted.overlay.redirect", "/etc")
                .pax("SCHILY.xattr.user.overlay.opaque", "y")
                .pax("LIBARCHIVE.xattr.trusted.overlay.metacopy", "eQ==")
                .pax("LIBARCHIVE.xattr.user.ok", "eWVz"),
        )
        .with(file("f", "x").pax("SCHILY.xattr.security.selinux", "label"))
        .with(file("c", "x").pax("SCHILY.xattr.security.capability", third))
        .with(symlink("s", "x").pax("SCHILY.xattr.user.x", "y"))
        .finish();
    let (_, listing) = both(&tar);
    assert!(line(&listing, "d").ends_with("links 2 user.ok=yes"), "{}", line(&listing, "d"));
    assert!(line(&listing, "f").ends_with("links 1"));
    assert!(line(&listing, "c").contains("security.capability=\\x00\\x00\\x00\\x02"));
    assert!(line(&listing, "s").ends_with("links 1"));
}

#[test]
fn privileged_compression_is_seen_by_its_first_bytes() {
    use std::io::Write;
    let tar = Archive::new().with(file("a", vec![b'a'; 3 << 20])).finish();
    let (plain, listing) = both(&tar);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let (head, tail) = tar.split_at(1_000_000);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    for (bytes, compression) in [
        (gzip(&tar), "gzip"),
        ([gzip(head), gzip(tail)].concat(), "gzip"),
        (zstd(&tar), "zstd"),
        ([&skippable[..], &zstd(head), &zstd(tail)].concat(), "zstd"),
    ] {
        let (report, other) = both(&bytes);
        assert_eq!(other, listing);
        assert_eq!(report.compression, compression);
        assert_eq!(report.digest, hull_oci::Digest::sha256(&bytes));
        assert_eq!(report.size, bytes.len() as u64);
        assert_eq!((&report.diff_id, report.tar_size), (&plain.diff_id, plain.tar_size));
    }
    let kept = read(&gzip(&tar), LayerMode::Erofs).unwrap();
    assert_eq!(std::fs::read(kept.directory.path().join("tar")).unwrap(), tar);
    let index = std::fs::read(kept.directory.path().join("erofs")).unwrap();
    assert_eq!(kept.report.index, Some(hull_oci::Digest::sha256(&index)));
}

#[test]
fn privileged_empty_layers() {
    for tar in [vec![], vec![0; 1024], vec![0; 10_240]] {
        let (report, listing) = both(&tar);
        assert_eq!((report.entries, listing.len()), (0, 1));
    }
}

/// A tree of this machine, packed by GNU tar in its own ways.
#[test]
fn privileged_a_real_tree_is_as_gnu_tar_extracts_it() {
    let directory = tempfile::tempdir().unwrap();
    for format in ["gnu", "posix"] {
        let archive = directory.path().join(format);
        let status = Command::new("tar")
            .args([&format!("--format={format}"), "-C", "/", "-cf"])
            .arg(&archive)
            .args(["etc", "usr/share/zoneinfo", "dev/null", "bin"])
            .status()
            .unwrap();
        assert!(status.success());
        let bytes = std::fs::read(&archive).unwrap();
        let (_, ours) = both(&bytes);
        // Made by no entry, so with the time of extraction.
        let without = |mut listing: Listing| {
            listing.retain(|name, _| !matches!(name.as_str(), "." | "usr" | "usr/share" | "dev"));
            listing
        };
        same(&without(ours), &without(gnu(&bytes)));
    }
}
