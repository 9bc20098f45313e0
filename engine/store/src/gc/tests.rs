use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use hull_oci::{Descriptor, Digest, media_type};

use crate::testing::{
    Fixture, config, container, image_record, is_root, manifest, reference, volume,
};
use crate::{CheckOptions, Collected, Durability, ErrorKind, LayerMode, ProblemKind};

const DEEP: CheckOptions = CheckOptions { deep: true, repair: false };
const REPAIR: CheckOptions = CheckOptions { deep: true, repair: true };

fn assert_sound(fixture: &Fixture) {
    let report = fixture.store.check(DEEP).unwrap();
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
}

/// Overwrites a file in place, whatever its mode.
fn damage(fixture: &Fixture, path: &str) {
    let path = fixture.path(path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_nothing_refers_to_is_removed() {
    let fixture = Fixture::new();
    let layer = fixture.layer("kept");
    let (manifest, _) = fixture.image("kept", std::slice::from_ref(&layer));
    let stray_layer = fixture.layer("stray");
    let stray = fixture.store.blobs().put_bytes(b"stray").unwrap().digest;
    let collected = fixture.store.collect().unwrap();
    assert_eq!((collected.blobs, collected.layers), (vec![stray], vec![stray_layer]));
    assert!(collected.bytes > 0);
    assert_eq!(fixture.entries("blobs/sha256").len(), 3);
    assert_eq!(fixture.store.layers().list().unwrap(), [layer]);
    assert_sound(&fixture);

    fixture.store.remove_image(&manifest).unwrap();
    fixture.store.collect().unwrap();
    assert!(fixture.entries("blobs/sha256").is_empty());
    assert!(fixture.entries("layers").is_empty());
    assert!(fixture.entries("trash").is_empty());
    assert_eq!(fixture.store.collect().unwrap(), Collected::default());
}

#[test]
fn what_has_arrived_of_a_blob_stays_for_a_week() {
    let fixture = Fixture::new();
    let path = format!("ingest/sha256-{}", Digest::sha256(b"later").hex());
    let begin = || {
        let digest = Digest::sha256(b"later");
        let partial = fixture.store.blobs().try_partial(&digest).unwrap().unwrap();
        std::io::Write::write_all(&mut partial.file(), &[7; 9000]).unwrap();
        partial
    };
    drop(begin());
    assert_eq!(fixture.store.collect().unwrap().ingests, 0);
    let usage = fixture.store.usage().unwrap();
    assert!(usage.ingest >= 9000);
    assert_eq!(usage.total(), fixture.du());
    let week = std::time::Duration::from_hours(8 * 24);
    let file = fs::File::options().write(true).open(fixture.path(&path)).unwrap();
    file.set_modified(std::time::SystemTime::now() - week).unwrap();
    let held = fixture.store.blobs().try_partial(&Digest::sha256(b"later")).unwrap().unwrap();
    assert_eq!(fixture.reopened().collect_all().unwrap().ingests, 0, "somebody fetches it");
    drop(held);
    assert_eq!(fixture.store.collect().unwrap().ingests, 1);
    drop(begin());
    assert_eq!(fixture.store.collect_all().unwrap().ingests, 1);
    assert!(fixture.entries("ingest").is_empty());
    assert_sound(&fixture);
}

/// An image with a compressed copy that came from a registry, of a layer that is here.
fn pulled(fixture: &Fixture, name: &str) -> (Digest, Digest) {
    let layer = fixture.layer(name);
    let (manifest, _) = fixture.image(name, std::slice::from_ref(&layer));
    let copy = Digest::sha256(format!("compressed {name}").as_bytes());
    let origin = reference("registry.example/team/app:1");
    fixture.store.learn(&copy, 100, Some(&layer), Some(&origin)).unwrap();
    (manifest, copy)
}

#[test]
fn the_least_recently_used_copies_go_first() {
    let fixture = Fixture::new();
    let copies: Vec<_> = ["a", "b", "c"].iter().map(|name| pulled(&fixture, name).1).collect();
    let made_here = fixture.layer("made here");
    fixture.image("made here", &[made_here]);
    let used = |copy: &Digest, ago: u64| {
        let path = fixture.path(&crate::content::blob_path(copy));
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(ago);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    used(&copies[0], 30);
    used(&copies[1], 20);
    used(&copies[2], 10);
    fixture.store.blobs().used(&copies[0]).unwrap();
    let total = fixture.store.usage().unwrap().compressed;
    let one = total / 4;
    assert_eq!(fixture.store.evict_copies(total).unwrap(), crate::Evicted::default());
    let evicted = fixture.store.evict_copies(total - 1).unwrap();
    assert_eq!((evicted.copies, evicted.bytes), (vec![copies[1].clone()], one));
    let lease = fixture.store.lease().unwrap();
    lease.add(&copies[0]).unwrap();
    assert_eq!(fixture.store.evict_copies(0).unwrap().copies, [copies[2].clone()]);
    drop(lease);
    assert_eq!(fixture.store.evict_copies(0).unwrap().copies, [copies[0].clone()]);
    assert_eq!(fixture.store.usage().unwrap().compressed, one, "what no registry has stays");
    assert!(fixture.entries("trash").is_empty());
    assert_sound(&fixture);
}

#[test]
fn a_copy_without_its_layer_is_not_spared() {
    let fixture = Fixture::new();
    let (_, copy) = pulled(&fixture, "artifact");
    let layer = fixture.store.layers().list().unwrap().remove(0);
    fixture.store.root.discard(&crate::layers::layer_path(&layer)).unwrap();
    assert_eq!(fixture.store.layer_of(&copy).unwrap(), None);
    assert!(fixture.store.evict_copies(0).unwrap().copies.is_empty());
}

#[test]
fn what_is_known_of_a_blob_goes_with_its_layer() {
    let fixture = Fixture::new();
    let (manifest, copy) = pulled(&fixture, "app");
    let layer = fixture.store.layers().list().unwrap().remove(0);
    assert_eq!(fixture.store.layer_of(&copy).unwrap(), Some(layer.clone()));
    let other = reference("mirror.example/app");
    fixture.store.learn(&copy, 100, None, Some(&other)).unwrap();
    let known = fixture.store.provenance(&copy).unwrap().unwrap();
    assert_eq!(known.diff_id, Some(layer));
    assert_eq!(known.origins, [other, reference("registry.example/team/app")]);
    assert_eq!(fixture.store.evict_copies(0).unwrap().copies, std::slice::from_ref(&copy));
    fixture.store.collect().unwrap();
    assert!(fixture.store.provenance(&copy).unwrap().is_some(), "the layer is still here");
    fixture.store.remove_image(&manifest).unwrap();
    assert_eq!(fixture.store.collect().unwrap().knowledge, 1);
    assert_eq!(fixture.store.provenance(&copy).unwrap(), None);
    assert_eq!(fixture.store.usage().unwrap().total(), fixture.du());
}

#[test]
fn knowledge_that_says_nothing_is_a_problem_that_repair_solves() {
    let fixture = Fixture::new();
    let path = fixture.path(&format!("digests/sha256/{}", Digest::sha256(b"x").hex()));
    std::os::unix::fs::symlink("nonsense", path).unwrap();
    let report = fixture.store.check(DEEP).unwrap();
    assert_eq!(report.problems.len(), 1, "{report:#?}");
    assert!(fixture.store.check(REPAIR).unwrap().is_sound());
    assert_sound(&fixture);
}

#[test]
fn a_container_keeps_its_layers_and_its_config() {
    let fixture = Fixture::new();
    let layer = fixture.layer("used");
    let image = fixture.image("used", std::slice::from_ref(&layer));
    let mut record = container(1, "web", &image);
    record.layers.push(layer.clone());
    fixture.store.create_container(&record, Durability::Volatile).unwrap();
    fixture.store.remove_image(&image.0).unwrap();
    let collected = fixture.store.collect().unwrap();
    assert!(collected.layers.is_empty());
    assert_eq!(collected.blobs.len(), 1, "the compressed copy goes");
    for digest in [&image.0, &image.1] {
        assert!(fixture.store.blobs().contains(digest).unwrap());
    }
    fixture.store.remove_container(&record.id).unwrap();
    assert_eq!(fixture.store.collect().unwrap().layers, [layer]);
}

#[test]
fn a_lease_keeps_what_it_names() {
    let fixture = Fixture::new();
    let lease = fixture.store.lease().unwrap();
    let layer = fixture.layer("new");
    lease.add(&layer).unwrap();
    let blob = fixture.store.blobs().put_bytes(b"new").unwrap().digest;
    lease.add(&blob).unwrap();
    assert_eq!(fixture.reopened().collect().unwrap(), Collected::default());
    drop(lease);
    let collected = fixture.store.collect().unwrap();
    assert_eq!((collected.blobs, collected.layers), (vec![blob], vec![layer]));
}

#[test]
fn an_index_keeps_the_platforms_that_are_here() {
    let fixture = Fixture::new();
    let layer = fixture.layer("amd64");
    let (child, _) = fixture.image("amd64", std::slice::from_ref(&layer));
    let record = fixture.store.image(&child).unwrap().unwrap();
    let absent = Descriptor::of(media_type::OCI_MANIFEST, b"another platform");
    let index = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": [record.descriptor, absent],
    }))
    .unwrap();
    fixture.store.blobs().put_bytes(&index).unwrap();
    let index = Descriptor::of(media_type::OCI_INDEX, &index);
    fixture.store.put_image(&image_record(index)).unwrap();
    fixture.store.remove_image(&child).unwrap();

    // A container of it, created from the child, must not hide what the index refers to.
    let image = (child.clone(), Digest::sha256(&config("amd64", std::slice::from_ref(&layer))));
    fixture.store.remove_image(&child).unwrap();
    let index = fixture.store.images().unwrap().remove(0).descriptor.digest;
    let mut of_index = container(1, "web", &(index, image.1));
    of_index.image_id = child;
    fixture.store.create_container(&of_index, Durability::Volatile).unwrap();

    assert_eq!(fixture.store.collect().unwrap(), Collected::default());
    assert_eq!(fixture.store.layers().list().unwrap(), [layer]);
    assert_sound(&fixture);
}

#[test]
fn what_dead_processes_left_is_removed() {
    let fixture = Fixture::new();
    fixture.layer("before");
    let empty = Fixture::new().du();
    fs::create_dir_all(fixture.path("ingest/half/fs/deep")).unwrap();
    fs::write(fixture.path("ingest/half/tar"), "x").unwrap();
    fs::write(fixture.path("ingest/file"), "x").unwrap();
    fs::write(fixture.path("leases/dead"), format!("{}\n", Digest::sha256(b"x"))).unwrap();
    fs::create_dir_all(fixture.path("trash/old/tree")).unwrap();
    fs::write(fixture.path("trash/file"), "x").unwrap();
    std::os::unix::fs::symlink("e".repeat(64), fixture.path("names/nobody")).unwrap();
    let living = fixture.store.layers().prepare().unwrap();
    let collected = fixture.reopened().collect().unwrap();
    assert_eq!((collected.ingests, collected.leases, collected.names), (2, 1, 1));
    assert_eq!(collected.trash, 5);
    assert_eq!(fixture.entries("ingest").len(), 1);
    drop(living);
    assert_eq!(fixture.du(), empty);
}

#[test]
fn a_record_that_cannot_be_read_blocks_the_sweep() {
    let fixture = Fixture::new();
    let image = fixture.image("test", &[]);
    let record = container(1, "web", &image);
    fixture.store.create_container(&record, Durability::Volatile).unwrap();
    let layer = fixture.layer("maybe the container's");
    let path = fixture.path(&format!("containers/{}/config.json", record.id));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "nonsense").unwrap();
    let collected = fixture.store.collect().unwrap();
    assert_eq!(collected.blocked.len(), 1);
    assert!(collected.blocked[0].contains(&record.id));
    assert!(fixture.store.layers().contains(&layer).unwrap());
    fixture.store.remove_container(&record.id).unwrap();
    assert_eq!(fixture.store.collect().unwrap().layers, [layer]);
}

#[test]
fn collecting_never_takes_what_is_being_added() {
    let fixture = Fixture::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let store = fixture.reopened();
                while !done.load(Ordering::Relaxed) {
                    store.collect().unwrap();
                }
            });
        }
        let adders: Vec<_> = (0..3)
            .map(|number| {
                let fixture = &fixture;
                scope.spawn(move || add_and_remove(fixture, number))
            })
            .collect();
        for adder in adders {
            let result = adder.join();
            done.store(true, Ordering::Relaxed);
            result.unwrap();
            done.store(false, Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
    });
    fixture.store.collect().unwrap();
    assert_sound(&fixture);
    assert!(fixture.entries("blobs/sha256").is_empty());
    assert!(fixture.entries("layers").is_empty());
}

/// Loads an image that shares its layer with the other adders, runs a container of it, removes
/// both; all of it must be there as long as something refers to it.
fn add_and_remove(fixture: &Fixture, number: u32) {
    let store = fixture.reopened();
    for round in 0..25 {
        let name = format!("image-{number}-{round}");
        let lease = store.lease().unwrap();
        let diff_id = crate::testing::report("shared").diff_id;
        lease.add(&diff_id).unwrap();
        if !store.layers().contains(&diff_id).unwrap() {
            fixture.layer("shared");
        }
        let config_bytes = config(&name, std::slice::from_ref(&diff_id));
        let config = Descriptor::of(media_type::OCI_CONFIG, &config_bytes);
        let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, b"shared copy");
        let manifest_bytes = manifest(&config, &layer);
        let manifest = Descriptor::of(media_type::OCI_MANIFEST, &manifest_bytes);
        for (descriptor, bytes) in
            [(&config, &config_bytes[..]), (&layer, b"shared copy"), (&manifest, &manifest_bytes)]
        {
            lease.add(&descriptor.digest).unwrap();
            if !store.blobs().contains(&descriptor.digest).unwrap() {
                store.blobs().put_bytes(bytes).unwrap();
            }
        }
        store.put_image(&image_record(manifest.clone())).unwrap();
        drop(lease);
        let tag = reference(&format!("test:{name}"));
        store.set_ref(&tag, &manifest).unwrap();
        let image = (manifest.digest.clone(), config.digest.clone());
        let mut record = container(number * 1000 + round, &name, &image);
        record.layers.push(diff_id.clone());
        store.create_container(&record, Durability::Volatile).unwrap();
        for digest in [&manifest.digest, &config.digest, &layer.digest] {
            assert!(store.blobs().contains(digest).unwrap());
        }
        store.remove_ref(&tag).unwrap();
        store.remove_image(&manifest.digest).unwrap();
        assert!(store.layers().contains(&diff_id).unwrap());
        assert!(store.blobs().contains(&config.digest).unwrap());
        store.remove_container(&record.id).unwrap();
    }
}

#[test]
fn usage_is_what_du_says() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let empty = store.usage().unwrap();
    assert_eq!(empty.total(), fixture.du());
    assert_eq!(empty.total(), empty.other);

    let layer = fixture.layer(&"x".repeat(500));
    let image = fixture.image("test", std::slice::from_ref(&layer));
    let target = store.image(&image.0).unwrap().unwrap().descriptor;
    store.set_ref(&reference("busybox:1"), &target).unwrap();
    let record = container(1, "web", &image);
    store.create_container(&record, Durability::Durable).unwrap();
    let directory = store.container_directory(&record.id);
    fs::create_dir(directory.join("logs")).unwrap();
    fs::write(directory.join("logs/container.log"), vec![1; 9000]).unwrap();
    fs::write(directory.join("rw/big"), vec![1; 100_000]).unwrap();
    fs::hard_link(directory.join("rw/big"), directory.join("rw/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.join("rw/symlink")).unwrap();
    fs::File::create(directory.join("rw/sparse")).unwrap().set_len(1 << 30).unwrap();
    let mut deep = directory.join("rw");
    for _ in 0..150 {
        deep.push("deep");
        fs::create_dir(&deep).unwrap();
        fs::create_dir(deep.join("aside")).unwrap();
    }
    store.create_volume(&volume("data"), Durability::Volatile).unwrap();
    fs::write(store.volume_path("data").join("file"), vec![1; 20_000]).unwrap();
    fs::write(fixture.path("trash/gone"), vec![1; 5000]).unwrap();
    fs::write(fixture.path("ingest/half"), vec![1; 5000]).unwrap();
    let stray = fixture.layer("stray");

    let usage = store.usage().unwrap();
    assert_eq!(usage.total(), fixture.du());
    assert_eq!(usage.trash, 8192);
    assert_eq!(usage.ingest, 8192);
    assert!(usage.logs >= 12_288 && usage.logs < 20_000, "{}", usage.logs);
    let writable = usage.writable[&record.id];
    assert!((100_000..2_000_000).contains(&writable), "{writable}");
    assert!(usage.volume["data"] >= 20_480);
    assert_eq!(usage.compressed, 4096);
    assert_eq!(usage.layers.len(), 2);
    assert_eq!(usage.unreachable, usage.layers[&stray]);
}

#[test]
fn after_removing_everything_the_store_is_as_small_as_an_empty_one() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let empty = fixture.du();
    let layers = ["a", "b"].map(|content| fixture.layer(content));
    let image = fixture.image("test", &layers);
    let target = store.image(&image.0).unwrap().unwrap().descriptor;
    let tags = ["a/b/c:1", "x:2"].map(reference);
    for tag in &tags {
        store.set_ref(tag, &target).unwrap();
    }
    let record = container(1, "web", &image);
    store.create_container(&record, Durability::Durable).unwrap();
    store.create_volume(&volume("data"), Durability::Durable).unwrap();
    assert!(fixture.du() > empty);

    store.remove_container(&record.id).unwrap();
    store.remove_volume("data").unwrap();
    for tag in &tags {
        store.remove_ref(tag).unwrap();
    }
    store.remove_image(&image.0).unwrap();
    store.collect().unwrap();
    assert_eq!(fixture.du(), empty);
    assert_eq!(store.usage().unwrap().total(), empty);
}

#[test]
fn a_corrupt_blob_is_found_and_moved_away() {
    let fixture = Fixture::new();
    let layer = fixture.layer("fine");
    let broken = fixture.image("broken", std::slice::from_ref(&layer));
    let fine = fixture.image("fine", std::slice::from_ref(&layer));
    for (name, image) in [("broken:1", &broken), ("fine:1", &fine)] {
        let target = fixture.store.image(&image.0).unwrap().unwrap().descriptor;
        fixture.store.set_ref(&reference(name), &target).unwrap();
    }
    assert_sound(&fixture);
    damage(&fixture, &crate::content::blob_path(&broken.1));

    let shallow = fixture.store.check(CheckOptions::default()).unwrap();
    assert!(shallow.problems.is_empty(), "{shallow:?}");
    let report = fixture.store.check(DEEP).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].kind, ProblemKind::Corrupt);
    assert!(report.problems[0].object.contains(broken.1.hex()));
    assert!(!report.is_sound());

    let report = fixture.store.check(REPAIR).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert!(report.problems[1].repaired.as_ref().unwrap().contains("broken:1"));
    assert!(!fixture.store.blobs().contains(&broken.1).unwrap());
    let refs = fixture.store.refs().unwrap();
    assert_eq!(refs.len(), 1);
    assert_eq!(refs[0].0, reference("fine:1"));
    assert_eq!(fixture.entries("trash").len(), 2);
    assert_sound(&fixture);

    fixture.image("broken", &[layer]);
    fixture.store.collect().unwrap();
    assert_sound(&fixture);
    assert_eq!(fixture.store.images().unwrap().len(), 2);
}

#[test]
fn a_damaged_layer_is_found() {
    let modes = [(LayerMode::Erofs, "tar"), (LayerMode::Erofs, "erofs"), (LayerMode::Unpack, "fs")];
    for (mode, part) in modes {
        let fixture = Fixture::with_mode(mode);
        if fixture.store.layer_mode().unwrap().reason.is_some() {
            continue;
        }
        let layer = fixture.layer("whole");
        let image = fixture.image("test", std::slice::from_ref(&layer));
        let mut record = container(1, "web", &image);
        record.layers.push(layer.clone());
        fixture.store.create_container(&record, Durability::Volatile).unwrap();
        assert_sound(&fixture);
        match part {
            "fs" => {
                let added = fixture.path(&format!("layers/{}/fs/added", layer.hex()));
                fs::write(added, "x").unwrap();
            }
            part => damage(&fixture, &format!("layers/{}/{part}", layer.hex())),
        }
        let report = fixture.store.check(REPAIR).unwrap();
        let kinds: Vec<_> = report.problems.iter().map(|problem| problem.kind).collect();
        // The layer, and the container without it, which only a person removes. The image still
        // has its copy as it came.
        assert_eq!(kinds, [ProblemKind::Corrupt, ProblemKind::Missing]);
        assert!(!fixture.store.layers().contains(&layer).unwrap());
        assert!(fixture.store.container("web").is_ok());
        fixture.layer("whole");
        assert_sound(&fixture);
    }
}

#[test]
fn strays_and_stale_names_are_found() {
    let fixture = Fixture::new();
    let image = fixture.image("test", &[]);
    fixture.store.create_container(&container(1, "web", &image), Durability::Volatile).unwrap();
    fs::remove_file(fixture.path("names/web")).unwrap();
    std::os::unix::fs::symlink("e".repeat(64), fixture.path("names/nobody")).unwrap();
    fs::write(fixture.path("blobs/sha256/readme"), "x").unwrap();
    fs::create_dir(fixture.path("layers/empty")).unwrap();
    fs::write(fixture.path("notes"), "x").unwrap();
    fs::create_dir(fixture.path(&format!("containers/{:064x}", 7))).unwrap();
    let report = fixture.store.check(REPAIR).unwrap();
    assert_eq!(report.problems.len(), 6, "{report:#?}");
    let left = fixture.store.check(DEEP).unwrap();
    let objects: Vec<_> = left.problems.iter().map(|problem| &problem.object[..]).collect();
    assert_eq!(objects, ["notes"], "what is not the store's is left alone");
    assert!(fixture.store.container("web").is_ok());
}

#[test]
fn privileged_a_collected_layer_is_detached_first() {
    if !is_root("a_collected_layer_is_detached_first") {
        return;
    }
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_some() {
        return;
    }
    let layer = fixture.layer("mounted");
    let tree = fixture.store.layers().mount(&layer).unwrap();
    assert_eq!(fixture.store.check(DEEP).unwrap().mounts, std::slice::from_ref(&layer));
    assert_eq!(fixture.store.collect().unwrap().layers, [layer]);
    assert!(fixture.store.layers().mounts().unwrap().is_empty());
    // Who has it open keeps it.
    assert_eq!(crate::layers::tests::content(tree, "file"), "mounted");
}

#[test]
fn privileged_a_full_disk_is_named_and_leaves_nothing() {
    if !is_root("a_full_disk_is_named_and_leaves_nothing") {
        return;
    }
    let disk = SmallDisk::mount();
    let store = crate::Store::open(crate::StoreOptions {
        data_root: disk.path().join("data"),
        exec_root: disk.path().join("run"),
        layer_mode: Some(LayerMode::Unpack),
    })
    .unwrap();
    let before = store.usage().unwrap();
    let mut ingest = store.blobs().ingest().unwrap();
    let error = loop {
        if let Err(error) = ingest.write_bytes(&[1; 65536]) {
            break error;
        }
    };
    assert!(error.is_full(), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.io().kind(), std::io::ErrorKind::StorageFull);
    drop(ingest);
    assert_eq!(store.usage().unwrap(), before);
    store.blobs().put_bytes(b"there is room again").unwrap();
    assert!(store.check(DEEP).unwrap().is_sound());
}

/// A file system of a few megabytes in a file.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
        let disk = Self { directory };
        fs::create_dir(disk.path()).unwrap();
        run(std::process::Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        run(std::process::Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()));
        disk
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(std::process::Command::new("umount").arg(self.path()));
    }
}

fn run(command: &mut std::process::Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_a_registry_gives_out_keeps_its_copies() {
    let fixture = Fixture::new();
    let (manifest, copy) = pulled(&fixture, "served");
    let target = fixture.store.image(&manifest).unwrap().unwrap().descriptor;
    fixture.store.serve_registry("localhost:5000").unwrap();
    let name = reference("localhost:5000/app:1");
    fixture.store.set_ref(&name, &target).unwrap();
    assert!(fixture.store.evict_copies(0).unwrap().copies.is_empty());
    fixture.store.remove_ref(&name).unwrap();
    assert_eq!(fixture.store.evict_copies(0).unwrap().copies, [copy]);
}
