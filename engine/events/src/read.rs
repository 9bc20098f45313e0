//! Reading the log, and on as it grows.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::append::{numbers, segment_name};
use crate::{Event, FOLDER, MAX_EVENT_BYTES};

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With what was written at or after this time, in nanoseconds since 1970. Older events may
    /// come too: whoever reads looks at their times.
    Time(i64),
    /// With what is written from now on.
    Now,
}

/// A position in the log. Segments it has not read to their end stay readable for it, even when
/// they are removed.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    /// In order, the one that is written to last.
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    identity: (u64, u64),
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
}

impl Reader {
    /// Opens the log; one that does not exist is empty. To follow it, watch [`Self::folder`]
    /// before.
    ///
    /// # Errors
    /// Of listing and opening segments.
    pub fn open(data_root: &Path, from: From) -> io::Result<Self> {
        let mut reader = Self { folder: data_root.join(FOLDER), segments: Vec::new() };
        reader.refresh()?;
        for segment in &mut reader.segments {
            let data = segment.file.metadata()?;
            // In nanoseconds.
            let written = data.mtime().saturating_mul(1_000_000_000) + data.mtime_nsec();
            // A file's time is that of the clock's last tick.
            let skip = match from {
                From::Now => true,
                From::Time(since) => written.saturating_add(1_000_000_000) < since,
            };
            if skip {
                segment.offset = data.len();
            }
        }
        Ok(reader)
    }

    /// The folder whose changes tell of new events: files in it are modified, made and renamed.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The next events, a bounded number; none at the end for now.
    ///
    /// # Errors
    /// Of reading.
    pub fn next_events(&mut self) -> io::Result<Vec<Event>> {
        loop {
            for segment in &mut self.segments {
                while let Some(events) = segment.next_events()? {
                    if !events.is_empty() {
                        return Ok(events);
                    }
                }
            }
            if !self.refresh()? {
                return Ok(Vec::new());
            }
        }
    }

    /// Finds segments that are new, and forgets those that are gone. True if there are new ones.
    fn refresh(&mut self) -> io::Result<bool> {
        // Opened before the others are listed: if it is renamed meanwhile it is still there once.
        let current = match File::open(self.folder.join("current")) {
            Ok(file) => Some(Segment::new(file)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let last = self.segments.last().map(|segment| segment.identity);
        if current.as_ref().is_some_and(|current| Some(current.identity) == last) {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(CWD, &self.folder, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut found = self.full_segments(&folder)?;
        found.extend(current);
        let mut fresh = false;
        for segment in found {
            if !self.segments.iter().any(|known| known.identity == segment.identity) {
                fresh = true;
                self.segments.push(segment);
            }
        }
        // The removed were read to their end before.
        self.segments.retain(Segment::is_linked);
        Ok(fresh)
    }

    fn full_segments(&self, folder: &OwnedFd) -> io::Result<Vec<Segment>> {
        let mut found = Vec::new();
        for number in numbers(folder)? {
            match File::open(self.folder.join(segment_name(number))) {
                Ok(file) => found.push(Segment::new(file)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

impl Segment {
    fn new(file: File) -> io::Result<Self> {
        let data = file.metadata()?;
        let identity = (data.dev(), data.ino());
        Ok(Self { file, identity, offset: 0, partial: Vec::new() })
    }

    fn is_linked(&self) -> bool {
        self.file.metadata().is_ok_and(|data| data.nlink() > 0)
    }

    /// Events of the next chunk; `None` at the end.
    fn next_events(&mut self) -> io::Result<Option<Vec<Event>>> {
        let mut chunk = [0; CHUNK];
        let count = self.file.read_at(&mut chunk, self.offset)?;
        if count == 0 {
            return Ok(None);
        }
        self.offset += count as u64;
        self.partial.extend_from_slice(&chunk[..count]);
        let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else {
            if self.partial.len() > 2 * MAX_EVENT_BYTES {
                // No writer of ours does that.
                self.partial.clear();
            }
            return Ok(Some(Vec::new()));
        };
        let rest = self.partial.split_off(end + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        // What is damaged or of a newer engine is passed over.
        let events = lines
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .filter_map(|line| serde_json::from_slice(line).ok());
        Ok(Some(events.collect()))
    }
}

#[cfg(test)]
mod tests;
