//! Repositories that git itself made, read by our code: over the messages of `git upload-pack`, and
//! from packs that are damaged on purpose.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use hull_git::{
    Advertisement, CheckoutError, GitDirectory, Index, Kind, Limits, Oid, Pack, PackError, Refs,
    Sink, checkout, fetch_request, ls_refs_request, read_fetch,
};

const LIMITS: Limits = Limits { objects: 10_000, object_bytes: 1 << 24, bytes: 1 << 28 };

/// Files by path, as a check-out gives them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tree(BTreeMap<String, (char, Vec<u8>)>);

impl Sink for Tree {
    type Error = Infallible;

    fn directory(&mut self, path: &str) -> Result<(), Infallible> {
        self.0.insert(path.to_owned(), ('d', Vec::new()));
        Ok(())
    }

    fn file(&mut self, path: &str, executable: bool, content: &[u8]) -> Result<(), Infallible> {
        let kind = if executable { 'x' } else { 'f' };
        self.0.insert(path.to_owned(), (kind, content.to_vec()));
        Ok(())
    }

    fn link(&mut self, path: &str, target: &[u8]) -> Result<(), Infallible> {
        self.0.insert(path.to_owned(), ('l', target.to_vec()));
        Ok(())
    }
}

fn git(folder: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"])
        .args(words)
        .env("GIT_PROTOCOL", "version=2")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is part of every checkout of this project");
    child.stdin.take().expect("it is piped").write_all(input).expect("git reads its input");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {words:?}");
    output.stdout
}

/// A repository with a history in which large files change a little, so that packs hold changes.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    git(at, &["init", "-q"], b"");
    fs::create_dir_all(at.join("src/deep/er")).expect("folders");
    let text: String = (0..5000).map(|line| format!("line {line}\n")).collect();
    fs::write(at.join("src/large"), &text).expect("a file");
    fs::write(at.join("src/deep/er/one"), "one\n").expect("a file");
    fs::write(at.join("run.sh"), "#!/bin/sh\n").expect("a file");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(at.join("run.sh"), executable).expect("a mode");
    std::os::unix::fs::symlink("../../etc/passwd", at.join("away")).expect("a link");
    git(at, &["add", "."], b"");
    git(at, &["commit", "-qm", "first"], b"");
    git(at, &["tag", "-a", "v1", "-m", "one"], b"");
    fs::write(at.join("src/larger"), format!("{text}and one more\n")).expect("a file");
    git(at, &["add", "."], b"");
    git(at, &["commit", "-qm", "second"], b"");
    folder
}

/// Serves one request as a server over HTTP does.
fn serve(folder: &Path, request: &[u8]) -> Vec<u8> {
    git(folder, &["upload-pack", "--stateless-rpc", "."], request)
}

fn advertisement(folder: &Path) -> Advertisement {
    let bytes = git(folder, &["upload-pack", "--http-backend-info-refs", "."], b"");
    Advertisement::read(&bytes[..]).expect("git speaks version 2")
}

fn fetch(folder: &Path, commit: Oid) -> Vec<u8> {
    let answer = serve(folder, &fetch_request(&advertisement(folder), commit));
    let mut pack = Vec::new();
    let fetched = read_fetch(&answer[..], &mut pack).expect("git sends a pack");
    assert_eq!(fetched.bytes, pack.len() as u64);
    pack
}

fn read(pack: &[u8]) -> Result<Pack, PackError> {
    Pack::read(pack, tempfile::tempfile().expect("a spool"), &LIMITS)
}

fn find(folder: &Path, reference: &str) -> Option<Oid> {
    let answer = serve(folder, &ls_refs_request(reference));
    Refs::read(&answer[..]).expect("git lists references").find(reference)
}

/// What git's own check-out of `commit` holds.
fn expected(folder: &Path, commit: &str) -> Tree {
    let mut tree = Tree::default();
    let listed = git(folder, &["ls-tree", "-r", "-t", commit], b"");
    for line in String::from_utf8(listed).expect("text").lines() {
        let (about, path) = line.split_once('\t').expect("a tab");
        let [mode, kind, oid] = about.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let content = |kind| git(folder, &["cat-file", kind, oid], b"");
        let entry = match (mode, kind) {
            (_, "tree") => ('d', Vec::new()),
            ("100755", _) => ('x', content("blob")),
            ("120000", _) => ('l', content("blob")),
            _ => ('f', content("blob")),
        };
        tree.0.insert(path.to_owned(), entry);
    }
    tree
}

#[test]
fn a_branch_and_a_tag_are_fetched_as_git_checks_them_out() {
    let folder = repository();
    for reference in ["main", "v1", "refs/heads/main", "HEAD"] {
        let oid = find(folder.path(), reference).expect(reference);
        let pack = read(&fetch(folder.path(), oid)).expect("the pack is whole");
        let mut tree = Tree::default();
        let done = checkout(&pack, oid, "", 1000, &mut tree).expect("the commit is whole");
        assert_eq!(tree, expected(folder.path(), reference), "{reference}");
        assert_eq!(done.entries, tree.0.len() as u64);
    }
    assert_eq!(find(folder.path(), "absent"), None);
}

#[test]
fn changes_of_both_kinds_are_applied() {
    let folder = repository();
    let commit = find(folder.path(), "main").expect("main");
    let list = git(folder.path(), &["rev-list", "--objects", "--no-object-names", "main"], b"");
    for offsets in [&["--delta-base-offset"][..], &[]] {
        let words = [&["pack-objects", "--stdout", "-q", "--window=10"], offsets].concat();
        let pack = git(folder.path(), &words, &list);
        let whole = git(folder.path(), &["cat-file", "-s", "main:src/larger"], b"");
        let size: usize = String::from_utf8(whole).expect("text").trim().parse().expect("a size");
        assert!(pack.len() < size, "the pack holds changes, not whole files");
        let pack = read(&pack).expect("the pack is whole");
        let mut tree = Tree::default();
        checkout(&pack, commit, "", 1000, &mut tree).expect("the commit is whole");
        assert_eq!(tree, expected(folder.path(), "main"));
    }
}

/// Writes a commit with its `.git` directory.
fn keep(pack_bytes: &[u8], commit: Oid, to: &Path) {
    let pack = read(pack_bytes).expect("the pack is whole");
    let mut files = Files { to, index: Index::default() };
    checkout(&pack, commit, "", 1000, &mut files).expect("the commit is whole");
    let Files { index, .. } = files;
    let git = GitDirectory::new(&pack, commit, index, "https://h/r.git").expect("a spool");
    for directory in git.directories {
        fs::create_dir(to.join(directory)).expect("each comes after the one it is in");
    }
    for (path, content) in &git.files {
        fs::write(to.join(path), content).expect(path);
    }
    assert_eq!(git.pack_bytes, pack_bytes.len() as u64);
    fs::write(to.join(&git.pack), pack_bytes).expect("a file");
}

/// Writes files, and an index of them.
struct Files<'a> {
    to: &'a Path,
    index: Index,
}

impl Sink for Files<'_> {
    type Error = std::io::Error;

    fn directory(&mut self, path: &str) -> std::io::Result<()> {
        fs::create_dir(self.to.join(path))
    }

    fn file(&mut self, path: &str, executable: bool, content: &[u8]) -> std::io::Result<()> {
        fs::write(self.to.join(path), content)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(self.to.join(path), mode)
    }

    fn link(&mut self, path: &str, target: &[u8]) -> std::io::Result<()> {
        std::os::unix::fs::symlink(String::from_utf8_lossy(target).as_ref(), self.to.join(path))
    }

    fn listed(&mut self, path: &str, mode: u32, oid: Oid) {
        self.index.add(path, mode, oid);
    }
}

#[test]
fn git_reads_the_directory_that_is_kept() {
    let folder = repository();
    let at = folder.path();
    let commit = find(at, "main").expect("main");
    let list = git(at, &["rev-list", "--objects", "--no-object-names", "main"], b"");
    let deltas = ["pack-objects", "--stdout", "-q", "--window=10"];
    for (pack, commits) in [
        (fetch(at, commit), "1\n"),
        // The whole history, with changes of both kinds.
        (git(at, &deltas, &list), "2\n"),
        (git(at, &[&deltas[..], &["--delta-base-offset"]].concat(), &list), "2\n"),
    ] {
        let kept = tempfile::tempdir().expect("a folder");
        keep(&pack, commit, kept.path());
        let said = |words: &[&str]| {
            String::from_utf8(git(kept.path(), words, b"")).expect("text").trim_end().to_owned()
        };
        assert_eq!(said(&["rev-parse", "HEAD"]), commit.to_string());
        assert_eq!(said(&["status", "--porcelain"]), "");
        assert_eq!(said(&["rev-list", "--count", "HEAD"]) + "\n", commits);
        said(&["fsck", "--strict"]);
        let pack = fs::read_dir(kept.path().join(".git/objects/pack")).expect("a folder");
        let index = pack.map(|entry| entry.expect("an entry").path());
        let index = index.into_iter().find(|path| path.extension().is_some_and(|end| end == "idx"));
        said(&["verify-pack", index.expect("an index").to_str().expect("text")]);
    }
}

#[test]
fn a_part_of_a_commit() {
    let folder = repository();
    let commit = find(folder.path(), "main").expect("main");
    let pack = read(&fetch(folder.path(), commit)).expect("the pack is whole");
    let mut tree = Tree::default();
    checkout(&pack, commit, "src/deep", 1000, &mut tree).expect("there is such a directory");
    assert_eq!(tree.0.keys().collect::<Vec<_>>(), ["er", "er/one"]);
}

/// CVE-2026-33748: the directory of a git reference leads out of the repository.
#[test]
fn cve_2026_33748_directories_that_lead_away() {
    let folder = repository();
    let commit = find(folder.path(), "main").expect("main");
    let pack = read(&fetch(folder.path(), commit)).expect("the pack is whole");
    for directory in ["..", "../../etc", "src/../..", "away", "run.sh", "absent", "src/deep/.."] {
        let found = checkout(&pack, commit, directory, 1000, &mut Tree::default());
        assert!(matches!(found, Err(CheckoutError::NoDirectory { .. })), "{directory}");
    }
}

#[test]
fn names_that_lead_away_are_refused() {
    let folder = repository();
    let at = folder.path();
    let blob = String::from_utf8(git(at, &["hash-object", "-w", "--stdin"], b"x")).expect("text");
    let blob = blob.trim();
    let mut raw = b"100644 ..\0".to_vec();
    raw.extend((0..20).map(|i| u8::from_str_radix(&blob[2 * i..2 * i + 2], 16).expect("hex")));
    let words = ["hash-object", "-t", "tree", "-w", "--literally", "--stdin"];
    let tree = String::from_utf8(git(at, &words, &raw)).expect("text");
    let commit = git(at, &["commit-tree", tree.trim(), "-m", "evil"], b"");
    let commit = String::from_utf8(commit).expect("text");
    let list = format!("{}\n{}\n{blob}\n", commit.trim(), tree.trim());
    let pack = git(at, &["pack-objects", "--stdout", "-q"], list.as_bytes());
    let pack = read(&pack).expect("the pack is whole");
    let commit = commit.trim().parse().expect("a commit");
    let refused = checkout(&pack, commit, "", 1000, &mut Tree::default());
    assert!(matches!(refused, Err(CheckoutError::Tree { .. })), "{refused:?}");
}

#[test]
fn bounds_hold() {
    let folder = repository();
    let commit = find(folder.path(), "main").expect("main");
    let bytes = fetch(folder.path(), commit);
    for limits in [
        Limits { objects: 3, ..LIMITS },
        Limits { object_bytes: 100, ..LIMITS },
        Limits { bytes: 1000, ..LIMITS },
    ] {
        let read = Pack::read(&bytes[..], tempfile::tempfile().expect("a spool"), &limits);
        assert!(matches!(read, Err(PackError::TooLarge { .. })), "{limits:?}");
    }
    let pack = read(&bytes).expect("the pack is whole");
    let walked = checkout(&pack, commit, "", 2, &mut Tree::default());
    assert!(matches!(walked, Err(CheckoutError::TooLarge { .. })));
}

#[test]
fn every_damage_is_noticed() {
    let folder = repository();
    let commit = find(folder.path(), "main").expect("main");
    let bytes = fetch(folder.path(), commit);
    assert!(
        read(&bytes).is_ok_and(|pack| pack.find(commit).is_some_and(|(k, _)| k == Kind::Commit))
    );
    for place in (0..bytes.len()).step_by(bytes.len() / 200 + 1) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        assert!(read(&damaged).is_err(), "byte {place}");
        assert!(read(&bytes[..place]).is_err(), "cut at {place}");
    }
}
