//! Writing the log.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::{CURRENT, Event, FOLDER, KEPT, SEGMENT_BYTES};

/// After this many events, or nanoseconds, a writer looks whether its segment is full.
const CHECK_EVENTS: u32 = 64;
const CHECK_NANOSECONDS: i64 = 1_000_000_000;

/// The writing end of the log. Opened at the first event, then kept open.
#[derive(Debug)]
pub struct EventLog {
    data_root: DataRoot,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
enum DataRoot {
    Path(PathBuf),
    Directory(Arc<OwnedFd>),
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Time of the event for which the size was last looked at.
    checked: i64,
    events: u32,
}

impl EventLog {
    /// The log in the data root at this path.
    #[must_use]
    pub fn new(data_root: &Path) -> Self {
        Self { data_root: DataRoot::Path(data_root.to_owned()), open: Mutex::default() }
    }

    /// The log in this data root.
    #[must_use]
    pub fn beneath(data_root: Arc<OwnedFd>) -> Self {
        Self { data_root: DataRoot::Directory(data_root), open: Mutex::default() }
    }

    /// Appends one event.
    ///
    /// # Errors
    /// Of opening and writing; the event may then be missing, which harms nothing else.
    pub fn append(&self, event: &Event) -> io::Result<()> {
        self.append_all(std::slice::from_ref(event))
    }

    /// Appends events that happen at once, with one write.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_all(&self, events: &[Event]) -> io::Result<()> {
        let Some(last) = events.last() else { return Ok(()) };
        let mut bytes = Vec::with_capacity(512 * events.len());
        events.iter().for_each(|event| event.encode(&mut bytes));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = last.time_nano;
        let due = open.as_ref().is_none_or(|open| {
            open.events >= CHECK_EVENTS || now.abs_diff(open.checked) > CHECK_NANOSECONDS as u64
        });
        if due {
            let file = self.segment(open.take().map(|open| open.file))?;
            *open = Some(Open { file, checked: now, events: 0 });
        }
        if let Some(open) = open.as_mut() {
            open.events += 1;
            // Not `write_all`: half an event is none, and its rest would be another.
            let written = open.file.write(&bytes)?;
            if written < bytes.len() {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "an event was cut off"));
            }
        }
        Ok(())
    }

    fn base(&self) -> (BorrowedFd<'_>, PathBuf) {
        match &self.data_root {
            DataRoot::Path(path) => (CWD, path.clone()),
            DataRoot::Directory(directory) => (directory.as_fd(), PathBuf::new()),
        }
    }

    /// The segment to write to: the one that was open, unless it is full.
    fn segment(&self, open: Option<File>) -> io::Result<File> {
        let mut file = match open {
            Some(file) if file.metadata()?.len() < SEGMENT_BYTES => return Ok(file),
            _ => self.open_current()?,
        };
        if file.metadata()?.len() >= SEGMENT_BYTES && self.rotate(&file)? {
            file = self.open_current()?;
        }
        Ok(file)
    }

    fn open_current(&self) -> io::Result<File> {
        let (base, path) = self.base();
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = || rustix::fs::openat(base, path.join(CURRENT), flags, Mode::RUSR | Mode::WUSR);
        let opened = match open() {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(base, path.join(FOLDER), Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open()
            }
            other => other,
        };
        Ok(File::from(opened?))
    }

    /// Renames a full segment; false if another process is about to.
    fn rotate(&self, full: &File) -> io::Result<bool> {
        match rustix::fs::flock(full, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let (base, path) = self.base();
        let there = match rustix::fs::statat(base, path.join(CURRENT), AtFlags::empty()) {
            Ok(there) => there,
            Err(Errno::NOENT) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        if there.st_ino != full.metadata()?.ino() {
            return Ok(true);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(base, path.join(FOLDER), flags, Mode::empty())?;
        let mut numbers = numbers(&folder)?;
        let next = numbers.last().map_or(1, |last| last + 1);
        rustix::fs::renameat(&folder, "current", &folder, segment_name(next))?;
        numbers.push(next);
        for old in &numbers[..numbers.len().saturating_sub(KEPT)] {
            match rustix::fs::unlinkat(&folder, segment_name(*old), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:010}")
}

/// Numbers of the full segments, in order.
pub(crate) fn numbers(folder: &OwnedFd) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?;
        numbers.extend(name.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
