//! Tars compressed by the sealed worker.

use std::io::{Read, Seek};
use std::os::fd::AsFd;

use hull_worker::client::run;
use hull_worker::job::{Answer, Job, LayerMode, Method};

use crate::archive::{Archive, file};
use crate::support::{input, read, worker};

#[test]
fn privileged_what_was_compressed_is_the_same_layer() {
    let content: Vec<u8> = (0..900_000_u32).flat_map(|n| (n / 5).to_le_bytes()).collect();
    let tar = Archive::new().with(file("a", content)).finish();
    let plain = read(&tar, LayerMode::Erofs).unwrap();
    for method in [Method::Gzip, Method::Zstd] {
        let mut first = Vec::new();
        for threads in [1, 3] {
            let directory = tempfile::tempdir().unwrap();
            let source = input(directory.path(), &tar);
            let mut output = tempfile::tempfile().unwrap();
            let job = Job::Compress { size: tar.len() as u64, method, level: None, threads };
            let answer = run(worker(), &job, &[source.as_fd(), output.as_fd()]).unwrap();
            let Answer::Compressed(report) = answer else { panic!("{answer:?}") };
            output.rewind().unwrap();
            let mut written = Vec::new();
            output.read_to_end(&mut written).unwrap();
            assert!(report.size < report.tar_size / 2);
            let again = read(&written, LayerMode::Erofs).unwrap();
            assert_eq!(again.report.diff_id, plain.report.diff_id);
            assert_eq!((&again.report.digest, again.report.size), (&report.digest, report.size));
            assert_eq!(report.diff_id, plain.report.diff_id);
            if threads > 1 {
                assert!(first == written, "{method:?}");
            }
            first = written;
        }
    }
}
