use std::fs;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use hull_oci::{Algorithm, Digest};
use rustix::fs::{Mode, OFlags};

use super::{LayerMode, Probe};
use crate::layer::{Input, Limits, Target, read_layer};
use crate::testing::{Fixture, is_root, report, write_layer};
use crate::{ErrorKind, MountError, PublishError, Store, StoreOptions};

/// Runs a test in every mode that works here.
fn in_each_mode(test: impl Fn(Fixture)) {
    test(Fixture::with_mode(LayerMode::Unpack));
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_none() {
        test(fixture);
    }
}

pub(crate) fn content(directory: impl AsFd, name: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).unwrap();
    let mut text = String::new();
    fs::File::from(file).read_to_string(&mut text).unwrap();
    text
}

fn mounts_below(fixture: &Fixture) -> usize {
    let path = fixture.store.exec_root().join("layers/");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(path.to_str().unwrap())).count()
}

#[test]
fn a_published_layer_is_described() {
    in_each_mode(|fixture| {
        let layers = fixture.store.layers();
        assert!(!layers.contains(&report("a").diff_id).unwrap());
        let diff_id = fixture.layer("a");
        assert!(layers.contains(&diff_id).unwrap());
        let info = layers.info(&diff_id).unwrap();
        assert_eq!(info.diff_id, diff_id);
        assert_eq!((info.size, info.tar_size, info.entries), (100, 512, 1));
        assert_eq!(info.mode, fixture.store.layer_mode().unwrap().mode);
        assert_eq!(layers.list().unwrap(), [diff_id]);
        let digest = report("a").digest;
        assert_eq!(layers.find_by_digest(&digest).unwrap(), Some(info));
        assert!(fixture.entries("ingest").is_empty());
    });
}

/// A tar of `length` bytes with one file in it.
fn tar_of(length: usize) -> Vec<u8> {
    let size = length - 3 * 512;
    let mut tar = vec![0; 512];
    tar[..5].copy_from_slice(b"./big");
    tar[100..108].copy_from_slice(b"0000644\0");
    tar[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    tar[156] = b'0';
    tar[257..265].copy_from_slice(b"ustar\x0000");
    tar[148..156].fill(b' ');
    let sum: u32 = tar.iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend((0..size).map(|at| u8::try_from(at % 251).unwrap()));
    tar.resize(length, 0);
    tar
}

/// As it arrives: past the page cache in whole blocks, and then cut to its length.
#[test]
fn a_large_layer_is_the_same_past_the_page_cache() {
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_some() {
        return;
    }
    for length in [4096, 10_240, 1 << 20, (1 << 20) + 512, (3 << 20) - 512] {
        let tar = tar_of(length);
        let ingest = fixture.store.layers().prepare().unwrap();
        let outputs = ingest.descriptors_for(1 << 30).unwrap();
        let [file, index] = <[OwnedFd; 2]>::try_from(outputs).unwrap();
        let flags = rustix::fs::fcntl_getfl(&file).unwrap();
        let asked = rustix::fs::statx(
            &file,
            "",
            rustix::fs::AtFlags::EMPTY_PATH,
            rustix::fs::StatxFlags::DIOALIGN,
        );
        let can = asked.unwrap().stx_dio_offset_align;
        assert_eq!(flags.contains(OFlags::DIRECT), (1..=4096).contains(&can), "{can}");
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(&tar).unwrap();
        let input = Input::Range { file: input, offset: 0, length: length as u64 };
        let target = Target::Erofs { tar: file.into(), index: index.into() };
        let limits = Limits { max_bytes: 1 << 30, max_entries: 10 };
        let report = read_layer(input, target, Algorithm::Sha256, limits).unwrap();
        assert_eq!((&report.diff_id, report.tar_size), (&Digest::sha256(&tar), length as u64));
        let diff_id = report.diff_id.clone();
        fixture.store.layers().publish(ingest, report).unwrap();
        let kept = fs::read(fixture.path(&format!("layers/{}/tar", diff_id.hex()))).unwrap();
        assert!(kept == tar, "{length}");
    }
}

#[test]
fn an_unpublished_layer_leaves_nothing() {
    in_each_mode(|fixture| {
        let ingest = fixture.store.layers().prepare().unwrap();
        write_layer(&ingest, "half");
        assert_eq!(fixture.entries("ingest").len(), 1);
        drop(ingest);
        assert!(fixture.entries("ingest").is_empty());
        assert!(fixture.entries("layers").is_empty());
    });
}

#[test]
fn the_first_of_two_equal_layers_stays() {
    in_each_mode(|fixture| {
        let ingests = [0, 1].map(|_| fixture.store.layers().prepare().unwrap());
        for ingest in ingests {
            write_layer(&ingest, "same");
            fixture.store.layers().publish(ingest, report("same")).unwrap();
        }
        assert_eq!(fixture.entries("layers").len(), 1);
        assert!(fixture.entries("ingest").is_empty());
    });
}

#[test]
fn a_short_tar_is_not_published() {
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_some() {
        return;
    }
    let ingest = fixture.store.layers().prepare().unwrap();
    let error = fixture.store.layers().publish(ingest, report("short")).unwrap_err();
    assert!(matches!(error, PublishError::Incomplete { expected: 512, actual: 0, .. }));
    assert!(fixture.entries("layers").is_empty());
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn an_index_that_is_not_the_workers_is_not_published() {
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_some() {
        return;
    }
    let ingest = fixture.store.layers().prepare().unwrap();
    write_layer(&ingest, "mine");
    let mut report = report("mine");
    report.index = Some(report.digest.clone());
    let error = fixture.store.layers().publish(ingest, report).unwrap_err();
    assert!(matches!(error, PublishError::IndexMismatch { .. }), "{error}");
    assert!(fixture.entries("layers").is_empty());
}

#[test]
fn a_missing_layer_is_not_found() {
    let fixture = Fixture::new();
    let diff_id = report("never").diff_id;
    let error = fixture.store.layers().mount(&diff_id).unwrap_err();
    assert!(matches!(error, MountError::NotFound(_)), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fixture.store.layers().info(&diff_id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn privileged_a_layer_is_read_through_its_mount() {
    if !is_root("a_layer_is_read_through_its_mount") {
        return;
    }
    in_each_mode(|fixture| {
        let diff_id = fixture.layer("seen");
        for _ in 0..2 {
            let tree: OwnedFd = fixture.store.layers().mount(&diff_id).unwrap();
            assert_eq!(content(tree, "file"), "seen");
        }
        let erofs = fixture.store.layer_mode().unwrap().mode == LayerMode::Erofs;
        let mounted = fixture.store.layers().mounts().unwrap();
        assert_eq!(mounted, if erofs { vec![diff_id] } else { vec![] });
        assert_eq!(mounts_below(&fixture), usize::from(erofs));
        fixture.store.layers().detach_all().unwrap();
        assert_eq!(mounts_below(&fixture), 0);
    });
}

#[test]
fn privileged_a_layer_is_mounted_once_for_all() {
    if !is_root("a_layer_is_mounted_once_for_all") {
        return;
    }
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_some() {
        return;
    }
    let ids = ["one", "two", "three"].map(|content| fixture.layer(content));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = fixture.reopened();
                for diff_id in &ids {
                    store.layers().mount(diff_id).unwrap();
                }
            });
        }
    });
    assert_eq!(mounts_below(&fixture), 3);
    assert_eq!(fixture.store.layers().mounts().unwrap().len(), 3);
}

#[test]
fn privileged_a_mount_point_without_its_mount_is_used_again() {
    if !is_root("a_mount_point_without_its_mount_is_used_again") {
        return;
    }
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_some() {
        return;
    }
    let diff_id = fixture.layer("again");
    let point = fixture.store.exec_root().join("layers").join(diff_id.hex());
    fs::create_dir_all(point).unwrap();
    let tree = fixture.store.layers().mount(&diff_id).unwrap();
    assert_eq!(content(tree, "file"), "again");
}

#[test]
fn privileged_the_probe_is_remembered() {
    if !is_root("the_probe_is_remembered") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        Store::open(StoreOptions {
            data_root: directory.path().join("data"),
            exec_root: directory.path().join("run"),
            layer_mode: None,
        })
        .unwrap()
    };
    let first = open().layer_mode().unwrap().clone();
    let remembered = directory.path().join("data/layer-mode");
    let text = fs::read_to_string(&remembered).unwrap();
    assert_eq!(*open().layer_mode().unwrap(), first);
    assert_eq!(fs::read_dir(directory.path().join("data/ingest")).unwrap().count(), 0);

    // What is remembered is believed, for this kernel only.
    let mut known: serde_json::Value = serde_json::from_str(&text).unwrap();
    known["reason"] = "said so".into();
    fs::write(&remembered, known.to_string()).unwrap();
    let expected = Probe { mode: LayerMode::Unpack, reason: Some("said so".to_owned()) };
    assert_eq!(*open().layer_mode().unwrap(), expected);
    known["kernel"] = "1.0".into();
    fs::write(&remembered, known.to_string()).unwrap();
    assert_eq!(*open().layer_mode().unwrap(), first);
}

#[test]
fn privileged_the_probe_says_why_erofs_does_not_work() {
    if !is_root("the_probe_says_why_erofs_does_not_work") {
        return;
    }
    // No file on a tmpfs can back a mount before Linux learns to; if it has, there is nothing to
    // say.
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Store::open(StoreOptions {
        data_root: directory.path().join("data"),
        exec_root: directory.path().join("run"),
        layer_mode: Some(LayerMode::Erofs),
    })
    .unwrap();
    if let Some(reason) = &store.layer_mode().unwrap().reason {
        assert!(reason.contains("EROFS"), "{reason}");
        let error = store.layers().prepare().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(reason), "{error}");
    }
}
