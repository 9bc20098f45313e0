//! Directories below one descriptor, by path, never through a symlink.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::LayerError;
use super::error::shown;
use super::path::{components, join};

/// As many directories as are kept open.
const CACHE: usize = 128;

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory tree that is reached through its root's descriptor only.
pub(super) struct Beneath {
    root: Rc<OwnedFd>,
    cache: HashMap<Vec<u8>, (Rc<OwnedFd>, u64)>,
    uses: u64,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root: Rc::new(root), cache: HashMap::new(), uses: 0 }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory at `path`.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        self.try_open(path).map_err(|error| failed("open", path, error))
    }

    /// The directory at `path`, `None` if it is gone or has become something else.
    pub(super) fn open_if_there(&mut self, path: &[u8]) -> Result<Option<Rc<OwnedFd>>, LayerError> {
        match self.try_open(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(failed("open", path, error)),
        }
    }

    /// The directory at `path`; what is missing on the way is made, for the owner only.
    pub(super) fn make(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        match self.try_open(path) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(|error| failed("open", path, error)),
        }
        let mut walked = Vec::new();
        let mut directory = Rc::clone(&self.root);
        for name in components(path) {
            walked = join(&walked, name);
            directory = match self.try_open(&walked) {
                Err(Errno::NOENT) => {
                    self.make_in(&directory, name, &walked)?;
                    self.open(&walked)?
                }
                result => result.map_err(|error| failed("open", &walked, error))?,
            };
        }
        Ok(directory)
    }

    /// Makes the directory `name`, whose path is `path`, unless it is there.
    pub(super) fn make_in(
        &self,
        directory: impl AsFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), LayerError> {
        match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(failed("make the directory", path, error)),
        }
    }

    /// Removes `name` in `directory`, with all that is below it, if it is there.
    pub(super) fn remove(&mut self, directory: &[u8], name: &[u8]) -> Result<(), LayerError> {
        // Some of what is remembered may be about to go.
        self.cache.clear();
        let parent = match self.try_open(directory) {
            Err(Errno::NOENT) => return Ok(()),
            result => result.map_err(|error| failed("open", directory, error))?,
        };
        // Deepest first, by path: a layer may be deeper than descriptors last.
        let top = join(directory, name);
        let mut ahead = vec![top.clone()];
        let mut directories = Vec::new();
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(failed("remove", &top, error)),
        }
        while let Some(path) = ahead.pop() {
            let opened = self.open(&path)?;
            for entry in Dir::read_from(&opened).map_err(|error| failed("read", &path, error))? {
                let entry = entry.map_err(|error| failed("read", &path, error))?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let below = join(&path, name);
                if entry.file_type() == FileType::Directory {
                    ahead.push(below);
                } else {
                    rustix::fs::unlinkat(&opened, name, AtFlags::empty())
                        .map_err(|error| failed("remove", &below, error))?;
                }
            }
            directories.push(path);
        }
        self.cache.clear();
        for path in directories.iter().rev() {
            let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&path[..0], &path[..]),
            };
            let parent = self.open(parent)?;
            rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
                .map_err(|error| failed("remove", path, error))?;
            self.cache.remove(path);
        }
        Ok(())
    }

    fn try_open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        self.uses += 1;
        if let Some((directory, used)) = self.cache.get_mut(path) {
            *used = self.uses;
            return Ok(Rc::clone(directory));
        }
        let opened = rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), RESOLVE)
            .map(Rc::new)?;
        if self.cache.len() >= CACHE {
            self.evict();
        }
        self.cache.insert(path.to_vec(), (Rc::clone(&opened), self.uses));
        Ok(opened)
    }

    /// Closes the half that was not used for longest.
    fn evict(&mut self) {
        let mut uses: Vec<u64> = self.cache.values().map(|(_, used)| *used).collect();
        let (_, &mut middle, _) = uses.select_nth_unstable(CACHE / 2);
        self.cache.retain(|_, (_, used)| *used > middle);
    }
}

/// An error that names what was tried on which path of the tree.
pub(super) fn failed(action: &str, path: &[u8], error: Errno) -> LayerError {
    LayerError::io(format!("{action} {:?}", shown(path)), error)
}
