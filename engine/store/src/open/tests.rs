use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{OpenError, Store, StoreOptions};
use crate::ErrorKind;

fn open(directory: &Path) -> Result<Store, OpenError> {
    Store::open(StoreOptions {
        data_root: directory.join("a/b/data"),
        exec_root: directory.join("run"),
        layer_mode: None,
    })
}

#[test]
fn a_store_is_made_and_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/b/data");
    for _ in 0..2 {
        let store = open(directory.path()).unwrap();
        assert_eq!(store.data_root(), root);
        assert_eq!(fs::read_to_string(root.join("VERSION")).unwrap(), "1\n");
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o700);
    }
    assert!(!directory.path().join("run").exists());
}

#[test]
fn an_unknown_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap();
    let version = directory.path().join("a/b/data/VERSION");
    for text in ["2\n", "", "one", "1.0\n"] {
        fs::write(&version, text).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::UnknownFormat { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Precondition);
        assert_eq!(fs::read_to_string(&version).unwrap(), text);
    }
}

#[test]
fn a_foreign_directory_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/b/data");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("thesis.tex"), "x").unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn a_half_made_store_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/b/data");
    fs::create_dir_all(root.join("blobs")).unwrap();
    fs::create_dir_all(root.join("lost+found")).unwrap();
    let store = open(directory.path()).unwrap();
    store.blobs().put_bytes(b"works").unwrap();
}

#[test]
fn many_may_make_a_store_at_once() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = directory.path();
                scope.spawn(move || {
                    let store = open(path).unwrap();
                    store.blobs().put_bytes(format!("{number}").as_bytes()).unwrap();
                });
            }
        });
        assert_eq!(open(directory.path()).unwrap().blobs().list().unwrap().len(), 8);
    }
}
