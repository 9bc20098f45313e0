use std::fs;
use std::os::fd::AsFd;

use crate::layers::tests::content;
use crate::testing::{Fixture, container, is_root};
use crate::{Durability, LayerMode};

fn in_each_mode(test: impl Fn(Fixture)) {
    test(Fixture::with_mode(LayerMode::Unpack));
    let fixture = Fixture::with_mode(LayerMode::Erofs);
    if fixture.store.layer_mode().unwrap().reason.is_none() {
        test(fixture);
    }
}

#[test]
fn privileged_a_view_shows_the_top() {
    if !is_root("a_view_shows_the_top") {
        return;
    }
    in_each_mode(|fixture| {
        let chain = ["bottom", "middle", "top"].map(|content| fixture.layer(content));
        let snapshots = fixture.store.snapshots();
        let view = snapshots.view(&chain, None).unwrap();
        assert_eq!(content(&view, "file"), "top");
        let view = snapshots.view(&chain[..1], None).unwrap();
        assert_eq!(content(&view, "file"), "bottom");
        let error = rustix::fs::mkdirat(&view, "new", rustix::fs::Mode::from_raw_mode(0o755));
        assert_eq!(error, Err(rustix::io::Errno::ROFS));
        snapshots.view(&[], None).unwrap();
    });
}

#[test]
fn privileged_a_layer_that_is_there_twice_is_stacked_once() {
    if !is_root("a_layer_that_is_there_twice_is_stacked_once") {
        return;
    }
    in_each_mode(|fixture| {
        let [a, b] = ["a", "b"].map(|content| fixture.layer(content));
        let chain = [a.clone(), b, a];
        assert_eq!(fixture.store.snapshots().layers(&chain).unwrap().len(), 2);
        let view = fixture.store.snapshots().view(&chain, None).unwrap();
        assert_eq!(content(&view, "file"), "a");
    });
}

#[test]
fn privileged_an_opaque_layer_is_the_lowest() {
    if !is_root("an_opaque_layer_is_the_lowest") {
        return;
    }
    in_each_mode(|fixture| {
        let chain =
            [fixture.layer("hidden"), fixture.marked_layer("wall", true), fixture.layer("top")];
        for _ in 0..2 {
            let layers = fixture.store.snapshots().layers(&chain).unwrap();
            let seen: Vec<_> = layers.iter().map(|layer| content(layer, "file")).collect();
            assert_eq!(seen, ["top", "wall"]);
        }
        assert!(fixture.store.layers().mounts().unwrap().len() <= 2);
    });
}

#[test]
fn privileged_a_view_has_what_a_container_wrote_on_top() {
    if !is_root("a_view_has_what_a_container_wrote_on_top") {
        return;
    }
    in_each_mode(|fixture| {
        let chain = [fixture.layer("image")];
        let image = fixture.image("test", &chain);
        let record = container(1, "web", &image);
        fixture.store.create_container(&record, Durability::Volatile).unwrap();
        let upper = fixture.store.snapshots().upper(&record.id).unwrap();
        fs::write(fixture.path(&format!("containers/{}/rw/file", record.id)), "mine").unwrap();
        let view = fixture.store.snapshots().view(&chain, Some(upper.upper.as_fd())).unwrap();
        assert_eq!(content(&view, "file"), "mine");
        assert!(fixture.store.snapshots().upper("../../etc").is_err());
    });
}
