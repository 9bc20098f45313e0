//! The drivers themselves.

use std::process::Command;

use crate::archive::Tar;
use crate::terminal::Terminal;
use crate::writes::{End, kill_before_change};

#[test]
fn archives_are_what_tar_reads() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/end", "x".repeat(150));
    let tar = Tar::new()
        .directory("d/", 0o750)
        .file("d/f", 0o640, b"content")
        .symlink("d/l", "f")
        .hard_link("d/h", "d/f")
        .pax(&[("path", &long)])
        .file("short", 0o600, b"")
        .finish();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, tar).unwrap();
    let output = Command::new("tar").arg("-tf").arg(&path).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(listed, format!("d/\nd/f\nd/l\nd/h\n{long}\n"));
}

/// A shell that makes a file, a folder and a rename, killed before each, and once not at all.
#[test]
fn kills_come_before_the_change() {
    if !crate::needs::root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cd \"$0\"; (echo a) > f; mkdir d; mv f g; exit 3"]).arg(folder.path());
    command.env("PATH", "/usr/bin:/bin");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(folder.path()).unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let expected: &[(&str, &[&str])] =
        &[("openat", &[]), ("write", &["f"]), ("mkdir", &["f"]), ("rename", &["d", "f"])];
    for (limit, (call, left)) in expected.iter().enumerate() {
        let end = kill_before_change(&command, folder.path(), limit);
        let End::Killed { call: killed } = end else { panic!("{limit}: {end:?}") };
        assert!(killed.starts_with(call), "{limit}: {killed}");
        assert_eq!(&names(), left, "{limit}");
        for name in names() {
            let path = folder.path().join(name);
            if path.is_dir() {
                std::fs::remove_dir(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    let end = kill_before_change(&command, folder.path(), 4);
    assert_eq!(end, End::Exited { code: 3, changes: 4 });
    assert_eq!(names(), ["d", "g"]);
}

#[test]
fn terminals_have_a_size_and_control_keys() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap 'stty size; exit 5' WINCH; stty size; sleep 20 & wait; wait"]);
    command.env("PATH", "/usr/bin:/bin");
    let mut terminal = Terminal::start(&command, 71, 23);
    terminal.expect("23 71");
    terminal.resize(70, 22);
    terminal.expect("22 70");
    assert_eq!(terminal.finish().0, 5);
}
