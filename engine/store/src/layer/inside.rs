//! One place inside a root directory, found as a process with that root would find it.
//!
//! Every lookup starts at the root's descriptor and ends inside it, whatever symlinks lie on the
//! way and whoever changes them meanwhile (`RESOLVE_IN_ROOT`). Magic links, as in `/proc`, are not
//! followed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::LayerError;
use super::beneath::failed;
use super::error::shown;
use super::path::{components, join};

/// As many symlinks in one name as are followed to tell where it leads.
const MAX_LINKS: u32 = 40;

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A path as a client names it, cleaned by its text alone, as Docker does: `..` takes the part
/// before it away. A slash at the end, or `/.`, asks for a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Components joined by `/`; empty for the root.
    path: Vec<u8>,
    /// What stood at the end.
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Nothing,
    Slash,
    Dot,
}

/// Why there is nothing to read or write at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Nothing is there.
    NotFound,
    /// Something else than a directory is there.
    NotADirectory,
    /// Nothing can be written to the root's own file system.
    ReadOnlyRoot,
    /// Nothing can be written to what is mounted there.
    ReadOnlyMount,
}

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceStat {
    /// Last part of its name as it was asked for; `/` for the root, `.` where that was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Kind and permission bits, `st_mode`.
    pub mode: u32,
    /// Seconds of the modification time.
    pub seconds: i64,
    /// Nanoseconds of it.
    pub nanoseconds: u32,
    /// Of a symlink: where it leads, an absolute path inside the root, as far as it can be told.
    pub link_target: String,
}

impl Place {
    /// Cleans a path; `None` if it holds a NUL byte.
    pub fn new(text: &str) -> Option<Self> {
        if text.contains('\0') {
            return None;
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in components(text.as_bytes()) {
            match part {
                b"." => {}
                b".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let end = match text {
            "." => End::Dot,
            text if text.ends_with("/.") => End::Dot,
            text if text.ends_with('/') => End::Slash,
            _ => End::Nothing,
        };
        Some(Self { path: parts.join(&b'/'), end })
    }

    /// The last part, as [`PlaceStat::name`].
    pub fn name(&self) -> &[u8] {
        match (self.end, self.path.is_empty()) {
            (End::Dot, _) => b".",
            (_, true) => b"/",
            _ => super::path::split(&self.path).1,
        }
    }
}

/// What was found at a place.
pub(super) enum Found {
    Directory(OwnedFd),
    /// Anything else: its directory and its name there.
    Other(OwnedFd, Vec<u8>),
}

fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    /// Somebody who renames all the time cannot keep us here for ever.
    const ATTEMPTS: usize = 1000;
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let open = || rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), IN_ROOT);
    // EAGAIN: something was renamed meanwhile and the kernel could not be sure of a `..`.
    for _ in 0..ATTEMPTS {
        match open() {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    open()
}

/// The directory at `path`, its last part followed if it is a symlink.
pub(super) fn directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, LayerError> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|error| refused(error, path))
}

/// What is at `place`, its last part not followed.
pub(super) fn find(root: BorrowedFd<'_>, place: &Place) -> Result<Found, LayerError> {
    let path = place.path.as_slice();
    if place.end != End::Nothing || path.is_empty() {
        return directory(root, path).map(Found::Directory);
    }
    let (parent, base) = super::path::split(path);
    let parent = directory(root, parent)?;
    let stat = rustix::fs::statat(&parent, base, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| refused(error, path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(Found::Other(parent, base.to_vec()));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, base, flags, Mode::empty())
        .map(Found::Directory)
        .map_err(|error| refused(error, path))
}

/// Tells what is at `place`.
///
/// # Errors
/// [`LayerError::Place`] if nothing is there, otherwise the system's.
pub fn stat_place(root: BorrowedFd<'_>, place: &Place) -> Result<PlaceStat, LayerError> {
    let look = |stat: Result<Stat, Errno>| stat.map_err(|error| refused(error, &place.path));
    let stat = match find(root, place)? {
        Found::Directory(directory) => look(rustix::fs::fstat(&directory))?,
        Found::Other(parent, base) => {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            look(rustix::fs::statat(&parent, base.as_slice(), flags))?
        }
    };
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let link_target = if is_link { target(root, &place.path) } else { Vec::new() };
    Ok(PlaceStat {
        name: String::from_utf8_lossy(place.name()).into_owned(),
        size: stat.st_size,
        mode: stat.st_mode,
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        link_target: String::from_utf8_lossy(&link_target).into_owned(),
    })
}

/// Writes the bytes of the regular file at `place` to `output`; links are followed. Returns how
/// many there were.
///
/// # Errors
/// [`LayerError::Place`] if no regular file is there, [`LayerError::TooLarge`] if it has more than
/// `max_bytes`, otherwise the system's.
pub fn read_place(
    root: BorrowedFd<'_>,
    place: &Place,
    max_bytes: u64,
    mut output: impl Write,
) -> Result<u64, LayerError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = open(root, &place.path, flags).map_err(|error| refused(error, &place.path))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| failed("look at", &place.path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(LayerError::Place { refusal: Refusal::NotFound });
    }
    // Not `io::copy`: it tries calls that a sealed process may not make.
    let failed = |error| LayerError::io(format!("read {:?}", shown(&place.path)), error);
    let mut bytes = Vec::new();
    let mut file = File::from(file).take(max_bytes + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(LayerError::TooLarge { what: "bytes", limit: max_bytes });
    }
    output.write_all(&bytes).map_err(failed)?;
    Ok(bytes.len() as u64)
}

/// Where `path` leads once its symlinks are followed, also if nothing is there. Told for
/// information: nothing is opened by it.
fn target(root: BorrowedFd<'_>, path: &[u8]) -> Vec<u8> {
    let mut ahead: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut walked: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == b".." {
            walked = super::path::split(&walked).0.to_vec();
            continue;
        }
        let next = join(&walked, &part);
        let link = open(root, &next, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|link| rustix::fs::readlinkat(&link, "", Vec::new()));
        match link {
            Ok(link) if links < MAX_LINKS => {
                links += 1;
                let link = link.into_bytes();
                if link.first() == Some(&b'/') {
                    walked.clear();
                }
                let parts = components(&link).filter(|part| *part != b".");
                ahead.extend(parts.rev().map(<[u8]>::to_vec).collect::<Vec<_>>());
            }
            _ => walked = next,
        }
    }
    [b"/", walked.as_slice()].concat()
}

/// Whether nothing can be written in `directory`, which lies inside `root`.
pub(super) fn refuse_read_only(
    root: BorrowedFd<'_>,
    directory: &OwnedFd,
) -> Result<(), LayerError> {
    let look = |error| failed("look at the file system of", b"", error);
    let flags = rustix::fs::fstatvfs(directory).map_err(look)?.f_flag;
    if !flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let device = |directory: BorrowedFd<'_>| rustix::fs::fstat(directory).map(|stat| stat.st_dev);
    let same = device(root).map_err(look)? == device(directory.as_fd()).map_err(look)?;
    let refusal = if same { Refusal::ReadOnlyRoot } else { Refusal::ReadOnlyMount };
    Err(LayerError::Place { refusal })
}

fn refused(error: Errno, path: &[u8]) -> LayerError {
    match error {
        Errno::NOENT => LayerError::Place { refusal: Refusal::NotFound },
        Errno::NOTDIR => LayerError::Place { refusal: Refusal::NotADirectory },
        error => failed("open", path, error),
    }
}

impl Place {
    /// The path relative to the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        let check = |text: &str, path: &str, name: &str| {
            let place = Place::new(text).unwrap();
            assert_eq!(place.path, path.as_bytes(), "{text}");
            assert_eq!(place.name(), name.as_bytes(), "{text}");
        };
        check("", "", "/");
        check("/", "", "/");
        check("/.", "", ".");
        check(".", "", ".");
        check("etc//passwd", "etc/passwd", "passwd");
        check("/etc/", "etc", "etc");
        check("/etc/.", "etc", ".");
        check("/a/../../b/./c", "b/c", "c");
        check("../..", "", "/");
        assert_eq!(Place::new("a\0b"), None);
    }
}
