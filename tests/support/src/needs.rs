//! What a test needs of the machine, and saying so when it is not there.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Says that the running test was skipped and why: to the one who reads the output, and to the
/// file named by `HULL_SKIPS`, from which `cargo xtask test` reads what it must not accept.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}", thread.name().unwrap_or("unnamed test"));
    eprintln!("skipped: {line}");
    if let Some(path) = std::env::var_os("HULL_SKIPS") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        // In one write: tests of several processes append here.
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Whether this process is root, with all capabilities; says so if not.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}

/// Whether the long tests were asked for (`cargo xtask test --full`); says so if not.
pub fn full() -> bool {
    let full = std::env::var_os("HULL_FULL").is_some_and(|value| value == "1");
    if !full {
        skip("runs with --full only");
    }
    full
}

/// The folder with the built programs: `HULL_BIN`, else the one this test was built into.
pub fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("HULL_BIN") {
        return folder.into();
    }
    let test = std::env::current_exe().expect("a test has a program file");
    let profile = test.ancestors().nth(2).expect("a test lies in PROFILE/deps");
    profile.to_owned()
}

/// A file made by `cargo xtask fixtures`; says so if it is not there.
pub fn fixture(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("HULL_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("no fixture {name}: `cargo xtask fixtures` makes it"));
    None
}

/// A program of the machine; says so if it is not there.
pub fn program(name: &str) -> Option<PathBuf> {
    let found = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        skip(&format!("no program {name}"));
    }
    found
}

/// The words that run a command in the root file system of the peers, where our `/tmp` is
/// `/host` (`HULL_PEERS`, for example `/opt/peers run`); says so if there are none.
pub fn peers() -> Option<Vec<String>> {
    let words = std::env::var("HULL_PEERS").unwrap_or_default();
    let words: Vec<String> = words.split_whitespace().map(ToOwned::to_owned).collect();
    if words.is_empty() {
        skip("no peers: set HULL_PEERS");
        return None;
    }
    Some(words)
}
