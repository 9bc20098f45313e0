use std::fs;
use std::time::Duration;

use hull_oci::Digest;

use super::*;
use crate::layers::tests::content;
use crate::testing::{Fixture, is_root};
use crate::{LayerMode, Store};

fn key(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn record(name: &str, layer: Option<Digest>) -> StepRecord {
    StepRecord {
        key: key(name),
        layer,
        value: String::new(),
        description: format!("RUN {name}"),
        created: "2026-01-01T00:00:00Z".to_owned(),
        parents: Vec::new(),
    }
}

fn step(store: &Store, name: &str) -> Option<StepRecord> {
    store.step(&key(name), &store.lease().unwrap()).unwrap()
}

#[test]
fn results_are_found_again_and_keep_their_layers() {
    let fixture = Fixture::with_mode(LayerMode::Unpack);
    let store = &fixture.store;
    store.prepare_cache().unwrap();
    let layer = fixture.layer("made by a step");
    store.put_step(&record("make", Some(layer.clone()))).unwrap();
    store.put_step(&record("nothing", None)).unwrap();
    assert_eq!(store.collect().unwrap().layers, []);
    assert_eq!(step(store, "make").unwrap().layer, Some(layer.clone()));
    assert_eq!(step(store, "other"), None);
    let usage = store.usage().unwrap();
    assert!(usage.build_cache > usage.layers[&layer]);
    assert!(store.check(crate::CheckOptions::default()).unwrap().is_sound());

    fs::write(fixture.path(&format!("cache/steps/{}", key("nothing").hex())), "damaged").unwrap();
    assert_eq!(step(store, "nothing"), None);
    let pruned = store.prune_cache(&PruneCache::default()).unwrap();
    assert_eq!(pruned.removed.len(), 1);
    assert!(pruned.bytes >= usage.layers[&layer]);
    assert!(!store.layers().contains(&layer).unwrap());
    assert_eq!(step(store, "make"), None);
}

#[test]
fn pruning_heeds_age_budget_and_images() {
    let fixture = Fixture::with_mode(LayerMode::Unpack);
    let store = &fixture.store;
    store.prepare_cache().unwrap();
    let layers = ["a", "b"].map(|name| fixture.layer(name));
    for (name, layer) in std::iter::zip(["a", "b"], &layers) {
        store.put_step(&record(name, Some(layer.clone()))).unwrap();
    }
    fixture.image("of-a", &layers[..1]);
    let none = |options: PruneCache| store.prune_cache(&options).unwrap().removed.is_empty();
    assert!(none(PruneCache { unused_for: Duration::from_secs(3600), ..PruneCache::default() }));
    assert!(none(PruneCache { keep: Some(1 << 30), ..PruneCache::default() }));
    assert_eq!(store.prune_cache(&PruneCache::default()).unwrap().removed.len(), 1);
    assert!(step(store, "a").is_some() && step(store, "b").is_none());
    let all = PruneCache { all: true, ..PruneCache::default() };
    assert_eq!(store.prune_cache(&all).unwrap().removed.len(), 1);
    assert!(store.layers().contains(&layers[0]).unwrap(), "an image has it");
}

#[test]
fn one_makes_a_result_and_others_wait() {
    let fixture = Fixture::with_mode(LayerMode::Unpack);
    let store = &fixture.store;
    store.prepare_cache().unwrap();
    let made = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _lock = store.lock_step(&key("one")).unwrap();
                if step(store, "one").is_none() {
                    made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    store.put_step(&record("one", None)).unwrap();
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(fs::read_dir(fixture.path("cache/locks")).unwrap().count(), 0);
}

#[test]
fn directories_are_shared_private_or_locked() {
    let fixture = Fixture::with_mode(LayerMode::Unpack);
    let store = &fixture.store;
    store.prepare_cache().unwrap();
    let take = |sharing| store.cache_mount("../../etc", sharing, (0, 0), 0o755).unwrap();
    let inode = |mount: &CacheMount| rustix::fs::fstat(&mount.tree).unwrap().st_ino;
    let first = take(Sharing::Shared);
    assert!(first.fresh);
    let second = take(Sharing::Shared);
    assert_eq!((inode(&first), second.fresh), (inode(&second), false));
    let private = take(Sharing::Private);
    assert_ne!(inode(&first), inode(&private));
    let another = take(Sharing::Private);
    assert_ne!(inode(&private), inode(&another));
    drop((first, second, private));
    assert_eq!(fs::read_dir(fixture.path("cachemounts")).unwrap().count(), 3);
    // One is in use still.
    assert_eq!(store.prune_cache(&PruneCache::default()).unwrap().removed.len(), 2);
    drop(another);
    assert_eq!(store.prune_cache(&PruneCache::default()).unwrap().removed.len(), 1);
}

#[test]
fn a_work_area_goes_with_its_owner() {
    let fixture = Fixture::with_mode(LayerMode::Unpack);
    let store = &fixture.store;
    store.prepare_cache().unwrap();
    let area = store.work_area().unwrap();
    let scratch = area.scratch().unwrap();
    rustix::fs::mkdirat(scratch.changes().unwrap(), "x", rustix::fs::Mode::RWXU).unwrap();
    store.collect().unwrap();
    assert_eq!(fs::read_dir(fixture.path("cache/work")).unwrap().count(), 1);
    drop(area);
    assert_eq!(fs::read_dir(fixture.path("cache/work")).unwrap().count(), 0);
    fs::create_dir(fixture.path("cache/work/dead")).unwrap();
    store.collect().unwrap();
    assert_eq!(fs::read_dir(fixture.path("cache/work")).unwrap().count(), 0);
}

#[test]
fn privileged_fresh_layers_are_used_at_once_and_settle() {
    if !is_root("fresh_layers_are_used_at_once_and_settle") {
        return;
    }
    for mode in [LayerMode::Unpack, LayerMode::Erofs] {
        let fixture = Fixture::with_mode(mode);
        let store = &fixture.store;
        if store.layer_mode().unwrap().reason.is_some() {
            continue;
        }
        store.prepare_cache().unwrap();
        let (ingest, report) = fixture.prepared("fresh");
        store.layers().publish_fresh(ingest, &report).unwrap();
        assert!(!store.layers().contains(&report.diff_id).unwrap());
        assert!(store.layers().is_usable(&report.diff_id).unwrap());
        let tree = store.layers().mount(&report.diff_id).unwrap();
        assert_eq!(content(&tree, "file"), "fresh");
        fs::create_dir(fixture.path("cache/fresh-of-another-boot")).unwrap();
        assert_eq!(store.layers().settle().unwrap(), 1);
        assert!(store.layers().contains(&report.diff_id).unwrap());
        assert_eq!(content(&tree, "file"), "fresh");
        assert!(!fixture.path("cache/fresh-of-another-boot").exists());
        assert_eq!(store.layers().settle().unwrap(), 0);
        let tree = store.layers().mount(&report.diff_id).unwrap();
        assert_eq!(content(&tree, "file"), "fresh");
        assert!(store.check(crate::CheckOptions::default()).unwrap().is_sound());
    }
}
