//! Commits, tags and trees. Spec: gitdatamodel; the parts of them that matter to a check-out.

use crate::oid::{LENGTH, Oid};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A state of the tree.
    Commit,
    /// A directory.
    Tree,
    /// The content of a file or a link.
    Blob,
    /// A tag with a message.
    Tag,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File {
        executable: bool,
    },
    Link,
    Directory,
    /// A commit of another repository.
    Submodule,
}

impl EntryKind {
    /// The mode as git writes it today.
    pub(crate) fn mode(self) -> u32 {
        match self {
            Self::File { executable: false } => 0o100_644,
            Self::File { executable: true } => 0o100_755,
            Self::Link => 0o120_000,
            Self::Directory => 0o040_000,
            Self::Submodule => 0o160_000,
        }
    }
}

/// An entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) name: &'a str,
    pub(crate) oid: Oid,
}

/// The tree of a commit: it stands in its first line.
pub(crate) fn tree_of_commit(bytes: &[u8]) -> Option<Oid> {
    header(bytes, "tree ")
}

/// What a tag points to: it stands in its first line.
pub(crate) fn target_of_tag(bytes: &[u8]) -> Option<Oid> {
    header(bytes, "object ")
}

/// The parents of a commit: they stand behind its tree.
pub(crate) fn parents_of_commit(bytes: &[u8]) -> impl Iterator<Item = Oid> {
    let lines = bytes.split(|byte| *byte == b'\n').skip(1);
    lines.map_while(|line| str::from_utf8(line).ok()?.strip_prefix("parent ")?.parse().ok())
}

fn header(bytes: &[u8], name: &str) -> Option<Oid> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    str::from_utf8(line).ok()?.strip_prefix(name)?.parse().ok()
}

/// The entries of a tree, in its order.
///
/// # Errors
/// What is wrong with it: names that lead elsewhere among them.
pub(crate) fn entries(mut bytes: &[u8]) -> Result<Vec<Entry<'_>>, &'static str> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or("an entry without a mode")?;
        let (mode, rest) = (&bytes[..space], &bytes[space + 1..]);
        let zero = rest.iter().position(|byte| *byte == 0).ok_or("an entry without a name")?;
        let (name, rest) = (&rest[..zero], &rest[zero + 1..]);
        let (oid, rest) = rest.split_first_chunk::<LENGTH>().ok_or("an entry cut short")?;
        let name = str::from_utf8(name).map_err(|_| "a name that is not UTF-8")?;
        if !is_plain(name) {
            return Err("a name that leads elsewhere");
        }
        entries.push(Entry { kind: kind_of(mode)?, name, oid: Oid::new(*oid) });
        bytes = rest;
    }
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two entries of one name");
    }
    Ok(entries)
}

fn kind_of(mode: &[u8]) -> Result<EntryKind, &'static str> {
    match mode {
        b"100644" | b"100664" => Ok(EntryKind::File { executable: false }),
        b"100755" => Ok(EntryKind::File { executable: true }),
        b"120000" => Ok(EntryKind::Link),
        b"40000" => Ok(EntryKind::Directory),
        b"160000" => Ok(EntryKind::Submodule),
        _ => Err("an entry of an unknown kind"),
    }
}

/// One part of a path, and not git's own folder, whose content git trusts.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains('/')
        && !name.eq_ignore_ascii_case(".git")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (mode, name) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(&[7; LENGTH]);
        }
        bytes
    }

    #[test]
    fn trees() {
        let bytes = tree(&[
            ("100644", "a"),
            ("100755", "b"),
            ("120000", "c"),
            ("40000", "d"),
            ("160000", "e"),
        ]);
        let kinds: Vec<EntryKind> =
            entries(&bytes).expect("it is a tree").iter().map(|entry| entry.kind).collect();
        let file = |executable| EntryKind::File { executable };
        let expected =
            [file(false), file(true), EntryKind::Link, EntryKind::Directory, EntryKind::Submodule];
        assert_eq!(kinds, expected);
        assert_eq!(entries(b""), Ok(Vec::new()));
    }

    #[test]
    fn trees_that_are_refused() {
        for name in ["..", ".", "a/b", ".git", ".GIT", "", "/etc"] {
            assert!(entries(&tree(&[("100644", name)])).is_err(), "{name}");
        }
        assert!(entries(&tree(&[("100644", "a"), ("40000", "a")])).is_err());
        assert!(entries(&tree(&[("100600", "a")])).is_err());
        assert!(entries(b"100644 a\0short").is_err());
        assert!(entries(b"100644").is_err());
    }
}
