use std::fs;
use std::path::Path;

use super::*;

fn log(directory: &Path, max_size: Option<u64>, max_file: u32) -> Log {
    let container = fs::File::open(directory).unwrap();
    Log::new(Arc::new(container.into()), LogConfig { max_size, max_file, disabled: false })
}

fn entries(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let parse = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| value[name].as_str().unwrap().to_owned();
        assert!(field("time").parse::<jiff::Timestamp>().is_ok());
        (field("stream"), field("log"))
    };
    text.lines().map(parse).collect()
}

fn entry(stream: &str, text: &str) -> (String, String) {
    (stream.to_owned(), text.to_owned())
}

#[test]
fn output_of_both_streams_is_logged_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs/container.log");
    let mut log = log(directory.path(), None, 1);
    assert!(!path.exists(), "nothing is created for nothing");
    log.write(Stream::Stdout, b"one\ntw");
    log.write(Stream::Stderr, b"oops\n");
    log.write(Stream::Stdout, b"o\nrest");
    log.finish(Stream::Stdout);
    log.finish(Stream::Stderr);
    let expected = [
        entry("stdout", "one\n"),
        entry("stderr", "oops\n"),
        entry("stdout", "two\n"),
        entry("stdout", "rest"),
    ];
    assert_eq!(entries(&path), expected);
}

#[test]
fn files_rotate_and_the_oldest_goes() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = log(directory.path(), Some(1000), 3);
    for number in 0..100 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    let mut found = Vec::new();
    for name in ["container.log.2", "container.log.1", "container.log"] {
        let path = directory.path().join("logs").join(name);
        assert!(fs::metadata(&path).unwrap().len() < 1100);
        found.extend(entries(&path).into_iter().map(|(_, text)| text));
    }
    assert!(!directory.path().join("logs/container.log.3").exists());
    let first = 100 - found.len();
    let expected: Vec<_> = (first..100).map(|number| format!("line {number}\n")).collect();
    assert_eq!(found, expected);
}

#[test]
fn one_file_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = log(directory.path(), Some(500), 1);
    for number in 0..100 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    assert_eq!(fs::read_dir(directory.path().join("logs")).unwrap().count(), 1);
    let found = entries(&directory.path().join("logs/container.log"));
    assert_eq!(found.last().unwrap().1, "line 99\n");
}

#[test]
fn a_log_is_continued_after_a_torn_entry() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("logs")).unwrap();
    let path = directory.path().join("logs/container.log");
    fs::write(&path, "{\"log\":\"to").unwrap();
    log(directory.path(), None, 1).write(Stream::Stdout, b"next\n");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().next(), Some("{\"log\":\"to"));
    assert!(text.lines().nth(1).unwrap().starts_with("{\"log\":\"next\\n\""));
}

#[test]
fn what_cannot_be_written_is_counted_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = log(directory.path(), None, 1);
    // Not a directory: every attempt to open the file fails.
    fs::write(directory.path().join("logs"), "").unwrap();
    log.write(Stream::Stdout, b"one\ntwo\n");
    log.write(Stream::Stdout, b"three\n");
    fs::remove_file(directory.path().join("logs")).unwrap();
    log.write(Stream::Stdout, b"four\n");
    let found = entries(&directory.path().join("logs/container.log"));
    let notice = "hull: 3 log entries were lost, the disk refused them\n";
    assert_eq!(found, [entry("stderr", notice), entry("stdout", "four\n")]);
}
