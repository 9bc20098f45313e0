//! Names of containers and volumes.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::error::FileError;
use crate::root::Root;

/// Text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid name {0:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to 255 of them")]
pub struct NameError(pub String);

/// True if `text` can name a container or a volume: Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at
/// most 255 characters, which a file name holds.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    (2..=255).contains(&text.len())
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Who has a name. A name is a symbolic link: made with its content in one call, or not at all.
pub(crate) fn owner(root: &Root, name: &str) -> Result<Option<String>, FileError> {
    let path = format!("names/{name}");
    match rustix::fs::readlinkat(root.as_fd(), &path, Vec::new()) {
        Ok(id) => Ok(id.into_string().ok()),
        Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(root.error("read", &path, error)),
    }
}

/// Takes a name for a container; false if somebody has it.
pub(crate) fn take(root: &Root, name: &str, id: &str) -> Result<bool, FileError> {
    let path = format!("names/{name}");
    match rustix::fs::symlinkat(id, root.as_fd(), &path) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(root.error("create", &path, error)),
    }
}

/// Gives a name back if the container has it.
pub(crate) fn give_back(root: &Root, name: &str, id: &str) -> Result<(), FileError> {
    if owner(root, name)?.as_deref() != Some(id) {
        return Ok(());
    }
    let path = format!("names/{name}");
    match rustix::fs::unlinkat(root.as_fd(), &path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(root.error("remove", &path, error)),
    }
}

/// Removes a name whose container does not exist. Taking a name and making its container happen
/// under the shared lock, so under the exclusive one nobody is between the two.
pub(crate) fn release_stale(root: &Root, name: &str) -> Result<bool, FileError> {
    let _lock = root.lock_exclusive()?;
    release_stale_locked(root, name)
}

/// [`release_stale`] for who holds the exclusive lock.
pub(crate) fn release_stale_locked(root: &Root, name: &str) -> Result<bool, FileError> {
    let alive = match owner(root, name)? {
        Some(id) => root.exists(&format!("containers/{id}/config.json"))?,
        None => false,
    };
    if alive { Ok(false) } else { root.unlink(&format!("names/{name}")) }
}
