//! A layer put together from a list: what a tree has, what a view shows, what is made up.
//!
//! The list is made by the engine, which has looked at both trees; whoever packs follows it to the
//! letter. Names are followed through no symlink, so a tree that changes meanwhile can make the
//! layer wrong in its content, never in its places, and nothing outside the tree gets into it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::LayerError;
use super::beneath::{Beneath, failed};
use super::error::shown;
use super::pack::{Pack, Packed, look};
use super::path::split;
use super::tar::Time;
use super::tree::Attributes;

/// One entry of a layer. Paths are relative, with no symlink on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// A directory as the view below the layer has it.
    Below {
        /// Where it is, and stays.
        #[serde(with = "bytes")]
        path: Vec<u8>,
    },
    /// What the tree has, without what is in it.
    Tree {
        /// Where it is in the tree.
        #[serde(with = "bytes")]
        from: Vec<u8>,
        /// Where it goes in the layer.
        #[serde(with = "bytes")]
        to: Vec<u8>,
        /// Owner and group; its own where absent.
        owner: Option<(u32, u32)>,
        /// Permission bits; its own where absent.
        mode: Option<u16>,
    },
    /// Something made up: a directory, or a file if there is data.
    Made {
        /// Where it goes in the layer.
        #[serde(with = "bytes")]
        to: Vec<u8>,
        /// Content of a file.
        data: Option<Vec<u8>>,
        /// Owner and group.
        owner: (u32, u32),
        /// Permission bits.
        mode: u16,
        /// Seconds of its modification time.
        time: i64,
    },
}

/// Paths that need not be text, in JSON: each byte is a character of its own.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&path.iter().copied().map(char::from).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.chars().map(|letter| u8::try_from(u32::from(letter)));
        bytes.collect::<Result<_, _>>().map_err(|_| D::Error::custom("not a byte"))
    }
}

/// Writes a list, a line for each.
///
/// # Errors
/// The output's.
pub fn write_items(items: &[Item], mut output: impl Write) -> std::io::Result<()> {
    for item in items {
        serde_json::to_writer(&mut output, item)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

/// Reads what [`write_items`] wrote.
///
/// # Errors
/// As [`LayerError`] says.
pub fn read_items(input: impl Read) -> Result<Vec<Item>, LayerError> {
    let damaged = |error: std::io::Error| LayerError::io("read the list of a layer", error);
    let lines = BufReader::with_capacity(64 << 10, input).split(b'\n');
    lines
        .map(|line| serde_json::from_slice(&line?).map_err(Into::into))
        .collect::<Result<_, _>>()
        .map_err(damaged)
}

/// Packs what `items` say, in their order. `tree` is where [`Item::Tree`] comes from, `view` where
/// [`Item::Below`] does. No time in the layer is later than `latest`, seconds since 1970.
///
/// # Errors
/// As [`LayerError`] says; also if something that is listed is gone.
pub fn assemble(
    items: &[Item],
    tree: OwnedFd,
    view: OwnedFd,
    latest: Option<i64>,
    output: impl Write,
) -> Result<Packed, LayerError> {
    let (mut tree, mut view) = (Beneath::new(tree), Beneath::new(view));
    let mut pack = Pack::new(output).no_later_than(latest);
    for item in items {
        match item {
            Item::Below { path } => {
                pack.instead(None, None);
                let directory = view.open(path)?;
                let stat = rustix::fs::fstat(&directory)
                    .map_err(|error| failed("look at", path, error))?;
                pack.directory(directory.as_fd(), &stat, path, path)?;
            }
            Item::Tree { from, to, owner, mode } => {
                pack.instead(*owner, *mode);
                add(&mut pack, &mut tree, from, to)?;
            }
            Item::Made { to, data, owner, mode, time } => {
                pack.instead(None, None);
                let attributes = Attributes {
                    mode: *mode,
                    uid: owner.0,
                    gid: owner.1,
                    mtime: Time { seconds: *time, nanoseconds: 0 },
                    xattrs: Box::default(),
                };
                pack.made(to, data.as_deref(), &attributes)?;
            }
        }
    }
    pack.finish()
}

fn add(
    pack: &mut Pack<impl Write>,
    tree: &mut Beneath,
    from: &[u8],
    to: &[u8],
) -> Result<(), LayerError> {
    let changed = || LayerError::Tree {
        path: shown(from),
        problem: "it was changed or removed while it was copied".to_owned(),
    };
    let (directory, name) = split(from);
    if !name.is_empty() {
        let parent = tree.open_if_there(directory)?.ok_or_else(changed)?;
        let stat = look(parent.as_fd(), name, from)?.ok_or_else(changed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return pack.node(parent.as_fd(), name, &stat, from, to);
        }
    }
    let directory = tree.open_if_there(from)?.ok_or_else(changed)?;
    let stat = rustix::fs::fstat(&directory).map_err(|error| failed("look at", from, error))?;
    pack.directory(directory.as_fd(), &stat, from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_every_byte() {
        let items = vec![
            Item::Below { path: b"usr/\xff\n\"x".to_vec() },
            Item::Tree {
                from: b"a".to_vec(),
                to: "b/ü".as_bytes().to_vec(),
                owner: Some((1, 2)),
                mode: Some(0o4755),
            },
            Item::Made { to: b"d".to_vec(), data: None, owner: (0, 0), mode: 0o755, time: -1 },
        ];
        let mut text = Vec::new();
        write_items(&items, &mut text).unwrap();
        assert_eq!(read_items(text.as_slice()).unwrap(), items);
        assert!(read_items(&b"{}\n"[..]).is_err());
    }
}
