//! The socket a daemon listens on: made by it, or handed over by systemd.

use super::group;
use rustix::fs::{AtFlags, CWD, Mode};
use rustix::net::sockopt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The group that may use the socket, where the host has it and no other is named.
const GROUP: &str = "hull";

/// The first descriptor that systemd hands over (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// A socket that listens. Dropping it takes its name away, if it is ours.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    own: Option<Own>,
}

/// A socket that this process has made.
#[derive(Debug)]
struct Own {
    path: PathBuf,
    /// Its inode: another's socket under the same name is left alone.
    inode: u64,
    group: Option<String>,
    /// Locked as long as the daemon lives.
    _lock: File,
}

/// The daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address of another kind.
    #[error("cannot listen on {address:?}: only unix:///path.sock and fd:// are understood")]
    Address {
        /// What was asked for.
        address: String,
    },
    /// A daemon lives already.
    #[error("another hull daemon serves unix://{} (process {pid})", path.display())]
    Served {
        /// The socket.
        path: PathBuf,
        /// The other daemon.
        pid: String,
    },
    /// Something else has the name.
    #[error("unix://{} cannot be taken: {what}", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The named group does not exist.
    #[error("no group {name:?} on this host")]
    NoGroup {
        /// Its name.
        name: String,
    },
    /// systemd was to hand over a socket.
    #[error("no socket was handed over: {reason}")]
    NotHandedOver {
        /// What is wrong.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Listener {
    /// Listens on `address`: `unix:///path`, or `fd://` for the socket that systemd hands over.
    ///
    /// A socket of a daemon that is gone is replaced. The new one belongs to root and to `group`
    /// (a name or a number; `hull` where there is such a group and none is given), mode 0660.
    /// In the exec root, everything else is root's own: there, that directory becomes searchable.
    /// To be called while the process has one thread: it changes the umask for a moment.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(address: &str, group: Option<&str>, exec_root: &Path) -> Result<Self, ListenError> {
        if address == "fd://" {
            return handed_over();
        }
        match address.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => {
                let path = Path::new(path);
                make_parent(path, exec_root)?;
                bind(path, group)
            }
            _ => Err(ListenError::Address { address: address.to_owned() }),
        }
    }

    /// Looks the group up again and gives the socket to it.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn reload(&self) -> Result<(), ListenError> {
        match &self.own {
            Some(own) => give(&own.path, own.group.as_deref()),
            None => Ok(()),
        }
    }

    /// Where it listens, as the user writes it.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.own {
            Some(own) => format!("unix://{}", own.path.display()),
            None => "the socket that was handed over".to_owned(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(own) = &self.own else { return };
        if std::fs::symlink_metadata(&own.path).is_ok_and(|found| found.ino() == own.inode)
            && let Err(error) = std::fs::remove_file(&own.path)
        {
            tracing::warn!(path = %own.path.display(), %error, "cannot remove the socket");
        }
    }
}

fn bind(path: &Path, group: Option<&str>) -> Result<Listener, ListenError> {
    let file = |action| move |source| ListenError::File { action, path: path.to_owned(), source };
    let lock = lock(path)?;
    replace_stale(path)?;
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let socket = UnixListener::bind(path);
    rustix::process::umask(mask);
    let socket = socket.map_err(file("listen on"))?;
    let inode = std::fs::symlink_metadata(path).map_err(file("look at"))?.ino();
    let own = Own { path: path.to_owned(), inode, group: group.map(str::to_owned), _lock: lock };
    // From here on an error takes the name away again.
    let listener = Listener { socket, own: Some(own) };
    give(path, group)?;
    Ok(listener)
}

/// Makes the directory of the socket, and lets its group reach it where it is the exec root, in
/// which every other directory is closed to all but root.
fn make_parent(path: &Path, exec_root: &Path) -> Result<(), ListenError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let file = |action| move |source| ListenError::File { action, path: parent.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o711).create(parent).map_err(file("create"))?;
    if parent == exec_root {
        let mode = std::fs::metadata(parent).map_err(file("look at"))?.permissions().mode();
        std::fs::set_permissions(parent, Permissions::from_mode(mode & 0o7777 | 0o111))
            .map_err(file("set the mode of"))?;
    }
    Ok(())
}

/// Takes the lock beside the socket, which says who serves it.
fn lock(socket: &Path) -> Result<File, ListenError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |action| {
        let path = path.clone();
        move |source| ListenError::File { action, path, source }
    };
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(&path)
        .map_err(failed("open"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            lock.read_to_string(&mut pid).map_err(failed("read"))?;
            let pid = pid.trim().to_owned();
            return Err(ListenError::Served { path: socket.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    let write = |lock: &mut File| {
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())
    };
    write(&mut lock).map_err(failed("write"))?;
    Ok(lock)
}

/// Removes what a daemon that is gone has left under this name.
fn replace_stale(path: &Path) -> Result<(), ListenError> {
    let taken = |what| ListenError::Taken { path: path.to_owned(), what };
    let file = |action| move |source| ListenError::File { action, path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file("look at")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(taken("something that is no socket has this name"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(taken("another program listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(file("remove"))
        }
        Err(error) => Err(file("connect to")(error)),
    }
}

/// Gives the socket to its group and opens it for the group.
fn give(path: &Path, name: Option<&str>) -> Result<(), ListenError> {
    let file = |action| move |source| ListenError::File { action, path: path.to_owned(), source };
    let found = group::find(name.unwrap_or(GROUP)).map_err(file("find the group of"))?;
    match (found, name) {
        (Some(number), _) => {
            let number = rustix::fs::Gid::from_raw(number);
            rustix::fs::chownat(CWD, path, None, Some(number), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| file("change the group of")(error.into()))?;
        }
        (None, Some(name)) => return Err(ListenError::NoGroup { name: name.to_owned() }),
        (None, None) => tracing::info!("no group {GROUP} on this host: only root may connect"),
    }
    let mode = Mode::from_raw_mode(0o660);
    rustix::fs::chmod(path, mode).map_err(|error| file("set the mode of")(error.into()))
}

/// The socket that systemd opened for us.
fn handed_over() -> Result<Listener, ListenError> {
    let refused = |reason: String| ListenError::NotHandedOver { reason };
    let number = |name: &str| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Err(refused("LISTEN_PID does not name this process".to_owned()));
    }
    if number("LISTEN_FDS") != Some(1) {
        return Err(refused("LISTEN_FDS must be 1".to_owned()));
    }
    let descriptor = hull_sys::descriptor::inherited(FIRST)
        .map_err(|error| refused(format!("descriptor {FIRST}: {error}")))?;
    let listens = sockopt::socket_acceptconn(descriptor.as_fd()).unwrap_or(false);
    let domain = sockopt::socket_domain(descriptor.as_fd());
    if !listens || domain != Ok(rustix::net::AddressFamily::UNIX) {
        return Err(refused(format!("descriptor {FIRST} is no listening unix socket")));
    }
    Ok(Listener { socket: descriptor.into(), own: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &Path) -> String {
        format!("unix://{}", path.display())
    }

    #[test]
    fn one_daemon_for_one_socket_and_a_dead_ones_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        DirBuilder::new().mode(0o700).create(&root).unwrap();
        let path = root.join("hull.sock");
        let first = Listener::bind(&address(&path), None, &root).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let mode = std::fs::metadata(&root).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o711);
        let error = Listener::bind(&address(&path), None, &root).unwrap_err().to_string();
        let own = std::process::id();
        assert!(error.contains(&format!("(process {own})")), "{error}");
        drop(first);
        assert!(!path.exists());
        // A socket whose owner is gone.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Listener::bind(&address(&path), None, &root).unwrap();
        UnixStream::connect(&path).unwrap();
        // Another's name is not taken away.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        drop(second);
        assert!(path.exists());
        let error = Listener::bind(&address(&path), None, &root).unwrap_err().to_string();
        assert!(error.contains("no socket has this name"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        let error = Listener::bind(&address(&path), None, &root).unwrap_err().to_string();
        assert!(error.contains("another program listens there"), "{error}");
    }

    #[test]
    fn what_cannot_be_listened_on_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = address(&folder.path().join("a"));
        let check = |address: &str, group, part| {
            let error = Listener::bind(address, group, Path::new("/run")).unwrap_err().to_string();
            assert!(error.contains(part), "{address}: {error}");
        };
        check("tcp://0.0.0.0:2375", None, "only unix://");
        check("unix://relative", None, "only unix://");
        check("fd://", None, "no socket was handed over");
        check(&path, Some("no-such-group"), "no group");
        check(&format!("unix:///{}", "a".repeat(200)), None, "cannot");
        assert!(!folder.path().join("a").exists());
    }
}
