use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::{Meter, fingerprint, remove};

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

/// A tree deeper than the descriptors a walk holds and than a path may be long, with something
/// beside each level.
fn deep(top: &Path, levels: usize) {
    fs::create_dir(top).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    let mut directory = open(top);
    for _ in 0..levels {
        for name in ["a", "z"] {
            rustix::fs::mkdirat(&directory, name, mode).unwrap();
        }
        rustix::fs::symlinkat("/", &directory, "link").unwrap();
        directory = super::open_directory(&directory, c"a").unwrap();
    }
}

#[test]
fn a_tree_of_any_depth_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("top");
    deep(&top, 3000);
    let parent = open(directory.path());
    remove(parent.as_fd(), "top").unwrap();
    assert!(!top.exists());
    remove(parent.as_fd(), "top").unwrap();
}

#[test]
fn files_and_links_are_removed_without_following() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("kept")).unwrap();
    fs::write(directory.path().join("kept/file"), "x").unwrap();
    std::os::unix::fs::symlink("kept", directory.path().join("link")).unwrap();
    fs::write(directory.path().join("file"), "x").unwrap();
    let parent = open(directory.path());
    for name in ["link", "file"] {
        remove(parent.as_fd(), name).unwrap();
    }
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert!(directory.path().join("kept/file").exists());
}

#[test]
fn a_tree_of_any_depth_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    deep(&directory.path().join("top"), 1000);
    let parent = open(directory.path());
    let bytes = Meter::default().measure(parent.as_fd(), "top").unwrap();
    let output = std::process::Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(directory.path().join("top"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(bytes.to_string(), text.split_whitespace().next().unwrap());
    assert_eq!(Meter::default().measure(parent.as_fd(), "none").unwrap(), 0);
}

#[test]
fn a_fingerprint_changes_with_what_it_covers() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("top");
    fs::create_dir_all(top.join("a/b")).unwrap();
    fs::write(top.join("a/file"), "x").unwrap();
    let print = || fingerprint(open(&top)).unwrap();
    let mut seen = vec![print()];
    assert_eq!(print(), seen[0]);
    fs::write(top.join("a/file"), "xy").unwrap();
    seen.push(print());
    std::os::unix::fs::symlink("x", top.join("a/b/link")).unwrap();
    seen.push(print());
    fs::remove_file(top.join("a/b/link")).unwrap();
    std::os::unix::fs::symlink("y", top.join("a/b/link")).unwrap();
    seen.push(print());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}
