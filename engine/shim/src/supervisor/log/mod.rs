//! The container's log: every byte of its output, as lines of JSON.
//!
//! One write for one read of output. A disk that is full does not stop the container: entries
//! that cannot be written are dropped and counted, and the log says so once it can be written
//! again. A prompt without a newline is held until its line ends, as Docker does.

mod file;
mod json;
mod lines;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use hull_shim::protocol::LogConfig;
use hull_shim::state::now;

use self::file::LogFile;
use self::json::Ending;
use self::lines::Lines;
use crate::output::Stream;

/// Entries are written out when there are this many bytes of them.
const BATCH: usize = 64 << 10;

/// A container's log.
#[derive(Debug)]
pub(crate) struct Log {
    file: LogFile,
    stdout: Lines,
    stderr: Lines,
    dropped: u64,
}

impl Log {
    /// A log in container directory `container`. Nothing is created before there is output.
    pub(crate) fn new(container: Arc<OwnedFd>, config: LogConfig) -> Self {
        let file = LogFile::new(container, config);
        Self { file, stdout: Lines::default(), stderr: Lines::default(), dropped: 0 }
    }

    /// Logs bytes of output.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let now = now();
        let mut batch = Batch::new(&mut self.file, &mut self.dropped, stream, &now);
        // Lines of usual length become about twice as long.
        batch.entries.reserve(BATCH.min(bytes.len() * 2) + 256);
        let lines = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        lines.push(bytes, &now, |text, newline, time| batch.add(text, newline, time));
        batch.flush();
    }

    /// Logs what was held of the stream: it has ended.
    pub(crate) fn finish(&mut self, stream: Stream) {
        let lines = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if lines.is_empty() {
            return;
        }
        let now = now();
        let mut batch = Batch::new(&mut self.file, &mut self.dropped, stream, &now);
        lines.finish(&now, |text, newline, time| batch.add(text, newline, time));
        batch.flush();
    }
}

/// Entries of one stream on their way to the file.
struct Batch<'a> {
    file: &'a mut LogFile,
    dropped: &'a mut u64,
    stream: Stream,
    now: &'a str,
    ending: Ending,
    entries: Vec<u8>,
    count: u64,
}

impl<'a> Batch<'a> {
    fn new(file: &'a mut LogFile, dropped: &'a mut u64, stream: Stream, now: &'a str) -> Self {
        let ending = Ending::new(stream.name(), now);
        Self { file, dropped, stream, now, ending, entries: Vec::new(), count: 0 }
    }

    fn add(&mut self, text: &[u8], newline: bool, time: &str) {
        if time == self.now {
            json::encode(&mut self.entries, text, newline, &self.ending);
        } else {
            let ending = Ending::new(self.stream.name(), time);
            json::encode(&mut self.entries, text, newline, &ending);
        }
        self.count += 1;
        if self.entries.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        if *self.dropped > 0 && self.note_dropped() {
            *self.dropped = 0;
        }
        if *self.dropped > 0 || self.file.append(&self.entries).is_err() {
            *self.dropped += self.count;
        }
        self.entries.clear();
        self.count = 0;
    }

    fn note_dropped(&mut self) -> bool {
        let notice = format!("hull: {} log entries were lost, the disk refused them", self.dropped);
        let mut entry = Vec::new();
        let ending = Ending::new(Stream::Stderr.name(), self.now);
        json::encode(&mut entry, notice.as_bytes(), true, &ending);
        self.file.append(&entry).is_ok()
    }
}
