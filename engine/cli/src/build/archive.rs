//! A context directory as a tar, for an engine that does not see it.
//!
//! What `.dockerignore` excludes is left out. Owners are 0:0; modes, times, hard links, the
//! `user.*` attributes and file capabilities are kept. Every file is opened beneath its directory
//! without following links: a tree that changes meanwhile can send wrong bytes, never another file.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hull_builder::ignore::{Ignore, Level};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

/// Tar's unit.
const BLOCK: u64 = 512;

/// How deep directories may be.
const MAX_DEPTH: usize = 1024;

/// A directory as a tar.
pub(crate) struct ContextTar {
    root: PathBuf,
    /// Still to come, in reverse order of sending.
    entries: Vec<Entry>,
    /// First names of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    current: Box<dyn Read + Send + Sync>,
    ended: bool,
}

struct Entry {
    /// Relative to the root, without slash at the end.
    path: Vec<u8>,
    stat: Stat,
    /// Bytes to be sent instead of the file's.
    bytes: Option<Vec<u8>>,
}

impl ContextTar {
    /// Lists `root` without what is excluded. `keep` are files of the root that are sent even so.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub(crate) fn new(root: &Path, ignore: &Ignore, keep: &[&str]) -> Result<Self> {
        let directory =
            open(root, true).with_context(|| format!("cannot read {}", root.display()))?;
        let mut walk = Walk { root, keep, entries: Vec::new() };
        walk.directory(&directory, &[], &ignore.root(), 0)?;
        let mut entries = walk.entries;
        entries.reverse();
        let current = Box::new(io::empty());
        Ok(Self { root: root.to_owned(), entries, links: HashMap::new(), current, ended: false })
    }

    /// Adds a file, as the first one.
    pub(crate) fn with_file(mut self, name: &str, bytes: &[u8]) -> Result<Self> {
        // Mode and kind are all that counts of the stat.
        let mut stat = rustix::fs::stat(&self.root)?;
        stat.st_mode = FileType::RegularFile.as_raw_mode() | 0o644;
        stat.st_nlink = 1;
        let path = name.as_bytes().to_vec();
        self.entries.push(Entry { path, stat, bytes: Some(bytes.to_vec()) });
        Ok(self)
    }

    fn next_part(&mut self) -> io::Result<bool> {
        let Some(entry) = self.entries.pop() else {
            let more = !std::mem::replace(&mut self.ended, true);
            self.current = Box::new(io::repeat(0).take(if more { 2 * BLOCK } else { 0 }));
            return Ok(more);
        };
        self.current = self.entry(entry)?;
        Ok(true)
    }

    fn entry(&mut self, entry: Entry) -> io::Result<Box<dyn Read + Send + Sync>> {
        let Entry { path, stat, bytes } = entry;
        let mut header = Header::new(&path, &stat);
        if let Some(bytes) = bytes {
            let size = bytes.len() as u64;
            let padding = size.next_multiple_of(BLOCK) - size;
            let start = io::Cursor::new(header.file(size)).chain(io::Cursor::new(bytes));
            return Ok(Box::new(start.chain(io::repeat(0).take(padding))));
        }
        let on_disk = self.root.join(OsString::from_vec(path.clone()));
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return Ok(Box::new(io::Cursor::new(header.link(b'1', first))));
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        let shown = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", on_disk.display()))
        };
        match kind {
            FileType::RegularFile => {
                let descriptor = open(&on_disk, false).map_err(shown)?;
                let stat = rustix::fs::fstat(&descriptor)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(io::Error::other(format!(
                        "{} changed while it was read",
                        on_disk.display()
                    )));
                }
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                header.attributes(attributes(&descriptor));
                let padding = size.next_multiple_of(BLOCK) - size;
                // A file that became shorter is filled up, so that the archive stays one.
                let content = File::from(descriptor).chain(io::repeat(0)).take(size);
                let start = io::Cursor::new(header.file(size)).chain(content);
                Ok(Box::new(start.chain(io::repeat(0).take(padding))))
            }
            FileType::Directory => Ok(Box::new(io::Cursor::new(header.directory()))),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(CWD, &on_disk, Vec::new())
                    .map_err(|error| shown(error.into()))?;
                Ok(Box::new(io::Cursor::new(header.link(b'2', target.as_bytes()))))
            }
            FileType::Fifo => Ok(Box::new(io::Cursor::new(header.plain(b'6')))),
            // Sockets and devices mean nothing to another machine.
            _ => Ok(Box::new(io::empty())),
        }
    }
}

impl Read for ContextTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.current.read(buffer)? {
                0 if buffer.is_empty() => return Ok(0),
                0 => {
                    if !self.next_part()? {
                        return Ok(0);
                    }
                }
                count => return Ok(count),
            }
        }
    }
}

fn open(path: &Path, directory: bool) -> io::Result<OwnedFd> {
    let kind = if directory { OFlags::DIRECTORY } else { OFlags::NOFOLLOW | OFlags::NONBLOCK };
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | kind, Mode::empty())?)
}

struct Walk<'a> {
    root: &'a Path,
    keep: &'a [&'a str],
    entries: Vec<Entry>,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        directory: &OwnedFd,
        above: &[u8],
        level: &Level<'_>,
        depth: usize,
    ) -> Result<()> {
        let shown = || self.root.join(OsString::from_vec(above.to_vec())).display().to_string();
        anyhow::ensure!(
            depth < MAX_DEPTH,
            "{}: directories are more than {MAX_DEPTH} deep",
            shown()
        );
        let mut names = Vec::new();
        for entry in
            Dir::read_from(directory).with_context(|| format!("cannot read {}", shown()))?
        {
            let entry = entry.with_context(|| format!("cannot read {}", shown()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        for name in names {
            self.entry(directory, above, &name, level, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        above: &[u8],
        name: &CString,
        level: &Level<'_>,
        depth: usize,
    ) -> Result<()> {
        let mut path = above.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let shown = || self.root.join(OsString::from_vec(path.clone())).display().to_string();
        let level = level.child(&String::from_utf8_lossy(&path));
        let kept = self.keep.iter().any(|keep| keep.as_bytes() == path);
        let excluded = level.is_excluded() && !kept;
        if excluded && !level.may_include_below() {
            return Ok(());
        }
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since it was listed.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", shown())),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let at = self.entries.len();
        if !excluded {
            self.entries.push(Entry { path: path.clone(), stat, bytes: None });
        }
        if !is_directory {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let below = rustix::fs::openat(directory, name, flags, Mode::empty())
            .with_context(|| format!("cannot read {}", shown()))?;
        self.directory(&below, &path, &level, depth + 1)?;
        // An excluded directory is there for what is included again below it.
        if excluded && self.entries.len() > at {
            self.entries.insert(at, Entry { path, stat, bytes: None });
        }
        Ok(())
    }
}

/// Attributes that belong to a file wherever it is.
fn attributes(file: &OwnedFd) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut names = vec![0; 64 << 10];
    // A file system without attributes has none to send.
    let Ok(length) = rustix::fs::flistxattr(file, &mut names[..]) else { return found };
    for name in names[..length].split(|byte| *byte == 0) {
        if !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        let Ok(text) = CString::new(name) else { continue };
        let mut value = vec![0; 64 << 10];
        if let Ok(length) = rustix::fs::fgetxattr(file, text.as_c_str(), &mut value[..]) {
            value.truncate(length);
            found.insert(name.to_vec(), value);
        }
    }
    found
}

/// A header in the making: what does not fit the old format goes into a pax header before it.
struct Header {
    path: Vec<u8>,
    mode: u32,
    time: u64,
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Header {
    fn new(path: &[u8], stat: &Stat) -> Self {
        let time = u64::try_from(stat.st_mtime).unwrap_or_default();
        let mut pax = BTreeMap::new();
        if stat.st_mtime_nsec != 0 {
            pax.insert(b"mtime".to_vec(), format!("{time}.{:09}", stat.st_mtime_nsec).into_bytes());
        }
        Self { path: path.to_vec(), mode: stat.st_mode & 0o7777, time, pax }
    }

    fn attributes(&mut self, attributes: BTreeMap<Vec<u8>, Vec<u8>>) {
        for (name, value) in attributes {
            self.pax.insert([b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
    }

    fn file(self, size: u64) -> Vec<u8> {
        self.write(b'0', &[], size)
    }

    fn directory(mut self) -> Vec<u8> {
        self.path.push(b'/');
        self.write(b'5', &[], 0)
    }

    fn plain(self, kind: u8) -> Vec<u8> {
        self.write(kind, &[], 0)
    }

    fn link(self, kind: u8, target: &[u8]) -> Vec<u8> {
        self.write(kind, target, 0)
    }

    fn write(mut self, kind: u8, link: &[u8], size: u64) -> Vec<u8> {
        if self.path.len() > 100 {
            self.pax.insert(b"path".to_vec(), self.path.clone());
        }
        if link.len() > 100 {
            self.pax.insert(b"linkpath".to_vec(), link.to_vec());
        }
        if size >= 1 << 33 {
            self.pax.insert(b"size".to_vec(), size.to_string().into_bytes());
        }
        let mut bytes = Vec::new();
        if !self.pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in &self.pax {
                records.extend(record(key, value));
            }
            bytes.extend(block(b"pax", 0o644, records.len() as u64, 0, b'x', b""));
            records.resize(records.len().next_multiple_of(512), 0);
            bytes.extend(records);
        }
        let size = if size < 1 << 33 { size } else { 0 };
        bytes.extend(block(&self.path, self.mode, size, self.time, kind, link));
        bytes
    }
}

/// `length key=value\n`, the length counting itself. Spec: POSIX pax, "extended header".
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// One block of the ustar format. What is too long is cut: a pax header says it whole.
fn block(path: &[u8], mode: u32, size: u64, time: u64, kind: u8, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, room: usize, text: &[u8]| {
        let length = text.len().min(room);
        block[at..at + length].copy_from_slice(&text[..length]);
    };
    put(0, 100, path);
    put(100, 8, format!("{mode:07o}").as_bytes());
    put(108, 8, b"0000000");
    put(116, 8, b"0000000");
    put(124, 12, format!("{size:011o}").as_bytes());
    put(136, 12, format!("{:011o}", time.min((1 << 33) - 1)).as_bytes());
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, link);
    put(257, 8, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        assert_eq!(record(b"path", b"a"), b"9 path=a\n");
        let long = record(b"path", &[b'x'; 90]);
        assert!(long.starts_with(b"99 path=x") && long.len() == 99);
        let longer = record(b"path", &[b'x'; 91]);
        assert!(longer.starts_with(b"101 path=x") && longer.len() == 101, "{}", longer.len());
    }

    #[test]
    fn what_is_excluded_is_not_sent() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in ["a/keep", "a/drop", "b/c/deep", "Dockerfile", "big/x"] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), path).unwrap();
        }
        std::os::unix::fs::symlink("a/keep", root.join("link")).unwrap();
        std::fs::hard_link(root.join("a/keep"), root.join("z")).unwrap();
        let long = "n".repeat(150);
        std::fs::write(root.join(&long), "long").unwrap();
        let ignore = Ignore::parse(b"a\n!a/keep\nbig\nDockerfile\n").unwrap();
        let tar = ContextTar::new(root, &ignore, &["Dockerfile"]).unwrap();
        let mut bytes = Vec::new();
        tar.with_file("extra", b"bytes").unwrap().read_to_end(&mut bytes).unwrap();
        std::fs::write(root.join("out.tar"), &bytes).unwrap();
        let listed =
            std::process::Command::new("tar").arg("-tf").arg(root.join("out.tar")).output();
        // The format is checked by another program where there is one.
        if let Ok(listed) = listed {
            let text = String::from_utf8(listed.stdout).unwrap();
            let names: Vec<&str> = text.lines().collect();
            let expected = [
                "extra",
                "Dockerfile",
                "a/",
                "a/keep",
                "b/",
                "b/c/",
                "b/c/deep",
                "link",
                &long,
                "z",
            ];
            assert_eq!(names, expected);
        }
        assert_eq!(bytes.len() % 512, 0);
    }
}
