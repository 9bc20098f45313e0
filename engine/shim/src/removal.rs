//! Removing a container that removes itself: first its names, at leisure its files.
//!
//! [`discard`] renames everything into `trash/`, so that the container is gone for everybody at
//! once; [`delete`] removes the trees. A crash in between leaves them in `trash/`, which
//! collection empties. Every step may be done twice.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, Dir, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::protocol::Removal;

/// Directories nested deeper than this are moved up before they are deleted, so that a tree
/// made by a container can use up neither descriptors nor stack.
const MAX_DEPTH: usize = 32;

/// Things that [`discard`] moved into `trash/`.
#[derive(Debug, Default)]
#[must_use]
pub struct Discarded {
    entries: Vec<CString>,
}

/// Takes container `id` and what `removal` names out of the data root's names.
///
/// The container's directory goes last: while it is there, whoever finds it finishes the rest.
///
/// # Errors
/// `InvalidInput` for a name with a slash; otherwise of the renames. What is not there (any
/// more) is no error.
pub fn discard(data_root: BorrowedFd<'_>, id: &str, removal: &Removal) -> io::Result<Discarded> {
    let mut discarded = Discarded::default();
    for volume in &removal.volumes {
        check_name(volume)?;
        // Another container was given it too.
        let shared = format!("volumes/{volume}/shared");
        if rustix::fs::accessat(data_root, shared, Access::EXISTS, AtFlags::empty()).is_ok() {
            continue;
        }
        move_to_trash(data_root, "volumes", "volume", volume, &mut discarded)?;
    }
    release_name(data_root, id, &removal.name)?;
    move_to_trash(data_root, "containers", "container", id, &mut discarded)?;
    Ok(discarded)
}

/// Deletes what [`discard`] moved. Never follows a symlink, never leaves `trash/`.
///
/// # Errors
/// The first; everything that could be deleted was.
pub fn delete(data_root: BorrowedFd<'_>, discarded: Discarded) -> io::Result<()> {
    if discarded.entries.is_empty() {
        return Ok(());
    }
    let root = open_directory(data_root, c"trash")?;
    let mut trash = Trash { root: root.as_fd(), waiting: discarded.entries, moved: 0 };
    let mut first = Ok(());
    while let Some(entry) = trash.waiting.pop() {
        if !remove_plain_container(trash.root, &entry) {
            first = first.and(trash.remove(trash.root, &entry, 0));
        }
    }
    first
}

fn move_to_trash(
    data_root: BorrowedFd<'_>,
    folder: &str,
    class: &str,
    name: &str,
    discarded: &mut Discarded,
) -> io::Result<()> {
    check_name(name)?;
    let entry = format!("{class}-{name}");
    let from = format!("{folder}/{name}");
    match rustix::fs::renameat(data_root, from, data_root, format!("trash/{entry}")) {
        Ok(()) => discarded.entries.push(CString::new(entry)?),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Removes the container's name: `names/<name>` is a symlink to its id. If it was renamed while it
/// ran, the name is searched: the one it started with may be somebody else's now.
fn release_name(data_root: BorrowedFd<'_>, id: &str, name: &str) -> io::Result<()> {
    check_name(name)?;
    if !unlink_name(data_root, name.as_bytes(), id)? {
        for entry in Dir::read_from(open_directory(data_root, c"names")?)? {
            unlink_name(data_root, entry?.file_name().to_bytes(), id)?;
        }
    }
    Ok(())
}

/// Whether the name was this container's.
fn unlink_name(data_root: BorrowedFd<'_>, name: &[u8], id: &str) -> io::Result<bool> {
    let path = [b"names/", name].concat();
    let owner = match rustix::fs::readlinkat(data_root, &path, Vec::new()) {
        Err(Errno::NOENT | Errno::INVAL) => return Ok(false),
        other => other?,
    };
    if owner.as_bytes() != id.as_bytes() {
        return Ok(false);
    }
    match rustix::fs::unlinkat(data_root, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        let message = format!("{name:?} is no name");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

/// What a container that wrote and logged nothing consists of, innermost first: the work
/// directory as an overlay leaves it, and the engine's own files.
const PLAIN_CONTAINER: [(&str, AtFlags); 9] = [
    ("work/work/incompat/volatile/dirty", AtFlags::empty()),
    ("work/work/incompat/volatile", AtFlags::REMOVEDIR),
    ("work/work/incompat", AtFlags::REMOVEDIR),
    ("work/work", AtFlags::REMOVEDIR),
    ("work", AtFlags::REMOVEDIR),
    ("state.json", AtFlags::empty()),
    ("config.json", AtFlags::empty()),
    ("logs", AtFlags::REMOVEDIR),
    ("rw", AtFlags::REMOVEDIR),
];

/// Removes the known parts of `entry` without looking; whether that was all of it. It saves
/// opening and reading every one of those directories.
///
/// No part of a path here can be a symbolic link: the engine made them all, and a container
/// reaches only what is in `rw`.
fn remove_plain_container(trash: BorrowedFd<'_>, entry: &CStr) -> bool {
    let Some(entry) = entry.to_str().ok().filter(|entry| entry.starts_with("container-")) else {
        return false;
    };
    for (part, flags) in PLAIN_CONTAINER {
        // What is not there, or not empty, is left to who looks.
        let _ = rustix::fs::unlinkat(trash, format!("{entry}/{part}"), flags);
    }
    rustix::fs::unlinkat(trash, entry, AtFlags::REMOVEDIR).is_ok()
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

struct Trash<'a> {
    root: BorrowedFd<'a>,
    waiting: Vec<CString>,
    moved: u32,
}

impl Trash<'_> {
    fn remove(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return self.move_up(parent, name);
        }
        let directory = match open_directory(parent, name) {
            Ok(directory) => directory,
            Err(Errno::NOTDIR | Errno::LOOP) => return unlink(parent, name),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut first = Ok(());
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let mut entries = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let removed = match entry.file_name() {
                name if name == c"." || name == c".." => Ok(()),
                name if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) => {
                    self.remove_directory(directory.as_fd(), name, depth + 1)
                }
                name => unlink(directory.as_fd(), name),
            };
            first = first.and(removed);
            // Mostly that was all, which one call tells as well as another look.
            if first.is_ok() && entries.is_buffer_empty() && remove_empty(parent, name)? {
                return Ok(());
            }
        }
        first?;
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn remove_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        depth: usize,
    ) -> io::Result<()> {
        match remove_empty(parent, name) {
            Ok(true) => Ok(()),
            _ => self.remove(parent, name, depth),
        }
    }

    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        self.moved += 1;
        let entry = CString::new(format!("deep-{}-{}", std::process::id(), self.moved))?;
        rustix::fs::renameat(parent, name, self.root, &entry)?;
        self.waiting.push(entry);
        Ok(())
    }
}

/// Somebody else may be emptying `trash/` too.
fn unlink(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// False if the directory is not empty.
fn remove_empty(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn root(directory: &Path) -> fs::File {
        for folder in ["containers", "names", "trash", "volumes"] {
            fs::create_dir_all(directory.join(folder)).unwrap();
        }
        fs::File::open(directory).unwrap()
    }

    fn remove(directory: &Path, id: &str, removal: &Removal) {
        let root = root(directory);
        let discarded = discard(root.as_fd(), id, removal).unwrap();
        assert!(!directory.join("containers").join(id).exists());
        delete(root.as_fd(), discarded).unwrap();
        assert_eq!(fs::read_dir(directory.join("trash")).unwrap().count(), 0);
    }

    #[test]
    fn a_container_goes_with_its_name_and_volumes_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        drop(root(path));
        fs::create_dir_all(path.join("containers/c1/rw/a/b")).unwrap();
        fs::write(path.join("containers/c1/rw/a/file"), "x").unwrap();
        for number in 0..200 {
            fs::write(path.join(format!("containers/c1/rw/a/many-{number}")), "").unwrap();
        }
        fs::write(path.join("outside"), "kept").unwrap();
        symlink(path, path.join("containers/c1/rw/root")).unwrap();
        symlink("../../../outside", path.join("containers/c1/rw/link")).unwrap();
        fs::create_dir_all(path.join("volumes/v1/_data")).unwrap();
        fs::create_dir_all(path.join("volumes/v2/_data")).unwrap();
        symlink("c1", path.join("names/web")).unwrap();
        let removal = Removal { name: "web".into(), volumes: vec!["v1".into()] };
        remove(path, "c1", &removal);
        assert!(fs::symlink_metadata(path.join("names/web")).is_err());
        assert!(!path.join("volumes/v1").exists());
        assert!(path.join("volumes/v2").exists());
        assert_eq!(fs::read(path.join("outside")).unwrap(), b"kept");
        remove(path, "c1", &removal);
    }

    #[test]
    fn a_renamed_container_gives_its_new_name_back() {
        let directory = tempfile::tempdir().unwrap();
        drop(root(directory.path()));
        symlink("other", directory.path().join("names/old")).unwrap();
        symlink("c1", directory.path().join("names/new")).unwrap();
        remove(directory.path(), "c1", &Removal { name: "old".into(), volumes: vec![] });
        let left = fs::read_dir(directory.path().join("names")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["old"]);
    }

    #[test]
    fn a_name_that_somebody_else_took_stays() {
        let directory = tempfile::tempdir().unwrap();
        drop(root(directory.path()));
        symlink("other", directory.path().join("names/web")).unwrap();
        let removal = Removal { name: "web".into(), volumes: vec![] };
        remove(directory.path(), "c1", &removal);
        assert!(fs::symlink_metadata(directory.path().join("names/web")).is_ok());
    }

    #[test]
    fn names_cannot_leave_the_data_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(directory.path());
        for bad in ["", "..", "a/b", "/etc", ".hidden"] {
            let removal = Removal { name: "x".into(), volumes: vec![bad.into()] };
            let error = discard(root.as_fd(), "c1", &removal).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn a_deep_tree_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        drop(root(directory.path()));
        let mut at = OwnedFd::from(fs::File::open(directory.path().join("containers")).unwrap());
        for name in std::iter::once(c"c1").chain(std::iter::repeat_n(c"d", 500)) {
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            at = open_directory(at.as_fd(), name).unwrap();
        }
        let removal = Removal { name: "x".into(), volumes: vec![] };
        remove(directory.path(), "c1", &removal);
    }
}
