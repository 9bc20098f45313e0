//! The files of a `.git` directory around a pack that was received: enough for git to tell which
//! commit is checked out, what it says, where it is from, and what was changed since.
//! Spec: gitrepository-layout, gitformat-pack ("Version 2 pack-*.idx files"), gitformat-index.

use std::fmt::Write as _;

use crate::object::{Kind, parents_of_commit};
use crate::oid::{Oid, hasher};
use crate::pack::{Pack, PackError};

/// The first offset in a pack that an index of it holds elsewhere than in its table.
const FAR: u64 = 1 << 31;

/// The longest length of a path that an entry of an index says.
const MAX_SAID: usize = 0xfff;

/// What is checked out: for each file, link and submodule its path, mode and object.
#[derive(Debug, Default)]
pub struct Index(Vec<(String, u32, Oid)>);

impl Index {
    /// Adds an entry: in whatever order, but no path twice.
    pub fn add(&mut self, path: &str, mode: u32, oid: Oid) {
        self.0.push((path.to_owned(), mode, oid));
    }

    /// The index file, version 2. It knows nothing of the files' times and sizes, as if it was
    /// made by `git read-tree`: git compares contents when it is first asked.
    fn into_bytes(mut self) -> Vec<u8> {
        self.0.sort_unstable();
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(2_u32.to_be_bytes());
        bytes.extend(count(self.0.len()).to_be_bytes());
        for (path, mode, oid) in &self.0 {
            let start = bytes.len();
            // Times of two kinds, device and inode.
            bytes.extend([0; 24]);
            bytes.extend(mode.to_be_bytes());
            // Owners and size.
            bytes.extend([0; 12]);
            bytes.extend(oid.as_bytes());
            bytes.extend(count(path.len().min(MAX_SAID)).to_be_bytes()[2..].iter());
            bytes.extend(path.as_bytes());
            // At least one zero, up to a multiple of eight.
            let length = (bytes.len() - start + 8) & !7;
            bytes.resize(start + length, 0);
        }
        sealed(bytes)
    }
}

/// What a `.git` directory is made of. Paths are relative to what holds it.
#[derive(Debug)]
pub struct GitDirectory {
    /// Directories, each after the one it is in.
    pub directories: &'static [&'static str],
    /// Files and what they hold.
    pub files: Vec<(String, Vec<u8>)>,
    /// Where the pack belongs.
    pub pack: String,
    /// Bytes of the pack; what comes behind them does not belong to it.
    pub pack_bytes: u64,
}

impl GitDirectory {
    /// A directory for `commit` of the repository at the address `origin`, checked out as `index`
    /// says, and not on a branch. History ends where the pack's ends.
    ///
    /// # Errors
    /// [`PackError::Spool`].
    pub fn new(pack: &Pack, commit: Oid, index: Index, origin: &str) -> Result<Self, PackError> {
        let mut files = vec![
            (".git/HEAD".to_owned(), format!("{commit}\n").into_bytes()),
            (".git/config".to_owned(), config(origin).into_bytes()),
            (".git/index".to_owned(), index.into_bytes()),
        ];
        let shallow = shallow(pack)?;
        if !shallow.is_empty() {
            files.push((".git/shallow".to_owned(), shallow.into_bytes()));
        }
        let name = format!(".git/objects/pack/pack-{}", pack.checksum());
        files.push((format!("{name}.idx"), index_of_pack(pack)));
        let directories = &[
            ".git",
            ".git/objects",
            ".git/objects/info",
            ".git/objects/pack",
            ".git/refs",
            ".git/refs/heads",
            ".git/refs/tags",
        ];
        let (pack, pack_bytes) = (format!("{name}.pack"), pack.length());
        Ok(Self { directories, files, pack, pack_bytes })
    }
}

/// The commits whose parents the pack does not have, a line each.
fn shallow(pack: &Pack) -> Result<String, PackError> {
    let mut text = String::new();
    for oid in pack.commits() {
        let content = pack.content(oid, Kind::Commit)?.unwrap_or_default();
        if parents_of_commit(&content).any(|parent| pack.find(parent).is_none()) {
            let _ = writeln!(text, "{oid}");
        }
    }
    Ok(text)
}

fn config(origin: &str) -> String {
    let mut url = String::new();
    for character in without_credentials(origin).chars() {
        match character {
            '"' | '\\' => url.extend(['\\', character]),
            '\n' => url.push_str("\\n"),
            '\0' => {}
            other => url.push(other),
        }
    }
    format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
         \tlogallrefupdates = true\n\
         [remote \"origin\"]\n\turl = \"{url}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    )
}

/// An address without a user's name and password, which are no part of an image.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The index of a pack, version 2.
fn index_of_pack(pack: &Pack) -> Vec<u8> {
    let mut entries: Vec<_> = pack.entries().iter().collect();
    entries.sort_unstable_by_key(|entry| (entry.oid, entry.offset));
    let mut bytes = b"\xfftOc\0\0\0\x02".to_vec();
    let mut upto = 0;
    for first in 0..=u8::MAX {
        upto += entries[upto..].partition_point(|entry| entry.oid.as_bytes()[0] <= first);
        bytes.extend(count(upto).to_be_bytes());
    }
    bytes.extend(entries.iter().flat_map(|entry| entry.oid.as_bytes()));
    bytes.extend(entries.iter().flat_map(|entry| entry.crc.to_be_bytes()));
    let mut far = Vec::new();
    for entry in &entries {
        let place = match u32::try_from(entry.offset) {
            Ok(offset) if entry.offset < FAR => offset,
            _ => {
                far.extend(entry.offset.to_be_bytes());
                count(far.len() / 8 - 1) | 1 << 31
            }
        };
        bytes.extend(place.to_be_bytes());
    }
    bytes.extend(far);
    bytes.extend(pack.checksum().as_bytes());
    sealed(bytes)
}

/// Bytes with their digest behind them.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut hasher = hasher();
    hasher.update(&bytes);
    bytes.extend(Oid::of(hasher).as_bytes());
    bytes
}

/// A number of things in a file of git's. Packs have no more than four billion objects.
fn count(number: usize) -> u32 {
    u32::try_from(number).expect("a pack's header counts in 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_written_as_git_reads_it_and_without_passwords() {
        for (origin, expected) in [
            ("https://h/a.git", "https://h/a.git"),
            ("https://me:secret@h:1/a@b.git", "https://h:1/a@b.git"),
            ("https://h/a\"\n[core]\n\tx", "https://h/a\\\"\\n[core]\\n\tx"),
            ("https://h/\\", "https://h/\\\\"),
        ] {
            let config = config(origin);
            assert!(config.contains(&format!("\turl = \"{expected}\"\n")), "{config}");
        }
    }

    #[test]
    fn long_paths_say_that_they_are() {
        let mut index = Index::default();
        let path = "d/".repeat(3000) + "f";
        index.add(&path, 0o100_644, Oid::new([7; 20]));
        let bytes = index.into_bytes();
        assert_eq!(bytes[12 + 60..12 + 62], [0x0f, 0xff]);
        assert_eq!((bytes.len() - 12 - 20) % 8, 0);
    }
}
