//! Against Debian's `docker-registry`, which others wrote.

use std::io::Write;
use std::os::fd::AsFd;

use hull_oci::{Descriptor, Digest, Manifest};
use hull_test_support::registry::DebianRegistry;
use hull_transfer::FailureKind;

use crate::support::{MANIFEST, blob, fetch, noise, reference, refused, transfer};

#[test]
fn what_is_pushed_is_pulled() {
    let Some(registry) = DebianRegistry::start() else { return };
    let transfer = transfer();
    let repository = reference(registry.address(), "some/where");
    let (layer, config) = (noise(5_000_000), b"{}".to_vec());
    let layers = [blob(&layer), blob(&config)];
    for (bytes, descriptor) in [&layer, &config].into_iter().zip(&layers) {
        assert!(!transfer.exists(&repository, &descriptor.digest).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        transfer.upload(&repository, descriptor, file.as_fd(), &mut |_| {}).unwrap();
        assert!(transfer.exists(&repository, &descriptor.digest).unwrap());
    }
    let other = reference(registry.address(), "some/other");
    assert!(transfer.mount(&other, &repository, &layers[0].digest).unwrap());
    assert!(!transfer.mount(&other, &repository, &Digest::sha256(b"none")).unwrap());

    let manifest = Manifest::of(layers[1].clone(), vec![layers[0].clone()]).to_bytes();
    let tagged = repository.with_tag("v1").unwrap();
    let digest = transfer.put_manifest(&tagged, MANIFEST, &manifest).unwrap();
    assert_eq!(transfer.resolve(&tagged).unwrap(), Descriptor::of(MANIFEST, &manifest));
    assert_eq!(transfer.manifest(&repository.with_digest(digest)).unwrap().bytes, manifest);
    assert_eq!(transfer.tags(&repository).unwrap(), ["v1"]);
    assert_eq!(transfer.document(&repository, &layers[1]).unwrap(), config);
    for have in [0, 4_999_999] {
        let (result, got) = fetch(&transfer, &other, &layers[0], &layer[..have]);
        result.unwrap();
        assert!(got == layer);
    }
    let found = transfer.search(registry.address(), "some", 10).unwrap();
    assert_eq!(found.len(), 2);
    assert!(transfer.referrers(&repository, &Digest::sha256(&manifest)).unwrap().is_empty());
    transfer.delete_manifest(&repository.with_digest(Digest::sha256(&manifest))).unwrap();
    refused(transfer.resolve(&tagged), FailureKind::NotFound, "404");
}

#[test]
fn streams() {
    let Some(registry) = DebianRegistry::start() else { return };
    let (bytes, repository) = (noise(3_000_000), reference(registry.address(), "a"));
    let (reader, mut writer) = std::io::pipe().unwrap();
    let written = bytes.clone();
    let thread = std::thread::spawn(move || writer.write_all(&written).unwrap());
    let transfer = transfer();
    let sent = transfer.upload_stream(&repository, reader.as_fd(), &mut |_| {}).unwrap();
    thread.join().unwrap();
    assert_eq!(sent.digest, Digest::sha256(&bytes));
    assert!(transfer.exists(&repository, &sent.digest).unwrap());
}
