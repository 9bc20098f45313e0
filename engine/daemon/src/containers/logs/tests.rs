use super::*;
use std::fs;

fn line(text: &str) -> String {
    format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2024-01-01T00:00:00Z\"}}\n")
}

fn read_all(files: &mut LogFiles) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(lines) = files.lines().unwrap() {
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line<'_> = serde_json::from_slice(line).unwrap();
            texts.push(line.log.trim_end().to_owned());
        }
    }
    texts
}

/// Three files with lines 1..=3, 4..=6 and 7..=9.
fn rotated() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, first) in [("container.log.2", 1), ("container.log.1", 4), ("container.log", 7)] {
        let text: String = (first..first + 3).map(|number| line(&number.to_string())).collect();
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn tails_reach_over_rotated_files() {
    let directory = rotated();
    for (tail, first) in [
        (None, 1),
        (Some(0), 10),
        (Some(1), 9),
        (Some(3), 7),
        (Some(4), 6),
        (Some(8), 2),
        (Some(50), 1),
    ] {
        let mut files = LogFiles::open(directory.path(), tail).unwrap();
        let expected: Vec<_> = (first..10).map(|number: u32| number.to_string()).collect();
        assert_eq!(read_all(&mut files), expected, "{tail:?}");
    }
}

#[test]
fn reading_goes_on_where_the_log_is_rotated() {
    let directory = rotated();
    let path = |name: &str| directory.path().join(name);
    let mut files = LogFiles::open(directory.path(), Some(0)).unwrap();
    assert!(read_all(&mut files).is_empty());
    let append = |text: &str| {
        use std::io::Write;
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path("container.log"))
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    };
    let (first, second) = (line("10"), line("11"));
    append(&first[..10]);
    assert!(read_all(&mut files).is_empty());
    append(&first[10..]);
    for (from, to) in [(1, 2), (0, 1)] {
        let name = |number| if number == 0 { FILE.to_owned() } else { format!("{FILE}.{number}") };
        fs::rename(path(&name(from)), path(&name(to))).unwrap();
    }
    append(&second);
    assert_eq!(read_all(&mut files), ["10", "11"]);
}

#[test]
fn a_log_that_is_not_there_yet_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = LogFiles::open(directory.path(), Some(5)).unwrap();
    assert!(read_all(&mut files).is_empty());
    fs::write(directory.path().join(FILE), line("1")).unwrap();
    assert_eq!(read_all(&mut files), ["1"]);
}

#[test]
fn lines_are_chosen_and_framed() {
    let wanted = Wanted {
        stdout: true,
        stderr: false,
        since: Some("2024-01-01T00:00:01Z".parse().unwrap()),
        until: None,
        timestamps: true,
        details: "a=b ".to_owned(),
        frames: true,
    };
    let mut bytes = Vec::new();
    for (stream, time) in [("stdout", "00"), ("stderr", "02"), ("stdout", "02")] {
        let line = Line {
            log: "x\n".into(),
            stream: stream.into(),
            time: format!("2024-01-01T00:00:{time}Z").into(),
        };
        wanted.append(&line, &mut bytes);
    }
    let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 37];
    expected.extend_from_slice(b"2024-01-01T00:00:02.000000000Z a=b x\n");
    assert_eq!(bytes, expected);
}
