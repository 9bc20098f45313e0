use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use hull_oci::{Descriptor, Digest, media_type};

use super::{is_name, record};
use crate::testing::{Fixture, container, image_record, reference, volume};
use crate::{
    CreateContainerError, CreateVolumeError, Durability, ErrorKind, FindContainerError,
    PutImageError, RecordError, SetRefError, UpdateError,
};

const DURABLE: Durability = Durability::Durable;
const VOLATILE: Durability = Durability::Volatile;

fn fixture() -> (Fixture, (Digest, Digest)) {
    let fixture = Fixture::new();
    let image = fixture.image("test", &[]);
    (fixture, image)
}

#[test]
fn names() {
    for name in ["ab", "a_", "web-1.2_x", "0x", &"a".repeat(255)] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "a", ".a", "-a", "_a", "a/b", "a b", "..", "ä1", "a\0", &"a".repeat(256)] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn images() {
    let (fixture, (digest, _)) = fixture();
    let store = fixture.reopened();
    let record = store.image(&digest).unwrap().unwrap();
    assert_eq!(record.descriptor.digest, digest);
    assert_eq!(store.images().unwrap(), std::slice::from_ref(&record));
    let other = image_record(Descriptor::of(media_type::OCI_MANIFEST, b"never put"));
    let error = store.put_image(&other).unwrap_err();
    assert!(matches!(error, PutImageError::MissingManifest(_)));

    let again = crate::ImageRecord { origin: "again".to_owned(), ..record.clone() };
    store.put_image(&again).unwrap();
    assert_eq!(store.image(&digest).unwrap(), Some(record));
    assert!(store.remove_image(&digest).unwrap());
    assert!(!store.remove_image(&digest).unwrap());
    assert_eq!(store.image(&digest).unwrap(), None);
}

#[test]
fn references() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    let target = store.image(&image.0).unwrap().unwrap().descriptor;
    let digest = format!("example.com:5000/a/b@{}", image.0);
    let texts = ["busybox:1", "busybox:latest", "busybox/sub:1", "[::1]:80/x:1", "a.b/_c:1"];
    for text in texts.into_iter().chain([digest.as_str()]) {
        let Ok(parsed) = text.parse() else { continue };
        assert_eq!(store.resolve(&parsed).unwrap(), None);
        store.set_ref(&parsed, &target).unwrap();
        assert_eq!(store.resolve(&parsed).unwrap().as_ref(), Some(&target));
    }
    let listed = store.refs().unwrap();
    let mut names: Vec<_> = listed.iter().map(|(reference, _)| reference.to_string()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "[::1]:80/x:1",
            "docker.io/busybox/sub:1",
            "docker.io/library/busybox:1",
            "docker.io/library/busybox:latest",
            &digest,
        ]
    );
    for (reference, _) in listed {
        assert!(store.remove_ref(&reference).unwrap());
        assert!(!store.remove_ref(&reference).unwrap());
        assert_eq!(store.resolve(&reference).unwrap(), None);
    }
    assert!(fixture.entries("refs").is_empty());
}

#[test]
fn a_tag_moves() {
    let (fixture, first) = fixture();
    let second = fixture.image("other", &[]);
    let name = reference("busybox:1");
    for digest in [&first.0, &second.0] {
        let target = fixture.store.image(digest).unwrap().unwrap().descriptor;
        fixture.store.set_ref(&name, &target).unwrap();
        assert_eq!(fixture.store.resolve(&name).unwrap(), Some(target));
    }
    assert_eq!(fixture.store.images().unwrap().len(), 2);
}

#[test]
fn references_that_cannot_be_set() {
    let (fixture, image) = fixture();
    let target = fixture.store.image(&image.0).unwrap().unwrap().descriptor;
    let error = fixture.store.set_ref(&reference("busybox"), &target).unwrap_err();
    assert!(matches!(error, SetRefError::Unspecific(_)));
    let missing = Descriptor::of(media_type::OCI_MANIFEST, b"never put");
    let error = fixture.store.set_ref(&reference("busybox:1"), &missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(fixture.entries("refs").is_empty());
}

#[test]
fn setting_and_removing_tags_of_a_repository_at_once() {
    let (fixture, image) = fixture();
    let target = fixture.store.image(&image.0).unwrap().unwrap().descriptor;
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (fixture, target) = (&fixture, &target);
            scope.spawn(move || {
                let store = fixture.reopened();
                let name = reference(&format!("deep/er/repo:{number}"));
                for _ in 0..30 {
                    store.set_ref(&name, target).unwrap();
                    assert!(store.resolve(&name).unwrap().is_some());
                    assert!(store.remove_ref(&name).unwrap());
                }
            });
        }
    });
    assert!(fixture.entries("refs").is_empty());
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn containers_are_found_as_people_name_them() {
    let (fixture, image) = fixture();
    let store = fixture.reopened();
    let mut first = container(0x1abc, "web", &image);
    first.id = format!("1abc{}", "0".repeat(60));
    let mut second = container(2, "db", &image);
    second.id = format!("1abd{}", "0".repeat(60));
    for (record, durability) in [(&first, DURABLE), (&second, VOLATILE)] {
        store.create_container(record, durability).unwrap();
    }
    for text in [&first.id, "web", "1abc"] {
        assert_eq!(store.container(text).unwrap(), first, "{text}");
    }
    assert!(matches!(store.container("1ab"), Err(FindContainerError::Ambiguous(_))));
    for text in ["", "x", "web2", "../web", "2", &"0".repeat(64), &"a".repeat(300)] {
        let error = store.container(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
    }
    assert_eq!(store.containers().unwrap(), [first.clone(), second]);
    for part in ["rw", "work", "config.json"] {
        assert!(store.container_directory(&first.id).join(part).exists(), "{part}");
    }
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn a_container_that_cannot_be_created_leaves_nothing() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    store.create_container(&container(1, "web", &image), DURABLE).unwrap();
    let cases = [
        (container(2, "web", &image), ErrorKind::AlreadyExists),
        (container(1, "other", &image), ErrorKind::AlreadyExists),
        (container(2, "a/b", &image), ErrorKind::Invalid),
        (
            crate::ContainerRecord { id: "../x".to_owned(), ..container(2, "x2", &image) },
            ErrorKind::Invalid,
        ),
        (
            crate::ContainerRecord { image: Digest::sha256(b"gone"), ..container(2, "x2", &image) },
            ErrorKind::NotFound,
        ),
    ];
    for (record, kind) in cases {
        let error = store.create_container(&record, DURABLE).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(fixture.entries("containers").len(), 1);
    assert_eq!(fixture.entries("names"), ["web"]);
    assert!(fixture.entries("ingest").is_empty());
    let error = store.create_container(&container(2, "web", &image), DURABLE).unwrap_err();
    let CreateContainerError::NameTaken { owner, .. } = error else { panic!("{error}") };
    assert_eq!(owner, container(1, "web", &image).id);
}

#[test]
fn of_many_who_want_a_name_one_gets_it() {
    let (fixture, image) = fixture();
    for round in 0..5 {
        let winners = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (fixture, image, winners) = (&fixture, &image, &winners);
                scope.spawn(move || {
                    let store = fixture.reopened();
                    let record = container(round * 8 + number, &format!("name{round}"), image);
                    match store.create_container(&record, VOLATILE) {
                        Ok(()) => _ = winners.fetch_add(1, Ordering::Relaxed),
                        Err(CreateContainerError::NameTaken { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
    assert_eq!(fixture.store.containers().unwrap().len(), 5);
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn a_name_whose_container_never_came_to_be_is_free() {
    let (fixture, image) = fixture();
    std::os::unix::fs::symlink("f".repeat(64), fixture.path("names/web")).unwrap();
    let record = container(1, "web", &image);
    fixture.store.create_container(&record, DURABLE).unwrap();
    assert_eq!(fixture.store.container("web").unwrap(), record);
}

#[test]
fn a_container_is_renamed() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    let record = container(1, "old", &image);
    store.create_container(&record, DURABLE).unwrap();
    store.create_container(&container(2, "taken", &image), DURABLE).unwrap();
    let rename = |name: &str| {
        let name = name.to_owned();
        store.update_container("old", |record| record.name = name)
    };
    assert!(matches!(rename("taken"), Err(UpdateError::NameTaken { .. })));
    assert!(matches!(rename("-"), Err(UpdateError::Name(_))));
    assert_eq!(store.container("old").unwrap(), record);
    let renamed = rename("new").unwrap();
    assert_eq!(store.container("new").unwrap(), renamed);
    assert_eq!(renamed.id, record.id);
    assert_eq!(store.container("old").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fixture.entries("names"), ["new", "taken"]);
    store.create_container(&container(3, "old", &image), DURABLE).unwrap();
}

#[test]
fn a_removed_container_is_gone() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    let record = container(1, "web", &image);
    store.create_container(&record, VOLATILE).unwrap();
    let mut deep = store.container_directory(&record.id).join("rw");
    for _ in 0..200 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
    }
    assert!(store.remove_container(&record.id).unwrap());
    assert!(!store.remove_container(&record.id).unwrap());
    for directory in ["containers", "names", "trash"] {
        assert!(fixture.entries(directory).is_empty(), "{directory}");
    }
}

#[test]
fn a_removed_container_leaves_a_name_that_is_not_its_own() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    let record = container(1, "web", &image);
    store.create_container(&record, VOLATILE).unwrap();
    fs::remove_file(fixture.path("names/web")).unwrap();
    let other = container(2, "web", &image);
    store.create_container(&other, VOLATILE).unwrap();
    store.remove_container(&record.id).unwrap();
    assert_eq!(store.container("web").unwrap(), other);
}

#[test]
fn records_of_another_format_are_refused_one_by_one() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    for (number, name) in [(1, "new-format"), (2, "broken"), (3, "fine")] {
        store.create_container(&container(number, name, &image), VOLATILE).unwrap();
    }
    let path = |number: u32| fixture.path(&format!("containers/{number:064x}/config.json"));
    for (number, text) in [(1, r#"{"format":2,"id":7}"#), (2, r#"{"format":1}"#)] {
        fs::remove_file(path(number)).unwrap();
        fs::write(path(number), text).unwrap();
    }
    let error = store.container("new-format").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition);
    assert!(error.to_string().contains("has format 2"), "{error}");
    let error = store.container("broken").unwrap_err();
    assert!(matches!(error, FindContainerError::Record(RecordError::Malformed { .. })));
    assert_eq!(store.containers().unwrap().len(), 1);
    assert!(store.container("fine").is_ok());
}

#[test]
fn volumes() {
    let fixture = Fixture::new();
    let store = fixture.reopened();
    let record = volume("data");
    store.create_volume(&record, DURABLE).unwrap();
    store.create_volume(&volume("other"), VOLATILE).unwrap();
    let error = store.create_volume(&record, DURABLE).unwrap_err();
    assert!(matches!(error, CreateVolumeError::Exists(_)));
    let error = store.create_volume(&volume("../x"), DURABLE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(store.volume("data").unwrap(), record);
    assert_eq!(store.volumes().unwrap().len(), 2);
    assert_eq!(store.volume("none").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.volume("../volumes/data").unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(store.volume_path("data").join("file"), "x").unwrap();
    let files = store.open_volume("data").unwrap();
    assert_eq!(crate::layers::tests::content(files, "file"), "x");
    assert!(store.remove_volume("data").unwrap());
    assert!(!store.remove_volume("data").unwrap());
    assert!(!store.remove_volume("..").unwrap());
    assert!(fixture.entries("trash").is_empty());
    assert!(fixture.entries("ingest").is_empty());
}

#[test]
fn a_volume_in_use_stays() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    let mut record = container(1, "web", &image);
    record.volumes.push("data".to_owned());
    let error = store.create_container(&record, VOLATILE).unwrap_err();
    assert!(matches!(error, CreateContainerError::MissingVolume(_)), "{error}");
    assert!(fixture.entries("names").is_empty());
    store.create_volume(&volume("data"), VOLATILE).unwrap();
    store.create_container(&record, VOLATILE).unwrap();
    let error = store.remove_unused_volume("data").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition);
    assert!(error.to_string().contains(&record.id), "{error}");
    store.remove_container(&record.id).unwrap();
    assert!(store.remove_unused_volume("data").unwrap());
    assert!(!store.remove_unused_volume("data").unwrap());
}

#[test]
fn a_container_and_the_removal_of_its_volume_at_once() {
    let (fixture, image) = fixture();
    for round in 0..20 {
        fixture.store.create_volume(&volume("data"), VOLATILE).unwrap();
        let mut record = container(round, "web", &image);
        record.volumes.push("data".to_owned());
        std::thread::scope(|scope| {
            scope.spawn(|| _ = fixture.reopened().create_container(&record, VOLATILE));
            scope.spawn(|| _ = fixture.reopened().remove_unused_volume("data"));
        });
        let created = fixture.store.container("web").is_ok();
        assert_eq!(fixture.store.volume("data").is_ok(), created);
        fixture.store.remove_container(&record.id).unwrap();
        fixture.store.remove_volume("data").unwrap();
    }
}

#[test]
fn a_lease_is_gone_with_its_holder() {
    let fixture = Fixture::new();
    let lease = fixture.store.lease().unwrap();
    lease.add(&Digest::sha256(b"x")).unwrap();
    assert_eq!(fixture.entries("leases").len(), 1);
    drop(lease);
    assert!(fixture.entries("leases").is_empty());
}

#[test]
fn a_record_keeps_its_format_beside_its_fields() {
    let record = volume("data");
    let json: serde_json::Value = serde_json::from_slice(&record::encode(&record)).unwrap();
    assert_eq!((&json["format"], &json["name"]), (&1.into(), &"data".into()));
}

#[test]
fn what_was_pushed_stays_until_it_is_deleted() {
    let (fixture, image) = fixture();
    let store = &fixture.store;
    let target = store.image(&image.0).unwrap().unwrap().descriptor;
    store.serve_registry("localhost:5000").unwrap();
    let repository = store.repository("localhost:5000", "team/app").unwrap();
    assert!(store.repositories("localhost:5000").unwrap().is_empty());
    repository.add_manifest(&target).unwrap();
    store.remove_image(&image.0).unwrap();
    assert!(store.collect().unwrap().blobs.is_empty(), "the repository holds it");
    assert_eq!(store.repositories("localhost:5000").unwrap(), ["team/app"]);
    assert_eq!(store.served_manifests().unwrap(), std::slice::from_ref(&image.0));
    assert!(store.refs().unwrap().is_empty(), "a manifest without a name names no image");
    assert!(store.check(crate::CheckOptions::default()).unwrap().is_sound());

    repository.set_removed(&image.0, true).unwrap();
    assert!(repository.is_removed(&image.0).unwrap());
    repository.set_removed(&image.0, false).unwrap();
    assert!(repository.remove_manifest(&image.0).unwrap());
    assert!(!repository.remove_manifest(&image.0).unwrap());
    assert!(!store.collect().unwrap().blobs.is_empty());
    assert_eq!(fixture.entries("refs/localhost:5000"), ["_served"]);
}

#[test]
fn an_uploaded_blob_has_an_hour() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store.serve_registry("localhost:5000").unwrap();
    let repository = store.repository("localhost:5000", "app").unwrap();
    let blob = store.blobs().put_bytes(b"uploaded").unwrap().digest;
    repository.add_blob(&blob).unwrap();
    assert!(store.collect().unwrap().blobs.is_empty());
    let path = fixture.path(&format!("refs/localhost:5000/app/_blobs/sha256/{}", blob.hex()));
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - crate::BLOB_GRACE).unwrap();
    assert_eq!(store.collect().unwrap().blobs, std::slice::from_ref(&blob));
    assert!(repository.remove_blob(&blob).unwrap());
    assert!(store.repository("localhost:5000", "../x").is_err());
}
