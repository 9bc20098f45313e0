use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use hull_oci::{Algorithm, Digest};

use crate::testing::{Fixture, report};
use crate::{CommitError, ErrorKind, LayerMode, ReadError};

#[test]
fn what_was_put_is_read() {
    let fixture = Fixture::new();
    let blobs = fixture.store.blobs();
    let blob = blobs.put_bytes(b"hello").unwrap();
    assert_eq!(blob.digest, Digest::sha256(b"hello"));
    assert_eq!(blob.size, 5);
    assert_eq!(blobs.read(&blob.digest, 5).unwrap(), b"hello");
    assert_eq!(blobs.stat(&blob.digest).unwrap(), Some(5));
    assert!(blobs.contains(&blob.digest).unwrap());
    assert_eq!(blobs.list().unwrap(), std::slice::from_ref(&blob.digest));
    let path = fixture.path(&super::blob_path(&blob.digest));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(fixture.reopened().blobs().read(&blob.digest, 5).unwrap(), b"hello");
}

#[test]
fn what_is_not_there_is_not_found() {
    let fixture = Fixture::new();
    let blobs = fixture.store.blobs();
    let digest = Digest::sha256(b"nothing");
    let error = blobs.open(&digest).unwrap_err();
    assert!(matches!(error, ReadError::NotFound(_)));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(blobs.stat(&digest).unwrap(), None);
}

#[test]
fn a_read_is_bounded() {
    let fixture = Fixture::new();
    let blob = fixture.store.blobs().put_bytes(b"hello").unwrap();
    let error = fixture.store.blobs().read(&blob.digest, 4).unwrap_err();
    assert!(matches!(error, ReadError::TooLarge { size: 5, max: 4, .. }));
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let fixture = Fixture::new();
    let promised = Digest::sha256(b"promised");
    let mut ingest = fixture.store.blobs().ingest().unwrap();
    ingest.write_all(b"other").unwrap();
    let error = ingest.commit(Some(&promised)).unwrap_err();
    assert!(matches!(&error, CommitError::DigestMismatch { bytes: 5, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(fixture.entries("blobs/sha256").is_empty());
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn a_dropped_ingest_leaves_nothing() {
    let fixture = Fixture::new();
    let mut ingest = fixture.store.blobs().ingest().unwrap();
    ingest.write_bytes(b"half").unwrap();
    assert!(fixture.entries("ingest").is_empty());
    drop(ingest);
    assert!(fixture.entries("blobs/sha256").is_empty());
}

#[test]
fn the_same_bytes_twice_are_one_blob() {
    let fixture = Fixture::new();
    let first = fixture.store.blobs().put_bytes(b"same").unwrap();
    let second = fixture.store.blobs().put_bytes(b"same").unwrap();
    assert_eq!(first, second);
    assert_eq!(fixture.entries("blobs/sha256").len(), 1);
}

#[test]
fn a_blob_that_was_cut_short_is_replaced() {
    let fixture = Fixture::new();
    let blob = fixture.store.blobs().put_bytes(b"whole").unwrap();
    let path = fixture.path(&super::blob_path(&blob.digest));
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"").unwrap();
    fixture.store.blobs().put_bytes(b"whole").unwrap();
    assert_eq!(fixture.store.blobs().read(&blob.digest, 5).unwrap(), b"whole");
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn sha512_blobs_lie_beside() {
    let fixture = Fixture::new();
    let mut ingest = fixture.store.blobs().ingest_as(Algorithm::Sha512).unwrap();
    ingest.write_bytes(b"long").unwrap();
    let blob = ingest.commit(None).unwrap();
    assert_eq!(blob.digest.algorithm(), Algorithm::Sha512);
    assert_eq!(fixture.store.blobs().read(&blob.digest, 9).unwrap(), b"long");
}

#[test]
fn a_file_somebody_else_filled_becomes_a_blob() {
    let fixture = Fixture::new();
    let blobs = fixture.store.blobs();
    let mut file = blobs.temporary().unwrap();
    file.write_all(b"from a worker").unwrap();
    let digest = Digest::sha256(b"from a worker");
    assert_eq!(blobs.commit_file(&file, &digest).unwrap().size, 13);
    assert_eq!(blobs.read(&digest, 99).unwrap(), b"from a worker");
}

#[test]
fn an_uncompressed_layer_is_read_by_its_digest() {
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_some() {
        return;
    }
    let diff_id = fixture.layer("tar");
    assert_eq!(diff_id, report("tar").diff_id);
    assert_eq!(fixture.store.blobs().stat(&diff_id).unwrap(), Some(512));
    let mut bytes = Vec::new();
    fixture.store.blobs().open(&diff_id).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::sha256(&bytes), diff_id);
}

#[test]
fn what_has_arrived_is_continued_and_becomes_a_blob() {
    let fixture = Fixture::new();
    let digest = Digest::sha256(b"first second");
    let partial = fixture.store.blobs().try_partial(&digest).unwrap().unwrap();
    partial.file().write_all(b"first ").unwrap();
    assert!(fixture.reopened().blobs().try_partial(&digest).unwrap().is_none(), "it is locked");
    drop(partial);
    let store = fixture.reopened();
    let partial = store.blobs().try_partial(&digest).unwrap().unwrap();
    assert_eq!(partial.len().unwrap(), 6);
    let mut file = partial.file();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(b"second").unwrap();
    assert_eq!(partial.commit().unwrap().size, 12);
    assert_eq!(store.blobs().read(&digest, 99).unwrap(), b"first second");
    let path = fixture.path(&super::blob_path(&digest));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o444);
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn a_writer_that_waited_does_not_write_into_the_blob() {
    let fixture = Fixture::new();
    let digest = Digest::sha256(b"whole");
    let partial = fixture.store.blobs().try_partial(&digest).unwrap().unwrap();
    partial.file().write_all(b"whole").unwrap();
    partial.commit().unwrap();
    let late = fixture.store.blobs().try_partial(&digest).unwrap().unwrap();
    assert!(late.is_empty().unwrap(), "a file of its own");
    drop(late);
    assert!(fixture.entries("ingest").is_empty(), "an empty one is not kept");
    let discarded = fixture.store.blobs().try_partial(&digest).unwrap().unwrap();
    discarded.file().write_all(b"x").unwrap();
    discarded.discard().unwrap();
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn many_writers_of_one_blob_agree() {
    let fixture = Fixture::new();
    let bytes = vec![7; 300_000];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = fixture.reopened();
                for _ in 0..10 {
                    store.blobs().put_bytes(&bytes).unwrap();
                }
            });
        }
    });
    let blob = fixture.store.blobs().put_bytes(&bytes).unwrap();
    assert_eq!(fixture.store.blobs().read(&blob.digest, 300_000).unwrap(), bytes);
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn an_upload_goes_on_in_another_process() {
    use crate::{OpenUpload, UploadRecord};
    let fixture = Fixture::new();
    let about =
        UploadRecord { registry: "localhost:5000".to_owned(), repository: "app".to_owned() };
    let mut upload = fixture.store.blobs().start_upload(&about).unwrap();
    let id = upload.id().to_owned();
    upload.append(b"first ").unwrap();
    let other = fixture.reopened();
    assert!(matches!(other.blobs().open_upload(&id).unwrap(), OpenUpload::Busy));
    drop(upload);
    assert_eq!(fixture.store.collect().unwrap().ingests, 0, "a collection leaves it");
    let OpenUpload::Open(mut upload) = other.blobs().open_upload(&id).unwrap() else { panic!() };
    assert_eq!((upload.size(), upload.record()), (6, &about));
    upload.append(b"second").unwrap();
    let digest = upload.digest(hull_oci::Algorithm::Sha512).unwrap();
    other.blobs().commit_upload(&upload, &digest).unwrap();
    assert_eq!(other.blobs().read(&digest, 99).unwrap(), b"first second");
    assert!(matches!(other.blobs().open_upload(&id).unwrap(), OpenUpload::Missing));
    assert!(matches!(other.blobs().open_upload("../../x").unwrap(), OpenUpload::Missing));
    drop(upload);

    let forgotten = other.blobs().start_upload(&about).unwrap();
    let path = fixture.path(&format!("uploads/{}/data", forgotten.id()));
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - crate::UPLOAD_LIFE).unwrap();
    assert_eq!(other.collect().unwrap().ingests, 1);
    assert!(fixture.entries("uploads").is_empty());
}
