//! Very many entries.

use std::time::Instant;

use hull_worker::job::LayerMode;

use crate::archive::{Archive, directory, file};
use crate::support::read;

#[test]
fn privileged_two_hundred_thousand_files_in_a_directory() {
    let mut tar = Archive::new().with(directory("many"));
    for index in 0..200_000 {
        tar.add(&file(format!("many/file-{index}"), ""));
    }
    let tar = tar.finish();
    let begin = Instant::now();
    let kept = read(&tar, LayerMode::Erofs).unwrap();
    let took = begin.elapsed();
    let names = std::fs::read_dir(kept.root().join("many")).unwrap().count();
    assert_eq!(names, 200_000);
    for index in [0, 1, 9, 99_999, 123_456, 199_999] {
        let path = kept.root().join(format!("many/file-{index}"));
        assert!(path.symlink_metadata().unwrap().is_file());
    }
    assert!(!kept.root().join("many/file-200000").exists());
    assert!(took.as_secs() < 30, "{took:?}");
}
