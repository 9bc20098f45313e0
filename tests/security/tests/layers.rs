//! Layers and archives that attacked other engines and libraries. In both ways of keeping a layer:
//! nothing outside it is touched, and what is taken means inside the container what it says.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hull_test_support::Hull;
use hull_test_support::archive::{DIRECTORY, Entry, FILE, HARD_LINK, SYMLINK, Tar, members};
use hull_test_support::busybox::base_tar;
use hull_test_support::image::{Compression, Image};

/// A folder outside every layer, whose only file says `untouched` and whose mode is 0700.
struct Canary(tempfile::TempDir);

impl Canary {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("canary"), "untouched").expect("a file");
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder.path(), mode).expect("a mode");
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("text")
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        let text = fs::read_to_string(self.0.path().join("canary"));
        assert_eq!(text.expect(what), "untouched", "{what}");
        assert_eq!(fs::read_dir(self.0.path()).expect(what).count(), 1, "{what}");
        let mode = fs::metadata(self.0.path()).expect(what).mode();
        assert_eq!(mode & 0o7777, 0o700, "{what}");
    }
}

fn link<'a>(name: &'a str, link: &'a str, kind: u8) -> Entry<'a> {
    Entry { name, link, kind, mode: 0o777, ..Entry::default() }
}

fn file(name: &str) -> Entry<'_> {
    Entry { name, data: b"evil", kind: FILE, ..Entry::default() }
}

fn directory(name: &str) -> Entry<'_> {
    Entry { name, kind: DIRECTORY, mode: 0o777, ..Entry::default() }
}

fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    entries.iter().fold(Tar::new(), Tar::entry).finish()
}

/// Loads the layer over the base in both modes. What is refused says so in one line; what is taken
/// also runs. `look` then sees what there is.
fn in_both_modes(canary: &Canary, what: &str, layer: &[u8], look: impl Fn(&Hull, bool)) {
    for mode in ["erofs", "unpack"] {
        let Some(hull) = Hull::new() else { return };
        let hull = hull.with_env("HULL_LAYER_MODE", mode);
        let image = Image::new()
            .layer(base_tar().finish(), Compression::Gzip)
            .layer(layer.to_vec(), Compression::Gzip);
        let path = hull.file("image.tar", &image.docker_archive(&["hostile"]));
        let output = hull.run(&["load", "-i", &path]);
        let taken = output.code == 0;
        if taken {
            hull.ok(&["run", "--rm", "hostile", "/probe", "true"]);
        } else {
            assert_eq!(output.code, 1, "{mode} {what}: {output:?}");
            assert!(!output.stderr.is_empty(), "{mode} {what}");
        }
        look(&hull, taken);
        canary.assert_untouched(&format!("{mode} {what}"));
        hull.finish();
    }
}

fn nothing(_: &Hull, _: bool) {}

/// CVE-2026-17106, CVE-2021-32760, CVE-2025-47290: a path is checked as text and then walked
/// through links that the layer itself brought.
#[test]
fn privileged_cve_2026_17106_links_on_the_way() {
    let canary = Canary::new();
    let outside = canary.path();
    let deep = format!("{outside}/canary");
    let cases = [
        ("a file", tar(&[link("way", outside, SYMLINK), file("way/canary")])),
        ("a directory", tar(&[link("way", outside, SYMLINK), directory("way/.")])),
        ("a new directory", tar(&[link("way", outside, SYMLINK), directory("way/new")])),
        (
            "two hops",
            tar(&[link("one", outside, SYMLINK), link("two", "one", SYMLINK), file("two/canary")]),
        ),
        (
            "a hop in a directory",
            tar(&[
                directory("a"),
                link("a/up", "..", SYMLINK),
                link("a/out", "up/../../../../../../..", SYMLINK),
                file("a/out/tmp/evil-by-two-hops"),
            ]),
        ),
        ("the link itself", tar(&[link("canary", &deep, SYMLINK), file("canary")])),
        ("a whiteout", tar(&[link("way", outside, SYMLINK), file("way/.wh.canary")])),
        ("an opaque directory", tar(&[link("way", outside, SYMLINK), file("way/.wh..wh..opq")])),
    ];
    for (what, layer) in cases {
        in_both_modes(&canary, what, &layer, nothing);
        assert!(!Path::new("/tmp/evil-by-two-hops").exists(), "{what}");
    }
}

/// GHSA-9m95-8hx6-7p9v: the layer's root is replaced by a link, and what follows lands behind it.
#[test]
fn privileged_ghsa_9m95_the_root_is_a_link() {
    let canary = Canary::new();
    for name in [".", "./", "/", "./."] {
        let layer = tar(&[link(name, canary.path(), SYMLINK), file("canary")]);
        in_both_modes(&canary, name, &layer, nothing);
    }
}

/// RUSTSEC-2021-0080, CVE-2026-33056: modes and owners of a directory are set through a link that
/// took its place.
#[test]
fn privileged_cve_2026_33056_modes_through_links() {
    let canary = Canary::new();
    let outside = canary.path();
    let owner = Entry { uid: 1000, gid: 1000, ..directory("way") };
    for (what, layer) in [
        ("a directory over a link", tar(&[link("way", outside, SYMLINK), directory("way")])),
        ("its owner", tar(&[link("way", outside, SYMLINK), owner])),
        ("a link over a directory", tar(&[directory("way"), link("way", outside, SYMLINK)])),
        (
            "a hard link to a link",
            tar(&[
                link("way", outside, SYMLINK),
                link("hard", "way", HARD_LINK),
                directory("hard"),
            ]),
        ),
    ] {
        in_both_modes(&canary, what, &layer, nothing);
    }
}

/// CVE-2026-33055: the size of a pax header counts for the content and for where the next header
/// is. Who takes one from the header sees members that are content to others.
#[test]
fn privileged_cve_2026_33055_sizes_in_pax_headers() {
    let canary = Canary::new();
    let inner = Tar::new().file("smuggled", 0o4755, b"evil").unfinished();
    let size = inner.len().to_string();
    let content = Entry { name: "content", ..Entry::default() };
    let layer = Tar::new().pax(&[("size", &size)]).header_only(&content, 0).raw(&inner).finish();
    in_both_modes(&canary, "a larger size", &layer, |hull, taken| {
        if taken {
            assert_ne!(hull.run(&["run", "--rm", "hostile", "/smuggled"]).code, 0);
            assert_eq!(copied_out(hull, "/content").len(), inner.len());
        }
    });
}

/// The content of a file of the image `hostile`.
fn copied_out(hull: &Hull, path: &str) -> Vec<u8> {
    hull.ok(&["create", "--name", "kept", "hostile", "/probe"]);
    let to: PathBuf = hull.folder().join("out");
    hull.ok(&["cp", &format!("kept:{path}"), to.to_str().expect("text")]);
    hull.ok(&["rm", "kept"]);
    fs::read(to).expect("it was copied")
}

/// CVE-2026-70622: links in a tree that is packed are followed, and files of the host get into the
/// archive.
#[test]
fn privileged_cve_2026_70622_links_stay_links_when_packed() {
    let Some(hull) = Hull::with_probe() else { return };
    let canary = Canary::new();
    let outside = canary.path().to_owned();
    let layer = tar(&[link("folder", &outside, SYMLINK), link("file", "/etc/shadow", SYMLINK)]);
    let image =
        Image::new().layer(base_tar().finish(), Compression::Gzip).layer(layer, Compression::Gzip);
    hull.load(&image, "links");
    hull.ok(&["create", "--name", "links", "links", "/probe"]);
    let out = hull.folder().join("export.tar");
    hull.ok(&["export", "-o", out.to_str().expect("text"), "links"]);
    let found = members(&fs::read(&out).expect("it was exported"));
    for (name, to) in [("folder", &outside[..]), ("file", "/etc/shadow")] {
        let member = found.iter().find(|member| member.name.trim_matches('/') == name);
        let member = member.expect(name);
        assert_eq!((member.kind, &member.link[..]), (SYMLINK, to));
    }
    assert!(!found.iter().any(|member| member.name.contains("canary")));
    hull.ok(&["rm", "links"]);
    hull.finish();
}

/// CVE-2026-95838: work that grows with the square of the number of opaque whiteouts. Ten
/// thousand of them take minutes then, and the test's own patience ends.
#[test]
fn privileged_cve_2026_95838_many_opaque_directories() {
    let canary = Canary::new();
    let mut layer = Tar::new();
    for number in 0..10_000 {
        let (directory, mark) = (format!("d{number}"), format!("d{number}/.wh..wh..opq"));
        layer = layer.directory(&directory, 0o755).file(&mark, 0o644, b"");
    }
    in_both_modes(&canary, "20,000 entries", &layer.finish(), |_, taken| assert!(taken));
}

/// CVE-2023-25153: a document of an archive is read into memory whatever its size.
#[test]
fn privileged_cve_2023_25153_documents_without_end() {
    let Some(hull) = Hull::new() else { return };
    let spaces = vec![b' '; 64 << 20];
    for name in ["index.json", "manifest.json"] {
        let archive = Tar::new()
            .file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)
            .file(name, 0o644, &spaces)
            .finish();
        let path = hull.file("large.tar", &archive);
        let output = hull.fails(&["load", "-i", &path], 1, name);
        assert_eq!(output.stderr.trim_end().lines().count(), 1, "{output:?}");
    }
    hull.finish();
}

/// CVE-2021-21285: a document that is JSON and no manifest ends the engine.
#[test]
fn privileged_cve_2021_21285_documents_that_are_none() {
    let Some(hull) = Hull::new() else { return };
    for text in [
        "null",
        "[]",
        "[null]",
        "{}",
        r#"{"manifests":[null]}"#,
        r#"{"manifests":[{}]}"#,
        r#"[{"Config":null,"RepoTags":null,"Layers":null}]"#,
        r#"[{"Config":"","RepoTags":[""],"Layers":[""]}]"#,
        r#"[{"Config":"../../etc/passwd","RepoTags":["a:b"],"Layers":["/etc/passwd"]}]"#,
    ] {
        for name in ["index.json", "manifest.json"] {
            let archive = Tar::new()
                .file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)
                .file(name, 0o644, text.as_bytes())
                .finish();
            let output = hull.run(&["load", "-i", &hull.file("none.tar", &archive)]);
            let silent = output.code == 0 && hull.ok(&["images", "-aq"]).is_empty();
            assert!(output.code == 1 || silent, "{name} {text}: {output:?}");
        }
    }
    hull.finish();
}

/// GO-2026-5338: an archive says that its image is one that is here. The name moves, as the one who
/// loads asked, but not in silence, and what it named stays.
#[test]
fn privileged_go_2026_5338_names_that_an_archive_takes() {
    let Some(hull) = Hull::new() else { return };
    let good = Image::new().layer(base_tar().finish(), Compression::Gzip);
    hull.load(&good, "alpine:latest");
    let evil = Image::new().layer(tar(&[file("evil")]), Compression::Gzip);
    let path = hull.file("evil.tar", &evil.docker_archive(&["alpine:latest"]));
    let said = hull.ok(&["load", "-i", &path]);
    assert!(said.contains("already exists, renaming the old one"), "{said}");
    assert!(said.contains(&good.id()), "it is told which one: {said}");
    assert_eq!(hull.run(&["run", "--rm", &good.id(), "/probe", "true"]).code, 0);
    hull.finish();
}
