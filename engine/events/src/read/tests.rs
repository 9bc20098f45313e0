use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use super::*;
use crate::{EventLog, KEPT, Kind, SEGMENT_BYTES};

fn event(action: &str) -> Event {
    Event::now(Kind::Container, action, "c0ffee", BTreeMap::new()).with("name", "web")
}

fn rest(reader: &mut Reader) -> Vec<String> {
    let mut actions = Vec::new();
    loop {
        let events = reader.next_events().unwrap();
        if events.is_empty() {
            return actions;
        }
        actions.extend(events.into_iter().map(|event| event.action));
    }
}

#[test]
fn what_is_appended_is_read_by_others_as_it_comes() {
    let root = tempfile::tempdir().unwrap();
    let mut before = Reader::open(root.path(), From::Now).unwrap();
    assert!(rest(&mut before).is_empty(), "there is no folder yet");
    let log = EventLog::new(root.path());
    log.append(&event("create")).unwrap();
    let mut late = Reader::open(root.path(), From::Now).unwrap();
    let start = event("start").with("exitCode", "0");
    log.append_all(&[start.clone(), event("die")]).unwrap();
    assert_eq!(rest(&mut before), ["create", "start", "die"]);
    assert_eq!(late.next_events().unwrap()[0], start);
    assert!(rest(&mut before).is_empty());
    EventLog::new(root.path()).append(&event("destroy")).unwrap();
    assert_eq!(rest(&mut before), ["destroy"]);
    let mut all = Reader::open(root.path(), From::Time(0)).unwrap();
    assert_eq!(rest(&mut all), ["create", "start", "die", "destroy"]);
}

#[test]
fn a_torn_line_spoils_no_other() {
    let root = tempfile::tempdir().unwrap();
    let log = EventLog::new(root.path());
    log.append(&event("create")).unwrap();
    let path = root.path().join("events/current");
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\n{\"Type\":\"contai").unwrap();
    let mut reader = Reader::open(root.path(), From::Time(0)).unwrap();
    assert_eq!(rest(&mut reader), ["create"]);
    log.append(&event("start")).unwrap();
    assert_eq!(rest(&mut reader), ["start"]);
}

#[test]
fn the_log_is_bounded_and_a_follower_misses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut reader = Reader::open(root.path(), From::Now).unwrap();
    // Three writers, each with its own idea of which segment is the current one.
    let logs = [(); 3].map(|()| EventLog::new(root.path()));
    let long = "x".repeat(20_000);
    let total = 8 * usize::try_from(SEGMENT_BYTES).unwrap() / long.len();
    let mut read = 0;
    for number in 0..total {
        logs[number % 3].append(&event(&number.to_string()).with("label", &long)).unwrap();
        if number % 50 == 0 || number + 1 == total {
            for action in rest(&mut reader) {
                assert_eq!(action, read.to_string());
                read += 1;
            }
        }
    }
    assert_eq!(read, total);
    let files: Vec<_> = fs::read_dir(root.path().join("events")).unwrap().collect();
    assert!(files.len() <= KEPT + 1, "{files:?}");
    let bytes: u64 = files.into_iter().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    // Each writer looks at the size with every 64th event.
    let slack = 3 * 65 * (long.len() as u64 + 500) * (KEPT as u64 + 1);
    assert!(bytes <= SEGMENT_BYTES * (KEPT as u64 + 1) + slack, "{bytes}");
    assert!(reader.segments.len() <= KEPT + 2);
}

#[test]
fn an_event_that_is_too_long_is_cut_to_what_matters() {
    let root = tempfile::tempdir().unwrap();
    let log = EventLog::new(root.path());
    let mut reader = Reader::open(root.path(), From::Now).unwrap();
    log.append(&event("start").with("label", "x".repeat(100_000))).unwrap();
    log.append(&event(&"y".repeat(100_000))).unwrap();
    let events = reader.next_events().unwrap();
    assert_eq!(events[0].actor.attributes.keys().collect::<Vec<_>>(), ["name"]);
    assert_eq!(reader.next_events().unwrap().len() + events.len(), 2);
}
