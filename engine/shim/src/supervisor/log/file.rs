//! The log's files: `logs/container.log`, and older ones as `.1`, `.2` ...

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hull_shim::protocol::LogConfig;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

const FOLDER: &str = "logs";
const PATH: &str = "logs/container.log";

/// The current file; opened at the first write, since many containers say nothing.
#[derive(Debug)]
pub(super) struct LogFile {
    container: Arc<OwnedFd>,
    config: LogConfig,
    open: Option<(File, u64)>,
}

impl LogFile {
    pub(super) fn new(container: Arc<OwnedFd>, config: LogConfig) -> Self {
        Self { container, config, open: None }
    }

    /// Appends whole entries, all or nothing, with one write. Begins a new file first if the
    /// current one is full.
    pub(super) fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => self.open_last()?,
        };
        if self.config.max_size.is_some_and(|max| size >= max) {
            // A failure leaves the current file in place: better too long than lost.
            if let Ok(fresh) = self.rotate() {
                (file, size) = (fresh, 0);
            }
        }
        let written = file.write_all(entries);
        if written.is_err() {
            // No torn entry may stay; if this fails too, the next append starts on a new line.
            if file.set_len(size).is_err() {
                return written;
            }
        } else {
            size += entries.len() as u64;
        }
        self.open = Some((file, size));
        written
    }

    fn open_last(&self) -> io::Result<(File, u64)> {
        let file = match self.create(OFlags::APPEND) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(self.container.as_fd(), FOLDER, Mode::RWXU) {
                    // Somebody who follows was first.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                self.create(OFlags::APPEND)?
            }
            other => other?,
        };
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        if last != *b"\n" {
            // A shim was killed while it wrote.
            (&file).write_all(b"\n")?;
            return Ok((file, size + 1));
        }
        Ok((file, size))
    }

    fn create(&self, flags: OFlags) -> rustix::io::Result<File> {
        let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        rustix::fs::openat(self.container.as_fd(), PATH, flags, mode).map(File::from)
    }

    fn rotate(&self) -> io::Result<File> {
        let container = self.container.as_fd();
        let name = |age: u32| if age == 0 { PATH.to_owned() } else { format!("{PATH}.{age}") };
        let oldest = name(self.config.max_file.saturating_sub(1));
        // Not left to the rename: ext4 writes a file to the disk before it replaces another, and
        // most of a log that is written fast is gone before it need be written.
        match rustix::fs::unlinkat(container, oldest, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        for age in (0..self.config.max_file.saturating_sub(1)).rev() {
            match rustix::fs::renameat(container, name(age), container, name(age + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.create(OFlags::APPEND | OFlags::EXCL)?)
    }
}
