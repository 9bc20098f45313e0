//! The members of an archive that holds an image (docker-archive, OCI layout as tar).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use serde::{Deserialize, Serialize};

use super::LayerError;
use super::decompress::{Formats, Input};
use super::error::shown;
use super::path::{LayerPath, components};
use super::pipe::{Tap, inflated};
use super::tar::{Entry, EntryKind, Reader};

/// An image has some dozens of layers; an archive of many images, some thousands of members.
const MAX_MEMBERS: usize = 100_000;

/// As many links from name to name as are followed.
const MAX_LINKS: usize = 8;

/// One regular file in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveMember {
    /// Cleaned relative name.
    pub name: String,
    /// Offset of its data in the spool, bytes.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// Reads an archive to its end, writes it uncompressed to `spool` and lists its regular files,
/// sorted by name; of several with one name, the last. Links of either kind appear under their
/// own name with the data they lead to; links that lead nowhere are left out.
///
/// # Errors
/// As [`LayerError`] says; names must be UTF-8.
pub fn scan_archive(
    input: Input,
    spool: File,
    max_bytes: u64,
) -> Result<Vec<ArchiveMember>, LayerError> {
    let (members, _) = inflated(input, Formats::Archives, max_bytes, Spool(spool), |source| {
        let mut reader = Reader::new(source);
        let mut members = BTreeMap::new();
        while let Some(entry) = reader.next_entry()? {
            let path = name(&entry, &entry.name)?;
            match member(&entry, &path)? {
                Some(member) => members.insert(path, member),
                None => members.remove(&path),
            };
            if members.len() > MAX_MEMBERS {
                return Err(LayerError::TooLarge { what: "members", limit: MAX_MEMBERS as u64 });
            }
        }
        reader.finish()?;
        Ok(members)
    })?;
    let resolved = members.iter().filter_map(|(name, member)| {
        let (offset, size) = resolve(&members, member)?;
        Some(ArchiveMember { name: name.clone(), offset, size })
    });
    Ok(resolved.collect())
}

enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// The name of another member.
    Link(String),
}

fn member(entry: &Entry, path: &str) -> Result<Option<Member>, LayerError> {
    Ok(match &entry.kind {
        EntryKind::File => Some(Member::File { offset: entry.data_offset, size: entry.size }),
        EntryKind::HardLink(target) => Some(Member::Link(name(entry, target)?)),
        EntryKind::Symlink(target) => Some(Member::Link(beside(entry, path, target)?)),
        _ => None,
    })
}

/// The member that a symlink at `path` leads to, going by names alone.
fn beside(entry: &Entry, path: &str, target: &[u8]) -> Result<String, LayerError> {
    let mut names: Vec<&[u8]> = match target.first() {
        Some(b'/') => Vec::new(),
        _ => components(path.as_bytes()).collect(),
    };
    names.pop();
    for part in components(target) {
        match part {
            b"." => {}
            b".." => {
                let left = names.pop();
                left.ok_or_else(|| fail(entry, "a symlink that leaves the archive"))?;
            }
            part => names.push(part),
        }
    }
    name(entry, &names.join(&b'/'))
}

fn resolve(members: &BTreeMap<String, Member>, member: &Member) -> Option<(u64, u64)> {
    let mut member = member;
    for _ in 0..=MAX_LINKS {
        match member {
            Member::File { offset, size } => return Some((*offset, *size)),
            Member::Link(target) => member = members.get(target)?,
        }
    }
    None
}

fn name(entry: &Entry, name: &[u8]) -> Result<String, LayerError> {
    let path = LayerPath::parse(name)
        .map_err(|error| LayerError::path(&error, name, entry.header_offset))?;
    String::from_utf8(path.as_bytes().to_vec()).map_err(|_| fail(entry, "the name is not UTF-8"))
}

fn fail(entry: &Entry, problem: &str) -> LayerError {
    LayerError::Entry {
        name: shown(&entry.name),
        offset: entry.header_offset,
        problem: problem.to_owned(),
    }
}

/// The uncompressed archive.
struct Spool(File);

impl Tap for Spool {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.0.write_all(bytes).map_err(|error| LayerError::io("write the archive's spool", error))
    }
}
