//! A database that rpm itself wrote, and what hostile ones come to.
//!
//! `data/rpmdb.sqlite.gz` holds thirty packages `hull-sample-N` of version 1.N, made by rpmbuild for
//! this test; every fifth has epoch 2, and descriptions grow until headers need overflow pages.

use std::io::Read as _;

use hull_attestation::{DATABASES, OsRelease, Package, packages, spdx};

const SQLITE: &str = "var/lib/rpm/rpmdb.sqlite";

fn rpm() -> Vec<u8> {
    let packed = include_bytes!("data/rpmdb.sqlite.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("it is whole");
    bytes
}

fn read(path: &str, bytes: Vec<u8>) -> Vec<Package> {
    let place = DATABASES.iter().position(|database| database.path == path).expect(path);
    packages(&[(place, bytes)])
}

#[test]
fn every_package_of_rpm_is_found() {
    let found = read(SQLITE, rpm());
    assert_eq!(found.len(), 30);
    for number in 1..=30 {
        let name = format!("hull-sample-{number}");
        let package = found.iter().find(|package| package.name == name).expect(&name);
        let version = format!("1.{number}-{}", number % 3 + 1);
        let epoch = if number % 5 == 0 { "2:" } else { "" };
        assert_eq!(package.version, format!("{epoch}{version}"));
        assert_eq!(package.licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(package.source, Some(format!("{name}-{version}.src.rpm")));
    }
}

/// The same packages, framed as SUSE's rpm frames them.
#[test]
fn packages_in_slots_and_blobs() {
    let header = {
        let mut entries = Vec::new();
        let mut data = Vec::new();
        for (tag, text) in [(1000u32, "bash"), (1001, "5.2"), (1002, "3"), (1022, "x86_64")] {
            let at = u32::try_from(data.len()).expect("short");
            entries.extend([tag, 6, at, 1].iter().flat_map(|number| number.to_be_bytes()));
            data.extend_from_slice(text.as_bytes());
            data.push(0);
        }
        let lengths = [4, u32::try_from(data.len()).expect("short")];
        let lengths: Vec<u8> = lengths.iter().flat_map(|number| number.to_be_bytes()).collect();
        [lengths, entries, data].concat()
    };
    let little = |numbers: &[u32]| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    };
    let mut file = [b"RpmP".to_vec(), little(&[0, 1, 1, 2, 0, 0, 0])].concat();
    file.extend([b"Slot".to_vec(), little(&[1, 256, 8])].concat());
    file.resize(4096, 0);
    let length = u32::try_from(header.len()).expect("short");
    file.extend([b"BlbS".to_vec(), little(&[1, 1, length])].concat());
    file.extend(&header);
    let found = read("var/lib/rpm/Packages.db", file);
    let [package] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&package.name[..], &package.version[..]), ("bash", "5.2-3"));
}

#[test]
fn damaged_databases_end_without_a_panic() {
    let whole = rpm();
    for database in DATABASES {
        for length in [0, 1, 99, 100, 4096, 5000, whole.len() / 2] {
            read(database.path, whole[..length].to_vec());
        }
        for place in (0..whole.len()).step_by(997) {
            let mut damaged = whole.clone();
            for byte in damaged.iter_mut().skip(place).take(16) {
                *byte = 0xff;
            }
            assert!(read(database.path, damaged).len() <= 30);
        }
    }
}

#[test]
fn a_bill_of_materials_names_each_package() {
    let found = read(SQLITE, rpm());
    let release = OsRelease::parse(b"ID=fedora\nVERSION_ID=42\n");
    let made = || spdx("sample", &release, &found, "2026-01-01T00:00:00Z", "hull-0.1.0");
    let predicate = made().predicate;
    assert_eq!(predicate["packages"].as_array().map(Vec::len), Some(31), "the image itself too");
    assert_eq!(predicate["relationships"].as_array().map(Vec::len), Some(31));
    let text = predicate.to_string();
    assert!(text.contains("pkg:rpm/fedora/hull-sample-5@2:1.5-3?arch=noarch&distro=fedora-42"));
    assert_eq!(made().predicate, predicate, "the same packages give the same document");
}
