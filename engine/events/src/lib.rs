//! What happened to containers, images and volumes, as a log on disk.
//!
//! Both the service and the shims write it, and neither needs the other for it, so this is a
//! package of its own that knows nothing of ours. Not here: who is told (`hull-daemon` serves the
//! log and follows it), and what an event means.
//!
//! ```text
//! events/current          the segment that is written to
//! events/0000000007       older ones, the highest number is the youngest
//! ```
//!
//! - Each event is one line of JSON and one write to a file opened with `O_APPEND`, so writers
//!   need no lock. A newline goes before it too: what a writer left half done spoils nothing else.
//! - Nothing is synced: after a crash of the host the last events may be missing.
//! - A segment that is full is renamed to the next number; the oldest goes. A writer that has not
//!   noticed writes to the renamed one for a moment, and readers look there too.

mod append;
mod event;
mod read;

pub use append::EventLog;
pub use event::{Actor, Event, Kind};
pub use read::{From, Reader};

/// The folder, in the data root.
pub const FOLDER: &str = "events";

/// The segment that is written to.
const CURRENT: &str = "events/current";

/// Bytes after which a new segment begins.
const SEGMENT_BYTES: u64 = 2 << 20;

/// Full segments that are kept beside the current one.
const KEPT: usize = 4;

/// The most bytes of one event.
const MAX_EVENT_BYTES: usize = 64 << 10;
