//! The files of a commit.

use crate::object::{EntryKind, Kind, entries, target_of_tag, tree_of_commit};
use crate::oid::Oid;
use crate::pack::{Pack, PackError};
use crate::submodule::{self, Submodule};

/// Directories in directories.
const MAX_DEPTH: usize = 256;

/// Tags of tags.
const MAX_TAGS: usize = 8;

/// Receives the files of a commit. Every directory comes before what is in it; paths are relative
/// and clean, `/` between their parts.
pub trait Sink {
    /// What it fails with.
    type Error;

    /// Makes a directory.
    ///
    /// # Errors
    /// Its own: the check-out stops.
    fn directory(&mut self, path: &str) -> Result<(), Self::Error>;

    /// Makes a file.
    ///
    /// # Errors
    /// As of [`Sink::directory`].
    fn file(&mut self, path: &str, executable: bool, content: &[u8]) -> Result<(), Self::Error>;

    /// Makes a symbolic link. Its target may lead anywhere.
    ///
    /// # Errors
    /// As of [`Sink::directory`].
    fn link(&mut self, path: &str, target: &[u8]) -> Result<(), Self::Error>;

    /// Is told of each file, link and submodule what an index says of it.
    fn listed(&mut self, _path: &str, _mode: u32, _oid: Oid) {}
}

/// What came of a check-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOut {
    /// The commit.
    pub commit: Oid,
    /// Files, links and directories.
    pub entries: u64,
    /// Where other repositories belong: made as empty directories.
    pub submodules: Vec<Submodule>,
}

/// Why the files of a commit are not there.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError<E: std::error::Error + 'static> {
    /// An object that is needed did not come with the pack.
    #[error("the server did not send the {} {oid}", .kind.as_str())]
    Missing {
        /// What it is to be.
        kind: Kind,
        /// Its name.
        oid: Oid,
    },
    /// There is no such directory in the commit.
    #[error("commit {commit} has no directory {directory:?}")]
    NoDirectory {
        /// The commit.
        commit: Oid,
        /// What was asked for.
        directory: String,
    },
    /// A tree that is none.
    #[error("{path:?} in commit {commit} has {problem}")]
    Tree {
        /// The commit.
        commit: Oid,
        /// Which directory.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// More than is allowed.
    #[error("commit {commit} has more than {limit} {what}")]
    TooLarge {
        /// The commit.
        commit: Oid,
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The pack cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Somebody cannot take the files.
    #[error(transparent)]
    Sink(E),
}

/// Gives `sink` the files below `directory` (a clean relative path; empty: all) of the commit that
/// `oid` is, or that the tag `oid` points to. At most `max_entries` of them, counting each time a
/// tree is in another.
///
/// # Errors
/// [`CheckoutError`]; the sink then has a part of them.
pub fn checkout<S: Sink>(
    pack: &Pack,
    oid: Oid,
    directory: &str,
    max_entries: u64,
    sink: &mut S,
) -> Result<CheckedOut, CheckoutError<S::Error>>
where
    S::Error: std::error::Error + 'static,
{
    let commit = commit_of(pack, oid)?;
    let content = content(pack, commit, Kind::Commit)?;
    let tree = tree_of_commit(&content).ok_or(CheckoutError::Tree {
        commit,
        path: String::new(),
        problem: "no tree",
    })?;
    let done = CheckedOut { commit, entries: 0, submodules: Vec::new() };
    let mut walk = Walk { pack, sink, max_entries, done };
    let below = walk.descend(tree, directory)?;
    walk.tree(below, &mut String::new(), 0)?;
    if !walk.done.submodules.is_empty() {
        walk.find_submodules(tree, directory)?;
    }
    Ok(walk.done)
}

fn commit_of<E: std::error::Error>(pack: &Pack, mut oid: Oid) -> Result<Oid, CheckoutError<E>> {
    let missing = |oid| CheckoutError::Missing { kind: Kind::Commit, oid };
    for _ in 0..MAX_TAGS {
        match pack.find(oid) {
            Some((Kind::Tag, _)) => {
                let tag = content(pack, oid, Kind::Tag)?;
                oid = target_of_tag(&tag).ok_or_else(|| missing(oid))?;
            }
            _ => return Ok(oid),
        }
    }
    Err(missing(oid))
}

fn content<E: std::error::Error>(
    pack: &Pack,
    oid: Oid,
    kind: Kind,
) -> Result<Vec<u8>, CheckoutError<E>> {
    pack.content(oid, kind)?.ok_or(CheckoutError::Missing { kind, oid })
}

struct Walk<'a, S> {
    pack: &'a Pack,
    sink: &'a mut S,
    max_entries: u64,
    done: CheckedOut,
}

impl<S: Sink> Walk<'_, S>
where
    S::Error: std::error::Error + 'static,
{
    /// The tree at `directory`. Links are not followed: they are no directories.
    fn descend(&self, mut tree: Oid, directory: &str) -> Result<Oid, CheckoutError<S::Error>> {
        for part in directory.split('/').filter(|part| !part.is_empty()) {
            let bytes = content(self.pack, tree, Kind::Tree)?;
            let entries = entries(&bytes).map_err(|problem| self.wrong(directory, problem))?;
            let found = entries
                .iter()
                .find(|entry| entry.name == part && entry.kind == EntryKind::Directory);
            let Some(found) = found else {
                let directory = directory.to_owned();
                return Err(CheckoutError::NoDirectory { commit: self.done.commit, directory });
            };
            tree = found.oid;
        }
        Ok(tree)
    }

    fn tree(
        &mut self,
        tree: Oid,
        path: &mut String,
        depth: usize,
    ) -> Result<(), CheckoutError<S::Error>> {
        if depth > MAX_DEPTH {
            return Err(self.too_large("directories in each other", MAX_DEPTH as u64));
        }
        let bytes = content(self.pack, tree, Kind::Tree)?;
        let entries = entries(&bytes).map_err(|problem| self.wrong(path, problem))?;
        for entry in entries {
            self.done.entries += 1;
            if self.done.entries > self.max_entries {
                return Err(self.too_large("files", self.max_entries));
            }
            let length = path.len();
            if length > 0 {
                path.push('/');
            }
            path.push_str(entry.name);
            if entry.kind != EntryKind::Directory {
                self.sink.listed(path, entry.kind.mode(), entry.oid);
            }
            match entry.kind {
                EntryKind::Directory => {
                    self.sink.directory(path).map_err(CheckoutError::Sink)?;
                    self.tree(entry.oid, path, depth + 1)?;
                }
                EntryKind::File { executable } => {
                    let content = content(self.pack, entry.oid, Kind::Blob)?;
                    self.sink.file(path, executable, &content).map_err(CheckoutError::Sink)?;
                }
                EntryKind::Link => {
                    let target = content(self.pack, entry.oid, Kind::Blob)?;
                    if target.is_empty() || target.contains(&0) {
                        return Err(self.wrong(path, "a link to nothing"));
                    }
                    self.sink.link(path, &target).map_err(CheckoutError::Sink)?;
                }
                EntryKind::Submodule => {
                    self.sink.directory(path).map_err(CheckoutError::Sink)?;
                    let (path, commit) = (path.clone(), entry.oid);
                    self.done.submodules.push(Submodule { path, commit, url: None });
                }
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Finds out where the submodules below `directory` are: `.gitmodules` lies at the root.
    fn find_submodules(
        &mut self,
        root: Oid,
        directory: &str,
    ) -> Result<(), CheckoutError<S::Error>> {
        let bytes = content(self.pack, root, Kind::Tree)?;
        let entries = entries(&bytes).map_err(|problem| self.wrong("", problem))?;
        // A link is not followed (CVE-2018-11235 and its kin).
        let file = entries.iter().find(|entry| {
            entry.name == ".gitmodules" && matches!(entry.kind, EntryKind::File { .. })
        });
        let Some(file) = file else { return Ok(()) };
        if self.pack.find(file.oid).is_some_and(|(_, size)| size > submodule::MAX_BYTES) {
            return Err(self.too_large("bytes in its .gitmodules", submodule::MAX_BYTES));
        }
        let addresses = submodule::addresses(&content(self.pack, file.oid, Kind::Blob)?);
        for submodule in &mut self.done.submodules {
            let whole = match directory {
                "" => submodule.path.clone(),
                directory => format!("{directory}/{}", submodule.path),
            };
            let found = addresses.iter().find(|(path, _)| *path == whole);
            submodule.url = found.map(|(_, url)| url.clone());
        }
        Ok(())
    }

    fn wrong(&self, path: &str, problem: &'static str) -> CheckoutError<S::Error> {
        CheckoutError::Tree { commit: self.done.commit, path: format!("/{path}"), problem }
    }

    fn too_large(&self, what: &'static str, limit: u64) -> CheckoutError<S::Error> {
        CheckoutError::TooLarge { commit: self.done.commit, what, limit }
    }
}
