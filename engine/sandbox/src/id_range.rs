//! Ranges of host ids, one private range for each running container.
//!
//! A window of ids is cut into slots of 65536. A slot belongs to whoever holds the lock on its
//! file; a range of more ids takes as many adjacent slots as it needs. The locks die with the
//! process that holds them, so no range is ever leaked.
//!
//! The window is the `hull` line of `/etc/subuid` and `/etc/subgid` where there is one, else
//! 1879048192 to 2147352576, which systemd leaves free (systemd, UIDS-GIDS.md).

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::error::{StartError, StartErrorKind, Step};

/// Ids in one slot.
const SLOT: u32 = 65536;

const DEFAULT_WINDOW: Window = Window { start: 0x7000_0000, end: 0x7FFE_0000 };

/// The ids that may be given out: `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    start: u32,
    end: u32,
}

/// A range of ids, held until it is dropped.
#[derive(Debug)]
pub(crate) struct IdRange {
    /// Host user id of the container's root.
    pub first_uid: u32,
    /// Host group id of the container's root.
    pub first_gid: u32,
    /// Ids in the range.
    pub size: u32,
    _locks: Vec<OwnedFd>,
}

impl IdRange {
    /// Takes a free range of at least `size` ids. `folder` holds the lock files.
    ///
    /// # Errors
    /// `Unavailable` when the window has no such range free.
    pub(crate) fn take(folder: BorrowedFd<'_>, size: u32) -> Result<Self, StartError> {
        let (users, groups) = windows()?;
        let slots = size.div_ceil(SLOT).max(1);
        let available = users.slots().min(groups.slots());
        for first in starts(available, slots) {
            if let Some(locks) = lock(folder, first, slots)? {
                return Ok(Self {
                    first_uid: users.start + first * SLOT,
                    first_gid: groups.start + first * SLOT,
                    size: slots * SLOT,
                    _locks: locks,
                });
            }
        }
        let Window { start, end } = users;
        Err(StartError::new(
            StartErrorKind::Unavailable,
            format!("no {size} adjacent ids are free in user ids {start}..{end}"),
        )
        .hint("stop containers, widen the `hull` lines of /etc/subuid and /etc/subgid, or use --userns=host"))
    }
}

/// Where a range of `slots` may begin, each place once. Processes begin at different places:
/// neighbours in time would otherwise all try the same taken slots one after the other.
fn starts(available: u32, slots: u32) -> impl Iterator<Item = u32> {
    let places = (available + 1).saturating_sub(slots);
    let offset = rustix::process::getpid().as_raw_pid().unsigned_abs();
    (0..places).map(move |place| (place + offset % places) % places)
}

/// Locks adjacent slots; `None` when another process holds one of them.
fn lock(
    folder: BorrowedFd<'_>,
    first: u32,
    slots: u32,
) -> Result<Option<Vec<OwnedFd>>, StartError> {
    let mut locks = Vec::new();
    for slot in first..first + slots {
        let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(folder, slot.to_string(), flags, Mode::from_raw_mode(0o600))
            .step_with(|| format!("open the lock file of id range {slot}"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => locks.push(file),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error).step_with(|| format!("lock id range {slot}")),
        }
    }
    Ok(Some(locks))
}

fn windows() -> Result<(Window, Window), StartError> {
    match (configured(c"/etc/subuid")?, configured(c"/etc/subgid")?) {
        (Some(users), Some(groups)) => Ok((users, groups)),
        (None, None) => Ok((DEFAULT_WINDOW, DEFAULT_WINDOW)),
        (users, _) => {
            let (has, lacks) =
                if users.is_some() { ("subuid", "subgid") } else { ("subgid", "subuid") };
            Err(StartError::invalid(format!(
                "/etc/{has} has a `hull` line and /etc/{lacks} has none"
            )))
        }
    }
}

fn configured(path: &CStr) -> Result<Option<Window>, StartError> {
    let text = crate::proc::read_whole(path);
    let path = path.to_string_lossy();
    match text {
        Ok(text) => window(&text)
            .map_err(|line| StartError::invalid(format!("{path} has a bad line {line:?}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).step_with(|| format!("read {path}")),
    }
}

impl Window {
    fn slots(self) -> u32 {
        (self.end - self.start) / SLOT
    }
}

/// The window of the first `hull:start:count` line (subuid(5)); the line itself where it is bad.
fn window(text: &str) -> Result<Option<Window>, &str> {
    let Some(line) = text.lines().find(|line| line.starts_with("hull:")) else {
        return Ok(None);
    };
    let mut numbers = line.split(':').skip(1).map(|number| number.trim().parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten(), numbers.next()) {
        // The container's root must never be the host's, and id 4294967295 does not exist.
        (Some(start @ 1..), Some(count @ SLOT..), None) => match start.checked_add(count) {
            Some(end) => Ok(Some(Window { start, end })),
            None => Err(line),
        },
        _ => Err(line),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_window_is_the_hull_line() {
        let check = |text, expected| assert_eq!(window(text), expected, "{text}");
        check("", Ok(None));
        check("root:1:65536\nhulled:2:65536\n", Ok(None));
        check("a:1:2\nhull:100000:131072\n", Ok(Some(Window { start: 100_000, end: 231_072 })));
        check("hull:0:65536", Err("hull:0:65536"));
        check("hull:100000:10", Err("hull:100000:10"));
        check("hull:4294901760:65536", Err("hull:4294901760:65536"));
        check("hull:1000", Err("hull:1000"));
        check("hull:x:65536", Err("hull:x:65536"));
    }

    #[test]
    fn ranges_do_not_overlap_and_free_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        let one = IdRange::take(handle.as_fd(), 1).unwrap();
        let two = IdRange::take(handle.as_fd(), 65537).unwrap();
        let three = IdRange::take(handle.as_fd(), 65536).unwrap();
        assert_eq!([one.size, two.size, three.size], [65536, 131_072, 65536]);
        let mut spans =
            [&one, &two, &three].map(|range| (range.first_uid, range.first_uid + range.size));
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
        let first = one.first_uid;
        drop(one);
        assert_eq!(IdRange::take(handle.as_fd(), 65536).unwrap().first_uid, first);
        let error = IdRange::take(handle.as_fd(), u32::MAX).unwrap_err();
        assert_eq!(error.kind, StartErrorKind::Unavailable);
    }
}
