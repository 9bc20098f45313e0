//! The log files of a container as one sequence of whole lines, across rotation.

use crate::error::ApiError;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The file that is written to; older ones end in `.1`, `.2` ...
pub(crate) const FILE: &str = "container.log";

const CHUNK: usize = 64 << 10;

/// A position in the log.
#[derive(Debug)]
pub(super) struct LogFiles {
    directory: PathBuf,
    /// The file that is read.
    current: Option<File>,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
}

impl LogFiles {
    /// Opens the log: at its beginning, or so that `tail` lines follow.
    pub(super) fn open(directory: &Path, tail: Option<u64>) -> Result<Self, ApiError> {
        let mut log = Self { directory: directory.to_owned(), current: None, partial: Vec::new() };
        let mut files = log.files()?;
        let Some(lines) = tail else {
            log.current = files.pop();
            return Ok(log);
        };
        let mut left = lines;
        for (place, mut file) in files.into_iter().enumerate() {
            let offset = tail_offset(&file, &mut left).map_err(|error| log.failed(&error))?;
            // Of the newest file even nothing is wanted at the right place: at its end.
            if offset.is_none() && place > 0 {
                break;
            }
            let end = file.metadata().map_err(|error| log.failed(&error))?.len();
            file.seek(SeekFrom::Start(offset.unwrap_or(end)))
                .map_err(|error| log.failed(&error))?;
            log.current = Some(file);
            if left == 0 {
                break;
            }
        }
        Ok(log)
    }

    /// The next whole lines; `None` where the log ends for now.
    pub(super) fn lines(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            if self.current.is_none() {
                self.current = self.files()?.pop();
            }
            let Some(file) = &mut self.current else { return Ok(None) };
            let mut chunk = vec![0; CHUNK];
            let count = match file.read(&mut chunk) {
                Ok(count) => count,
                Err(error) => return Err(self.failed(&error)),
            };
            if count == 0 {
                match self.after_current()? {
                    Some(next) => self.current = Some(next),
                    None => return Ok(None),
                }
                continue;
            }
            let mut lines = std::mem::take(&mut self.partial);
            lines.extend_from_slice(&chunk[..count]);
            let end = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
            self.partial = lines.split_off(end);
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }

    /// The file that follows the one that was read to its end, if the log was rotated.
    fn after_current(&mut self) -> Result<Option<File>, ApiError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
        let own = identity(current).map_err(|error| self.failed(&error))?;
        let mut newer = None;
        for file in self.files()? {
            if identity(&file).map_err(|error| self.failed(&error))? != own {
                newer = Some(file);
                continue;
            }
            let Some(next) = newer else { return Ok(None) };
            // Written between our reading and its rotation.
            let Some(current) = &mut self.current else { return Ok(None) };
            let position = current.stream_position().unwrap_or_default();
            let size = current.metadata().map_or(0, |data| data.len());
            return Ok((position >= size).then_some(next));
        }
        // Rotated so often that it is gone: go on with the oldest that is there.
        Ok(newer)
    }

    /// All files, the newest first. One that is rotated while we look is there once.
    fn files(&self) -> Result<Vec<File>, ApiError> {
        let mut files = Vec::new();
        let mut seen = Vec::new();
        for number in 0.. {
            let name = if number == 0 { FILE.to_owned() } else { format!("{FILE}.{number}") };
            let file = match File::open(self.directory.join(name)) {
                Ok(file) => file,
                // The newest is missing for a moment while the log is rotated.
                Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(self.failed(&error)),
            };
            let data = file.metadata().map_err(|error| self.failed(&error))?;
            if !seen.contains(&(data.dev(), data.ino())) {
                seen.push((data.dev(), data.ino()));
                files.push(file);
            }
        }
        Ok(files)
    }

    fn failed(&self, error: &io::Error) -> ApiError {
        ApiError::internal(error)
            .context(&format!("cannot read the log in {}", self.directory.display()))
    }
}

/// Where the last `left` lines of a file begin; `left` is lowered by the lines that it has.
/// `None` if none is wanted.
fn tail_offset(file: &File, left: &mut u64) -> io::Result<Option<u64>> {
    if *left == 0 {
        return Ok(None);
    }
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK];
    // The newline that ends the last line begins none.
    let mut last = true;
    while end > 0 {
        let size = end.min(CHUNK as u64);
        let start = end - size;
        let part = &mut chunk[..usize::try_from(size).unwrap_or(CHUNK)];
        file.read_exact_at(part, start)?;
        for (place, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if std::mem::replace(&mut last, false) {
                continue;
            }
            *left -= 1;
            if *left == 0 {
                return Ok(Some(start + place as u64 + 1));
            }
        }
        end = start;
    }
    if !last {
        *left -= 1;
    }
    Ok(Some(0))
}
