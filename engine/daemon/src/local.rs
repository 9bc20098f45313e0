//! Trees of the user's own, packed and unpacked by a sealed worker: the client's side of `cp`.
//!
//! What comes out of a container is hostile to the one who copies it as well. The worker can reach
//! the one directory it is given and nothing else.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;

use hull_worker::client::Worker;
use hull_worker::job::{Answer, ExtractOptions, Job, Refusal};

use crate::error::ApiError;
use crate::worker_stream::failed;

/// What an archive may hold, in bytes: as a layer.
const MAX_BYTES: u64 = 1 << 40;

/// An archive being made. Dropped without [`Packing::finish`], its maker is ended.
#[derive(Debug)]
pub struct Packing(Worker);

/// An archive being unpacked. Dropped without [`Unpacking::finish`], that is ended.
#[derive(Debug)]
pub struct Unpacking(Worker);

/// Packs what is called `path` in `directory` under `name`; the archive is read from what is
/// returned beside.
///
/// # Errors
/// If the worker `program` cannot be started.
pub fn pack(
    program: &Path,
    directory: &File,
    path: &str,
    name: &str,
) -> Result<(Packing, PipeReader), ApiError> {
    let (reader, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
    let job = Job::PackPlace { path: path.to_owned(), name: Some(name.to_owned()), userns: false };
    let worker = Worker::spawn(program, &job, &[directory.as_fd(), writer.as_fd()])
        .map_err(|error| failed(&error))?;
    Ok((Packing(worker), reader))
}

/// Unpacks into `directory` the archive that is written to what is returned beside. All of its
/// names must begin with `root`, which becomes `name`. Everything belongs to the caller, and
/// nothing takes the place of a directory, nor a directory that of anything else.
///
/// # Errors
/// If the worker `program` cannot be started.
pub fn unpack(
    program: &Path,
    directory: &File,
    root: &str,
    name: &str,
) -> Result<(Unpacking, PipeWriter), ApiError> {
    let (reader, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
    let options = ExtractOptions {
        keep_kinds: true,
        own: true,
        rename: Some((root.to_owned(), name.to_owned())),
        max_bytes: MAX_BYTES,
        ..ExtractOptions::default()
    };
    let job = Job::Extract { path: "/".to_owned(), options, userns: false };
    let worker = Worker::spawn(program, &job, &[directory.as_fd(), reader.as_fd()])
        .map_err(|error| failed(&error))?;
    Ok((Unpacking(worker), writer))
}

impl Packing {
    /// Waits for the end; returns bytes of file content.
    ///
    /// # Errors
    /// Why the archive is not whole.
    pub fn finish(self) -> Result<u64, ApiError> {
        ended(self.0)
    }
}

impl Unpacking {
    /// Waits for the end, once the writing end is closed; returns bytes of file content.
    ///
    /// # Errors
    /// Why not everything was unpacked.
    pub fn finish(self) -> Result<u64, ApiError> {
        ended(self.0)
    }
}

fn ended(worker: Worker) -> Result<u64, ApiError> {
    match worker.answer().map_err(|error| failed(&error))? {
        Answer::Packed { bytes, .. } | Answer::Extracted { bytes, .. } => Ok(bytes),
        Answer::Refused(Refusal::NotFound) => Err(ApiError::not_found("no such file or directory")),
        Answer::Refused(Refusal::NotADirectory) => Err(ApiError::invalid("not a directory")),
        Answer::Refused(_) => Err(ApiError::invalid("read-only file system")),
        _ => Err(failed(&hull_worker::client::WorkerError::Answer)),
    }
}
