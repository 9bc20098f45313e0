//! Jobs on whole trees, done by the worker itself: check-outs, lists of packages.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use hull_worker::client::{WorkerError, run};
use hull_worker::job::{Answer, Job};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hull-worker"))
}

fn directory(path: &Path) -> OwnedFd {
    OwnedFd::from(File::open(path).expect("it is there"))
}

fn git(folder: &Path, words: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"])
        .args(words)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null())
        .output()
        .expect("git is part of every checkout of this project");
    assert!(output.status.success(), "git {words:?}");
    output.stdout
}

/// A commit and all it holds as a pack.
fn repository(folder: &Path) -> (String, File) {
    git(folder, &["init", "-q"]);
    fs::create_dir(folder.join("src")).expect("a folder");
    fs::write(folder.join("src/main.c"), "int main(void) {}\n").expect("a file");
    fs::write(folder.join("run"), "#!/bin/sh\n").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(folder.join("run"), mode).expect("a mode");
    symlink("/etc/passwd", folder.join("link")).expect("a link");
    git(folder, &["add", "."]);
    git(folder, &["commit", "-qm", "one"]);
    let commit = String::from_utf8(git(folder, &["rev-parse", "HEAD"])).expect("text");
    let mut pack = tempfile::tempfile().expect("a file");
    let mut objects = Command::new("git");
    objects.current_dir(folder).args(["pack-objects", "--revs", "--stdout", "-q"]);
    let mut child = objects
        .stdin(Stdio::piped())
        .stdout(pack.try_clone().expect("a file"))
        .spawn()
        .expect("git");
    child.stdin.take().expect("piped").write_all(b"HEAD\n").expect("git reads it");
    assert!(child.wait().expect("git ends").success());
    std::io::Seek::rewind(&mut pack).expect("a file");
    (commit.trim().to_owned(), pack)
}

fn check_out(pack: &File, to: &Path, commit: &str, below: &str) -> Result<Answer, WorkerError> {
    let spool = tempfile::tempfile().expect("a spool");
    let job = Job::CheckOut {
        commit: commit.to_owned(),
        directory: below.to_owned(),
        origin: None,
        max_bytes: 1 << 20,
    };
    let to = directory(to);
    run(program(), &job, &[pack.as_fd(), spool.as_fd(), to.as_fd()])
}

#[test]
fn the_files_of_a_commit() {
    let (from, to) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (commit, pack) = repository(from.path());
    let answer = check_out(&pack, to.path(), &commit, "").expect("the worker does it");
    assert!(matches!(answer, Answer::CheckedOut { commit: found, .. } if found == commit));
    let mode = |name| fs::symlink_metadata(to.path().join(name)).expect(name).mode() & 0o7777;
    assert_eq!((mode("src"), mode("src/main.c"), mode("run")), (0o755, 0o644, 0o755));
    let link = fs::read_link(to.path().join("link")).expect("a link");
    assert_eq!(link, Path::new("/etc/passwd"));
    assert!(!to.path().join(".git").exists());
}

#[test]
fn what_is_no_pack_leaves_a_clear_word() {
    let (from, to) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (commit, mut pack) = repository(from.path());
    let missing = check_out(&pack, to.path(), &commit, "absent").expect_err("no such directory");
    assert!(missing.to_string().contains("has no directory \"absent\""), "{missing}");
    pack.set_len(100).expect("a file");
    std::io::Seek::rewind(&mut pack).expect("a file");
    let damaged = check_out(&pack, to.path(), &commit, "").expect_err("it is cut short");
    assert!(damaged.to_string().contains("the pack cannot be read"), "{damaged}");
}

#[test]
fn packages_are_read_inside_the_root_alone() {
    let (root, outside) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let record = "Package: inside\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n";
    fs::create_dir_all(root.path().join("var/lib/dpkg")).expect("folders");
    fs::create_dir_all(root.path().join("usr/lib")).expect("folders");
    fs::create_dir_all(root.path().join("etc")).expect("folders");
    fs::write(root.path().join("var/lib/dpkg/status"), record).expect("a file");
    fs::write(root.path().join("usr/lib/os-release"), "ID=sample\nVERSION_ID=3\n").expect("a file");
    // An absolute link leads inside the root; one to what is only on the host leads nowhere.
    symlink("/usr/lib/os-release", root.path().join("etc/os-release")).expect("a link");
    fs::write(outside.path().join("installed"), "P:outside\nV:1\n").expect("a file");
    fs::create_dir_all(root.path().join("lib/apk/db")).expect("folders");
    symlink(outside.path().join("installed"), root.path().join("lib/apk/db/installed"))
        .expect("a link");
    let root = directory(root.path());
    let answer = run(program(), &Job::Packages, &[root.as_fd()]).expect("the worker does it");
    let Answer::Packages { release, packages } = answer else { panic!("{answer:?}") };
    assert_eq!((&release.id[..], &release.version[..]), ("sample", "3"));
    let names: Vec<&str> = packages.iter().map(|package| &package.name[..]).collect();
    assert_eq!(names, ["inside"]);
}
