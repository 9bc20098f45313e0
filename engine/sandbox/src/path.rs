//! Paths inside a container, resolved beneath its root.
//!
//! Every path that an image or its user supplies goes through here: it is resolved by the kernel
//! with the container's root as root, without magic links, to a descriptor, and only the
//! descriptor is used from then on. Missing parts are made one by one, never through a name that
//! could have become a symbolic link in between.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, mknodat, openat, openat2, readlinkat};
use rustix::io::Errno;

/// As many symbolic links as the kernel itself follows.
const MAX_LINKS: usize = 40;

/// What a path must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything but a directory.
    File,
}

/// Resolves `path` beneath `root`, following symbolic links as a process in the container would.
///
/// # Errors
/// `ELOOP` for a magic link on the way; otherwise the kernel's (openat2(2)).
pub fn resolve(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: something was renamed meanwhile and the kernel could not be sure.
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens (`O_PATH`) what `path` leads to beneath `root`, making what is missing: directories of
/// mode 0755 and, for [`Kind::File`], an empty file.
///
/// # Errors
/// `ENOTDIR` or `EISDIR` when something else is there; otherwise the kernel's.
pub fn ensure(root: BorrowedFd<'_>, path: &str, kind: Kind) -> Result<OwnedFd, Errno> {
    match resolve(root, path, OFlags::PATH | directory(kind)) {
        Err(Errno::NOENT) if kind == Kind::File => match create(root, path) {
            // Its directory is missing too, or a symbolic link dangles.
            Err(Errno::NOENT | Errno::EXIST) => make(root, path, kind),
            other => other,
        },
        Err(Errno::NOENT) => make(root, path, kind),
        other => other,
    }
}

/// Makes an empty file in a directory that is there.
fn create(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::io::retry_on_intr(|| openat2(root, path, flags, Mode::from_raw_mode(0o644), resolve))
}

fn directory(kind: Kind) -> OFlags {
    if kind == Kind::Directory { OFlags::DIRECTORY } else { OFlags::empty() }
}

/// Walks to `path`, making what is missing. A dangling symbolic link is replaced in the path by
/// what it says, so that its target is made: images link `/etc/resolv.conf` into `/run`.
fn make(root: BorrowedFd<'_>, path: &str, kind: Kind) -> Result<OwnedFd, Errno> {
    let mut path = path.to_owned();
    'links: for _ in 0..MAX_LINKS {
        let mut walked = String::new();
        let mut parent = root.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
        while let Some(part) = parts.next() {
            let before = walked.len();
            walked.push('/');
            walked.push_str(part);
            let last = parts.peek().is_none();
            let part_kind = if last { kind } else { Kind::Directory };
            let flags = OFlags::PATH | directory(part_kind);
            let opened = match resolve(root, &walked, flags) {
                Err(Errno::NOENT) => match make_one(parent.as_fd(), part, part_kind) {
                    Ok(()) | Err(Errno::EXIST) => resolve(root, &walked, flags),
                    Err(error) => return Err(error),
                },
                other => other,
            };
            match opened {
                Ok(opened) => parent = opened,
                Err(Errno::NOENT) => {
                    let target = readlinkat(&parent, part, Vec::new())?;
                    let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
                    let start = if target.starts_with('/') { "" } else { &walked[..before] };
                    let rest: Vec<&str> = parts.collect();
                    path = format!("{start}/{target}/{}", rest.join("/"));
                    continue 'links;
                }
                Err(error) => return Err(error),
            }
        }
        return Ok(parent);
    }
    Err(Errno::LOOP)
}

fn make_one(parent: BorrowedFd<'_>, name: &str, kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let mode = Mode::from_raw_mode(0o644);
            mknodat(parent, name, rustix::fs::FileType::RegularFile, mode, 0)
        }
    }
}

/// Opens (`O_PATH`) the directory `name` right under `root`, making it where it is missing. A
/// symbolic link is refused: the kernel's own file systems are mounted on real directories only.
///
/// # Errors
/// `ENOTDIR` when it is anything but a directory, a symbolic link included.
pub(crate) fn real_directory(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(root, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            mkdirat(root, name, Mode::from_raw_mode(0o755))?;
            openat(root, name, flags, Mode::empty())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, read_link};
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap().into();
        (folder, root)
    }

    #[test]
    fn missing_parts_are_made_beneath_the_root() {
        let (folder, root) = root();
        ensure(root.as_fd(), "/a/./b//c", Kind::Directory).unwrap();
        ensure(root.as_fd(), "/a/b/file", Kind::File).unwrap();
        assert!(folder.path().join("a/b/c").is_dir());
        assert!(folder.path().join("a/b/file").is_file());
        assert_eq!(ensure(root.as_fd(), "/a/b/file", Kind::Directory).unwrap_err(), Errno::NOTDIR);
        assert_eq!(
            ensure(root.as_fd(), "/a/b/file/x", Kind::Directory).unwrap_err(),
            Errno::NOTDIR
        );
    }

    #[test]
    fn links_end_beneath_the_root_even_when_they_dangle() {
        let (folder, root) = root();
        create_dir(folder.path().join("etc")).unwrap();
        symlink("../../../../run/x/stub.conf", folder.path().join("etc/resolv.conf")).unwrap();
        symlink("/elsewhere", folder.path().join("absolute")).unwrap();
        ensure(root.as_fd(), "/etc/resolv.conf", Kind::File).unwrap();
        assert!(folder.path().join("run/x/stub.conf").is_file());
        assert!(read_link(folder.path().join("etc/resolv.conf")).is_ok());
        ensure(root.as_fd(), "/absolute/deep", Kind::Directory).unwrap();
        assert!(folder.path().join("elsewhere/deep").is_dir());
    }

    #[test]
    fn link_loops_and_magic_links_are_refused() {
        let (folder, root) = root();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert_eq!(ensure(root.as_fd(), "/a", Kind::File).unwrap_err(), Errno::LOOP);
        let host: OwnedFd = File::open("/").unwrap().into();
        assert_eq!(
            ensure(host.as_fd(), "/proc/self/cwd/x", Kind::Directory).unwrap_err(),
            Errno::LOOP
        );
    }

    #[test]
    fn a_real_directory_is_no_link() {
        let (folder, root) = root();
        symlink("/", folder.path().join("proc")).unwrap();
        assert_eq!(real_directory(root.as_fd(), "proc").unwrap_err(), Errno::NOTDIR);
        real_directory(root.as_fd(), "sys").unwrap();
        assert!(folder.path().join("sys").is_dir());
    }
}
