//! The files of a git commit, in a directory.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};

use hull_git::{CheckedOut, Limits, Oid, Pack, Sink, checkout};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Objects of a pack: ten times those of a commit of the Linux kernel.
const MAX_OBJECTS: u32 = 1 << 20;

/// Bytes of one file; it is held in memory, and once more while a change is applied to it.
const MAX_OBJECT: u64 = 1 << 30;

/// Reads a pack and writes what lies below `directory` of `commit` into `to`, an empty directory.
/// The message of an error is one line.
pub(crate) fn check_out(
    pack: File,
    spool: File,
    to: OwnedFd,
    commit: &str,
    directory: &str,
    max_bytes: u64,
) -> Result<CheckedOut, String> {
    let commit: Oid = commit.parse().map_err(|error| format!("{error}"))?;
    let limits = Limits { objects: MAX_OBJECTS, object_bytes: MAX_OBJECT, bytes: max_bytes };
    let input = BufReader::with_capacity(1 << 20, pack);
    let pack = Pack::read(input, spool, &limits).map_err(|error| chain(&error))?;
    let mut tree = Tree { to };
    checkout(&pack, commit, directory, MAX_OBJECTS.into(), &mut tree).map_err(|error| chain(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// Writes below a directory that nobody else changes.
struct Tree {
    to: OwnedFd,
}

impl Tree {
    /// The directory of `path`, and its name there.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Git's trees cannot lead through their own links: were they to, this refuses.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok((rustix::fs::openat2(&self.to, parent, flags, Mode::empty(), resolve)?, name))
    }
}

impl Sink for Tree {
    type Error = io::Error;

    fn directory(&mut self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?)
    }

    fn file(&mut self, path: &str, executable: bool, content: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent.as_fd(), name, flags, mode)?;
        File::from(file).write_all(content)
    }

    fn link(&mut self, path: &str, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folder: &tempfile::TempDir) -> Tree {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let to = rustix::fs::openat(rustix::fs::CWD, folder.path(), flags, Mode::empty());
        Tree { to: to.expect("it is there") }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (folder, outside) = (tempfile::tempdir(), tempfile::tempdir());
        let (folder, outside) = (folder.expect("a folder"), outside.expect("a folder"));
        let mut tree = tree(&folder);
        let target = outside.path().to_str().expect("text");
        tree.link("away", target.as_bytes()).expect("links may lead anywhere");
        assert!(tree.file("away/x", false, b"x").is_err());
        assert!(tree.directory("away/y").is_err());
        assert!(tree.file("../x", false, b"x").is_err());
        assert_eq!(outside.path().read_dir().expect("a folder").count(), 0);
    }
}
