//! Which packages a root file system says it has.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_attestation::{DATABASES, OsRelease, Package, packages};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Bytes of one database; that of a full desktop has 100 MB.
const MAX_DATABASE: u64 = 512 << 20;

/// Files in a directory that is one.
const MAX_FILES: usize = 10_000;

const MAX_RELEASE: u64 = 64 << 10;

/// Both places of os-release(5).
const RELEASES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// Reads what is below `root`; links lead inside it. A database that is not there has no packages.
pub(crate) fn read(root: &OwnedFd) -> io::Result<(OsRelease, Vec<Package>)> {
    let mut release = OsRelease::default();
    for path in RELEASES {
        if let Some(bytes) = file(root.as_fd(), path, MAX_RELEASE)? {
            release = OsRelease::parse(&bytes);
            break;
        }
    }
    let mut files = Vec::new();
    for (place, database) in DATABASES.iter().enumerate() {
        let below = files_of(root.as_fd(), database.path)?;
        for path in below {
            if let Some(bytes) = file(root.as_fd(), &path, MAX_DATABASE)? {
                files.push((place, bytes));
            }
        }
    }
    Ok((release, packages(&files)))
}

/// The files of a database: itself, or those in it if it is a directory.
fn files_of(root: BorrowedFd<'_>, path: &str) -> io::Result<Vec<String>> {
    let Some(opened) = open(root, path)? else { return Ok(Vec::new()) };
    if kind(&opened)? != FileType::Directory {
        return Ok(vec![path.to_owned()]);
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(format!("{path}/{name}"));
        }
        if names.len() >= MAX_FILES {
            break;
        }
    }
    names.sort();
    Ok(names)
}

/// The content of a regular file of at most `most` bytes; `None` if there is no such.
fn file(root: BorrowedFd<'_>, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(opened) = open(root, path)? else { return Ok(None) };
    if kind(&opened)? != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let count = File::from(opened).take(most + 1).read_to_end(&mut bytes)?;
    if count as u64 > most {
        let problem = format!("/{path} has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(Some(bytes))
}

fn open(root: BorrowedFd<'_>, path: &str) -> io::Result<Option<OwnedFd>> {
    // Nothing there waits: a FIFO without a writer is opened at once.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), inside) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn kind(opened: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(opened)?.st_mode))
}
