//! Directories of `RUN --mount=type=cache`.

use std::fs::File;
use std::os::fd::OwnedFd;

use hull_oci::Digest;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::MOUNTS;
use crate::Store;
use crate::error::FileError;
use crate::root::{Durability, uninterrupted};

/// Who may use one at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One; others get a directory of their own.
    Private,
    /// One; others wait.
    Locked,
}

/// A directory in use. Its lock dies with its process.
#[derive(Debug)]
pub struct CacheMount {
    /// The directory.
    pub tree: OwnedFd,
    /// Whether it was made just now and may be given content.
    pub fresh: bool,
    _lock: File,
}

impl Store {
    /// Takes the directory called `id`, and makes it if there is none: with this owner and mode.
    ///
    /// # Errors
    /// The system's.
    pub fn cache_mount(
        &self,
        id: &str,
        sharing: Sharing,
        owner: (u32, u32),
        mode: u32,
    ) -> Result<CacheMount, FileError> {
        for turn in 0_u32.. {
            let name = if turn == 0 { id.to_owned() } else { format!("{id}\0{turn}") };
            let path = format!("{MOUNTS}/{}", Digest::sha256(name.as_bytes()).hex());
            let fresh = self.make_cache_mount(&path, id, owner, mode)?;
            let lock = self.root.open_directory(&path)?.map(File::from);
            let Some(lock) = lock else { continue };
            let failed = |error| self.root.error("lock", &path, error);
            match sharing {
                Sharing::Shared => uninterrupted(|| lock.lock_shared()).map_err(failed)?,
                Sharing::Locked => uninterrupted(|| lock.lock()).map_err(failed)?,
                Sharing::Private => match lock.try_lock() {
                    Ok(()) => {}
                    Err(std::fs::TryLockError::WouldBlock) => continue,
                    Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
                },
            }
            self.touch(&path);
            // Pruned between the two calls: then there is another of that name by now, or none.
            if let Some(tree) = self.root.open_directory(&format!("{path}/data"))? {
                return Ok(CacheMount { tree, fresh, _lock: lock });
            }
        }
        unreachable!("there are more turns than processes")
    }

    fn make_cache_mount(
        &self,
        path: &str,
        id: &str,
        (user, group): (u32, u32),
        mode: u32,
    ) -> Result<bool, FileError> {
        if self.root.exists(path)? {
            return Ok(false);
        }
        let made = format!("ingest/{}", crate::root::random_name());
        let _lock = self.root.lock_shared()?;
        self.root.make_directory(&made, 0o700)?;
        let data = format!("{made}/data");
        self.root.make_directory(&data, 0o755)?;
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(self.root.as_fd(), &data, Some(user), Some(group), flags)
            .map_err(|error| self.root.error("set the owner of", &data, error))?;
        self.root.set_mode(&data, mode)?;
        self.root.replace(&format!("{made}/id"), id.as_bytes(), Durability::Volatile)?;
        let first = self.root.rename_new(&made, path)?;
        if !first {
            self.root.discard(&made)?;
        }
        Ok(first)
    }

    /// The directories there are: name on disk and id.
    pub(super) fn cache_mounts(&self) -> Result<Vec<(String, String)>, FileError> {
        let mut mounts = Vec::new();
        for name in self.root.list_text(MOUNTS)? {
            let id = self.root.read(&format!("{MOUNTS}/{name}/id"), 64 << 10)?.unwrap_or_default();
            mounts.push((name, String::from_utf8_lossy(&id).into_owned()));
        }
        Ok(mounts)
    }

    /// Moves one away that nobody uses.
    pub(super) fn remove_cache_mount(&self, name: &str) -> Result<bool, FileError> {
        let path = format!("{MOUNTS}/{name}");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(lock) = rustix::fs::openat(self.root.as_fd(), &path, flags, Mode::empty()) else {
            return Ok(false);
        };
        if File::from(lock).try_lock().is_err() {
            return Ok(false);
        }
        Ok(self.root.discard(&path)?.is_some())
    }
}
