//! The data root: every file operation of the store, relative to one descriptor.
//!
//! Paths are made of constants, digests, ids and checked names, never of text an image supplied.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{ffi::OsString, fmt::Write as _};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::FileError;
use crate::format::GC_LOCK;

/// Whether a write must outlive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before the call returns.
    Durable,
    /// Survives the process, not the machine: for what is removed with its container anyway.
    Volatile,
}

#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    path: PathBuf,
}

/// Holds `gc.lock` shared: no collection moves anything away meanwhile.
#[derive(Debug)]
pub(crate) struct SharedLock(#[expect(dead_code, reason = "closing it unlocks")] File);

/// Holds `gc.lock` exclusively: nobody takes a reference meanwhile.
#[derive(Debug)]
pub(crate) struct ExclusiveLock(#[expect(dead_code, reason = "closing it unlocks")] File);

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Self { directory, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(FileError::new("open", path, error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// An error about `path` below the root.
    pub(crate) fn error(
        &self,
        action: &'static str,
        path: &str,
        source: impl Into<io::Error>,
    ) -> FileError {
        FileError::new(action, self.path.join(path), source)
    }

    pub(crate) fn open_file(&self, path: &str) -> Result<Option<File>, FileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, path, flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.error("open", path, error)),
        }
    }

    pub(crate) fn open_directory(&self, path: &str) -> Result<Option<OwnedFd>, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, path, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("open", path, error)),
        }
    }

    /// The content of a file of at most `max` bytes.
    pub(crate) fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, FileError> {
        let Some(mut file) = self.open_file(path)? else { return Ok(None) };
        let mut bytes = vec![0; 16 * 1024];
        let mut length = 0;
        loop {
            let count =
                file.read(&mut bytes[length..]).map_err(|error| self.error("read", path, error))?;
            length += count;
            if length > max {
                return Err(self.error("read", path, Errno::FBIG));
            }
            // A regular file reads short only at its end: most need a single call.
            if length < bytes.len() {
                bytes.truncate(length);
                return Ok(Some(bytes));
            }
            bytes.resize(bytes.len() * 4, 0);
        }
    }

    pub(crate) fn exists(&self, path: &str) -> Result<bool, FileError> {
        match rustix::fs::accessat(
            &self.directory,
            path,
            rustix::fs::Access::EXISTS,
            AtFlags::empty(),
        ) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(self.error("look up", path, error)),
        }
    }

    /// Names in a directory, sorted; a missing directory is empty.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<OsString>, FileError> {
        let Some(directory) = self.open_directory(path)? else { return Ok(Vec::new()) };
        let fail = |error: Errno| self.error("list", path, error);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Names in a directory that are text; whatever else lies there is not ours.
    pub(crate) fn list_text(&self, path: &str) -> Result<Vec<String>, FileError> {
        Ok(self.list(path)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Makes a directory; false if it is there already.
    pub(crate) fn make_directory(&self, path: &str, mode: u32) -> Result<bool, FileError> {
        match rustix::fs::mkdirat(&self.directory, path, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.error("create", path, error)),
        }
    }

    pub(crate) fn set_mode(&self, path: &str, mode: u32) -> Result<(), FileError> {
        rustix::fs::chmodat(&self.directory, path, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(|error| self.error("set the mode of", path, error))
    }

    /// A file without a name, for writing and reading; it is gone when closed unless linked.
    pub(crate) fn temporary(&self) -> Result<File, FileError> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, "ingest", flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| self.error("create a file in", "ingest", error))
    }

    /// A nameless file with this content, on disk if `durability` asks for it.
    pub(crate) fn filled(&self, bytes: &[u8], durability: Durability) -> Result<File, FileError> {
        let mut file = self.temporary()?;
        file.write_all(bytes).map_err(|error| self.error("write a file in", "ingest", error))?;
        if durability == Durability::Durable {
            self.sync_data(&file, "ingest")?;
        }
        Ok(file)
    }

    pub(crate) fn sync_data(&self, file: impl AsFd, path: &str) -> Result<(), FileError> {
        rustix::fs::fdatasync(file).map_err(|error| self.error("sync", path, error))
    }

    /// Gives a nameless file its name; false if the name is taken.
    pub(crate) fn link(&self, file: &impl AsRawFd, path: &str) -> Result<bool, FileError> {
        // Linking by descriptor alone needs CAP_DAC_READ_SEARCH before Linux 6.10.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(CWD, source, &self.directory, path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.error("create", path, error)),
        }
    }

    /// Gives a nameless file its name, in place of what has it. If that fails the file is spent:
    /// one that had a name and lost it cannot be linked again.
    pub(crate) fn link_over(&self, file: &impl AsRawFd, path: &str) -> Result<(), FileError> {
        let between = format!("ingest/{}", random_name());
        // The file between the two calls has no lock: keep the collection from sweeping it.
        let _lock = self.lock_shared()?;
        self.link(file, &between)?;
        self.rename(&between, path).inspect_err(|_| {
            if let Err(error) = self.unlink(&between) {
                tracing::warn!(path = between, %error, "cannot remove an unfinished write");
            }
        })
    }

    /// Writes a whole file in place of what is there.
    pub(crate) fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), FileError> {
        let file = self.filled(bytes, durability)?;
        self.link_over(&file, path)?;
        if durability == Durability::Durable {
            self.sync_parent(path)?;
        }
        Ok(())
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        rustix::fs::renameat(&self.directory, from, &self.directory, to)
            .map_err(|error| self.error("rename", from, error))
    }

    /// Renames if the new name is free.
    pub(crate) fn rename_new(&self, from: &str, to: &str) -> Result<bool, FileError> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.directory, from, &self.directory, to, flags) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(false),
            Err(error) => Err(self.error("rename", from, error)),
        }
    }

    /// Removes a file; false if there is none.
    pub(crate) fn unlink(&self, path: &str) -> Result<bool, FileError> {
        match rustix::fs::unlinkat(&self.directory, path, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(self.error("remove", path, error)),
        }
    }

    /// Moves an object to the trash; false if it was not there.
    pub(crate) fn discard(&self, path: &str) -> Result<Option<String>, FileError> {
        let trash = format!("trash/{}", random_name());
        match rustix::fs::renameat(&self.directory, path, &self.directory, &trash) {
            Ok(()) => Ok(Some(trash)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.error("move to trash", path, error)),
        }
    }

    /// Brings the names in a directory to disk. One that somebody removed meanwhile has none.
    pub(crate) fn sync_directory(&self, path: &str) -> Result<(), FileError> {
        let Some(directory) = self.open_directory(path)? else { return Ok(()) };
        rustix::fs::fsync(directory).map_err(|error| self.error("sync", path, error))
    }

    pub(crate) fn sync_parent(&self, path: &str) -> Result<(), FileError> {
        self.sync_directory(path.rsplit_once('/').map_or(".", |(parent, _)| parent))
    }

    pub(crate) fn lock_shared(&self) -> Result<SharedLock, FileError> {
        let file = self.lock_file()?;
        uninterrupted(|| file.lock_shared()).map_err(|error| self.error("lock", GC_LOCK, error))?;
        Ok(SharedLock(file))
    }

    pub(crate) fn lock_exclusive(&self) -> Result<ExclusiveLock, FileError> {
        let file = self.lock_file()?;
        uninterrupted(|| file.lock()).map_err(|error| self.error("lock", GC_LOCK, error))?;
        Ok(ExclusiveLock(file))
    }

    fn lock_file(&self) -> Result<File, FileError> {
        // Opened anew each time: descriptors that share an open file share its lock.
        self.open_file(GC_LOCK)?.ok_or_else(|| self.error("open", GC_LOCK, Errno::NOENT))
    }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn uninterrupted(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// 128 random bits in hex.
pub(crate) fn random_name() -> String {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .expect("the kernel has a random source");
    }
    bytes.iter().fold(String::with_capacity(32), |mut name, byte| {
        write!(name, "{byte:02x}").expect("writing to a string does not fail");
        name
    })
}
