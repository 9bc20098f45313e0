//! Where a blob goes: into its ingest, and from there through a pipe to who unpacks it.
//!
//! What arrives is written at once, however slow the reader of the pipe is. The pipe is fed from
//! the ingest by another thread, so a pull that goes on feeds what was there first, and memory
//! holds no more than what is on its way.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use hull_oci::{Descriptor, Hasher};
use hull_sys::writeback::Writeback;
use rustix::pipe::{SpliceFlags, splice};
use tokio::sync::mpsc;

use crate::{Failure, FailureKind};

/// Handed to the pipe at once, at most.
const SPLICE: u64 = 1 << 20;

/// Read back at once.
const CHUNK: usize = 256 << 10;

/// How far the ingest is.
#[derive(Debug, Default)]
struct Frontier {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    bytes: u64,
    end: Option<End>,
    /// The reader of the pipe is gone.
    deaf: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All there is.
    Complete,
    /// There will be no more.
    Broken,
}

/// Writes a blob as it comes. `progress` is told how many bytes are in the ingest.
///
/// Returns when there is no more to come: fine if all is there and, without a pipe, has the
/// digest; the reason why less came is the sender's to tell.
pub(crate) fn write(
    descriptor: &Descriptor,
    ingest: OwnedFd,
    have: u64,
    pipe: Option<OwnedFd>,
    pieces: mpsc::Receiver<Vec<Bytes>>,
    progress: impl Fn(u64),
) -> Result<(), Failure> {
    let ingest = File::from(ingest);
    let frontier = Frontier::default();
    frontier.state.lock().unwrap_or_else(PoisonError::into_inner).bytes = have;
    let hashes = pipe.is_none();
    thread::scope(|scope| {
        let feeder = pipe.map(|pipe| scope.spawn(|| feed(&ingest, &frontier, &File::from(pipe))));
        let written = receive(descriptor, &ingest, have, hashes, &frontier, pieces, progress);
        let complete = written.as_ref().is_ok_and(|written| *written == descriptor.size);
        frontier.end(if complete { End::Complete } else { End::Broken });
        let fed = feeder.map_or(Ok(()), |feeder| feeder.join().unwrap_or_else(|_| Err(gone())));
        let written = written?;
        // What lay behind is of an older try.
        ingest.set_len(written).map_err(|error| failed("cut", &error))?;
        fed.map_err(|error| failed("hand on", &error))
    })
}

fn receive(
    descriptor: &Descriptor,
    ingest: &File,
    have: u64,
    hashes: bool,
    frontier: &Frontier,
    mut pieces: mpsc::Receiver<Vec<Bytes>>,
    progress: impl Fn(u64),
) -> Result<u64, Failure> {
    let mut hasher = hashes.then(|| Hasher::new(descriptor.digest.algorithm()));
    if let Some(hasher) = &mut hasher {
        hash_begin(ingest, have, hasher).map_err(|error| failed("read", &error))?;
    }
    let (mut at, mut writeback) = (have, Writeback::from(have));
    progress(at);
    while let Some(batch) = pieces.blocking_recv() {
        at += write_all_at(ingest, &batch, at).map_err(|error| failed("write", &error))?;
        if let Some(hasher) = &mut hasher {
            batch.iter().for_each(|piece| hasher.update(piece));
        }
        writeback.written(ingest.as_fd(), at);
        progress(at);
        if !frontier.advance(at) {
            return Ok(at);
        }
    }
    if let Some(hasher) = hasher
        && at == descriptor.size
    {
        let actual = hasher.finish();
        if actual != descriptor.digest {
            let message =
                format!("blob {} has digest {actual} after {at} bytes", descriptor.digest);
            return Err(Failure { kind: FailureKind::Invalid, message, hint: None });
        }
    }
    Ok(at)
}

fn hash_begin(ingest: &File, have: u64, hasher: &mut Hasher) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < have {
        let wanted = usize::try_from(have - at).unwrap_or(CHUNK).min(CHUNK);
        let read = ingest.read_at(&mut buffer[..wanted], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
    Ok(())
}

/// Writes all pieces one behind the other; returns how many bytes that were.
fn write_all_at(file: &File, pieces: &[Bytes], at: u64) -> io::Result<u64> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    let mut written = 0;
    while !rest.is_empty() {
        match rustix::io::pwritev(file, rest, at + written) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                written += count as u64;
                IoSlice::advance_slices(&mut rest, count);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// Hands on what is in the ingest, as far as it is.
fn feed(ingest: &File, frontier: &Frontier, pipe: &File) -> io::Result<()> {
    let mut at = 0;
    loop {
        let Some(bytes) = frontier.beyond(at) else { return Ok(()) };
        let length = usize::try_from((bytes - at).min(SPLICE)).unwrap_or(CHUNK);
        match splice(ingest, Some(&mut at), pipe, None, length, SpliceFlags::MOVE) {
            Ok(0) => return Err(frontier.deafen(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(frontier.deafen(error.into())),
        }
    }
}

impl Frontier {
    /// False if nobody listens any more.
    fn advance(&self, bytes: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes = bytes;
        self.moved.notify_all();
        !state.deaf
    }

    fn end(&self, end: End) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end = Some(end);
        self.moved.notify_all();
    }

    fn deafen(&self, error: io::Error) -> io::Error {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).deaf = true;
        error
    }

    /// Waits for more than `at`; `None` if there will be none.
    fn beyond(&self, at: u64) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                State { end: Some(End::Broken), .. } => return None,
                State { bytes, .. } if bytes > at => return Some(bytes),
                State { end: Some(End::Complete), .. } => return None,
                State { end: None, .. } => {
                    state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

fn failed(action: &str, error: &io::Error) -> Failure {
    Failure::internal(format!("cannot {action} what was fetched: {error}"))
}

fn gone() -> io::Error {
    io::Error::other("its thread is gone")
}
