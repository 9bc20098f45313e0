//! Filling empty volumes from the image.

use super::mounts::Source;
use super::stored::Container;
use crate::error::ApiError;
use crate::service::Engine;
use hull_api::ErrorKind;
use hull_worker::job::{Answer, Job, Limits};
use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags};
use std::os::fd::{AsFd, OwnedFd};

/// What a volume may be filled with at most; far beyond what an image holds.
const LIMITS: Limits = Limits { max_bytes: 1 << 40, max_entries: 100_000_000 };

/// Copies what the image has at the place of each volume into the volume, with owners, if the
/// volume is empty. `made` names the volumes that were made just now.
///
/// # Errors
/// If the image cannot be seen or a copy fails; a volume may then be half filled.
pub(crate) fn fill(
    engine: &Engine,
    container: &Container,
    made: &[String],
) -> Result<(), ApiError> {
    let wanted = container.stored.mounts.iter().filter_map(|mount| match &mount.source {
        Source::Volume { name, copy: true, .. } => Some((name, &mount.destination)),
        _ => None,
    });
    let store = engine.store()?;
    let mut view = None;
    for (name, destination) in wanted {
        let volume = store.open_volume(name)?;
        if !made.contains(name) && !is_empty(&volume)? {
            continue;
        }
        if view.is_none() {
            view = Some(store.snapshots().view(&container.record.layers, None)?);
        }
        let Some(view) = &view else { continue };
        let Some(source) = open_beneath(view, destination)? else { continue };
        rustix::fs::flock(&volume, FlockOperation::LockExclusive)
            .map_err(io("lock volume", name))?;
        if is_empty(&volume)? {
            copy(engine, &source, &volume).map_err(|error| {
                error.context(&format!("cannot fill volume {name} from {destination} of the image"))
            })?;
        }
    }
    Ok(())
}

fn io<'a>(what: &'a str, name: &'a str) -> impl Fn(rustix::io::Errno) -> ApiError + 'a {
    move |error| {
        ApiError::internal(&std::io::Error::from(error)).context(&format!("cannot {what} {name}"))
    }
}

fn is_empty(directory: &OwnedFd) -> Result<bool, ApiError> {
    let entries = rustix::fs::Dir::read_from(directory).map_err(io("read", "a volume"))?;
    for entry in entries {
        let entry = entry.map_err(io("read", "a volume"))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The directory at `path` of the image, its links resolved inside the image; `None` if there is
/// no directory.
fn open_beneath(view: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, ApiError> {
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(view, path, flags, Mode::empty(), resolve) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(io("open in the image", path)(error)),
    }
}

fn copy(engine: &Engine, source: &OwnedFd, volume: &OwnedFd) -> Result<(), ApiError> {
    let worker = engine.helper("hull-worker")?;
    let job = Job::CopyTree { limits: LIMITS };
    let answer = hull_worker::client::run(&worker, &job, &[source.as_fd(), volume.as_fd()])
        .map_err(|error| ApiError::internal(&error))?;
    match answer {
        Answer::Copied { .. } => Ok(()),
        Answer::Failed { message, .. } => Err(ApiError::new(ErrorKind::Internal, message)),
        other => Err(ApiError::new(ErrorKind::Internal, format!("unexpected answer {other:?}"))),
    }
}
