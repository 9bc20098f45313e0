//! The files of a git commit, in a directory, and a `.git` directory if that is wanted.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use hull_git::{CheckedOut, GitDirectory, Index, Limits, Oid, Pack, Sink, checkout};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Objects of a pack: ten times those of a commit of the Linux kernel.
const MAX_OBJECTS: u32 = 1 << 20;

/// Bytes of one file; it is held in memory, and once more while a change is applied to it.
const MAX_OBJECT: u64 = 1 << 30;

/// Reads a pack and writes what lies below `directory` of `commit` into `to`, an empty directory;
/// for the commit as a whole a `.git` directory too, if an `origin` is said.
/// The message of an error is one line.
pub(crate) fn check_out(
    mut received: File,
    spool: File,
    to: OwnedFd,
    commit: &str,
    directory: &str,
    origin: Option<&str>,
    max_bytes: u64,
) -> Result<CheckedOut, String> {
    let commit: Oid = commit.parse().map_err(|error| format!("{error}"))?;
    let limits = Limits { objects: MAX_OBJECTS, object_bytes: MAX_OBJECT, bytes: max_bytes };
    let start = received.stream_position().map_err(|error| chain(&error))?;
    let input = BufReader::with_capacity(1 << 20, &received);
    let pack = Pack::read(input, spool, &limits).map_err(|error| chain(&error))?;
    let mut tree = Tree { to, index: origin.map(|_| Index::default()) };
    let done = checkout(&pack, commit, directory, MAX_OBJECTS.into(), &mut tree)
        .map_err(|error| chain(&error))?;
    if let (Some(origin), Some(index)) = (origin, tree.index.take()) {
        let git = GitDirectory::new(&pack, done.commit, index, origin);
        let git = git.map_err(|error| chain(&error))?;
        received.seek(SeekFrom::Start(start)).map_err(|error| chain(&error))?;
        tree.git_directory(&git, &received)
            .map_err(|error| format!("cannot write the .git directory: {error}"))?;
    }
    Ok(done)
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
    /// What was written, where a `.git` directory is to say so.
    index: Option<Index>,
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

    /// Makes a file.
    fn create(&self, path: &str, executable: bool) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(parent.as_fd(), name, flags, mode)?))
    }

    /// Writes a `.git` directory with the pack that begins where `received` stands. Trees have no
    /// entry of that name.
    fn git_directory(&mut self, git: &GitDirectory, received: &File) -> io::Result<()> {
        for path in git.directories {
            self.directory(path)?;
        }
        for (path, content) in &git.files {
            self.file(path, false, content)?;
        }
        let mut pack = self.create(&git.pack, false)?;
        let copied = io::copy(&mut received.take(git.pack_bytes), &mut pack)?;
        if copied == git.pack_bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Sink for Tree {
    type Error = io::Error;

    fn directory(&mut self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?)
    }

    fn file(&mut self, path: &str, executable: bool, content: &[u8]) -> io::Result<()> {
        self.create(path, executable)?.write_all(content)
    }

    fn link(&mut self, path: &str, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }

    fn listed(&mut self, path: &str, mode: u32, oid: Oid) {
        if let Some(index) = &mut self.index {
            index.add(path, mode, oid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folder: &tempfile::TempDir) -> Tree {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let to = rustix::fs::openat(rustix::fs::CWD, folder.path(), flags, Mode::empty());
        Tree { to: to.expect("it is there"), index: None }
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
