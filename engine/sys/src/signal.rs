//! Signal dispositions and masks.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// Gives the `ignored` signals their default action and blocks none: what a new program expects.
///
/// Handlers are reset by exec itself; "ignored" is inherited through it.
///
/// # Errors
/// The kernel's (sigaction(2), sigprocmask(2)).
pub fn reset(ignored: impl Iterator<Item = i32>) -> io::Result<()> {
    for signal in ignored {
        set_disposition(signal, libc::SIG_DFL)?;
    }
    set_mask(libc::SIG_SETMASK, &empty_set())
}

/// Ignores `signals` (by number) from now on.
///
/// # Errors
/// The kernel's (sigaction(2)).
pub fn ignore(signals: &[i32]) -> io::Result<()> {
    signals.iter().try_for_each(|signal| set_disposition(*signal, libc::SIG_IGN))
}

/// Sends a signal, by number, to the process behind `pidfd`: also real-time ones, but for the two
/// that C libraries keep for themselves.
///
/// # Errors
/// `InvalidInput` for what is no signal; otherwise the kernel's (pidfd_send_signal(2)).
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(pidfd, by_number(signal)?)?)
}

/// As [`send`], to a process by its id: for a child that was not reaped yet.
///
/// # Errors
/// As [`send`] (kill(2)).
pub fn send_to_child(child: Pid, signal: i32) -> io::Result<()> {
    Ok(rustix::process::kill_process(child, by_number(signal)?)?)
}

fn by_number(signal: i32) -> io::Result<Signal> {
    if !matches!(signal, 1..=31 | 34..=64) {
        let message = format!("{signal} is no signal");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // SAFETY: not zero, within the kernel's range, and none of those a C library uses.
    Ok(unsafe { Signal::from_raw_unchecked(signal) })
}

/// Blocks `signals` (by number) from now on, beside those that are blocked already.
///
/// # Errors
/// `InvalidInput` for what is no signal; otherwise the kernel's (sigprocmask(2)).
pub fn block(signals: &[i32]) -> io::Result<()> {
    let mut set = empty_set();
    for signal in signals {
        // SAFETY: `set` is initialised, and the number is checked by the call.
        if unsafe { libc::sigaddset(&raw mut set, *signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    set_mask(libc::SIG_BLOCK, &set)
}

/// Blocks every signal that can be blocked, to be taken with [`wait`].
///
/// # Errors
/// The kernel's (sigprocmask(2)).
pub fn block_all() -> io::Result<()> {
    set_mask(libc::SIG_SETMASK, &full_set())
}

/// Every signal blocked in this thread, for a while.
#[derive(Debug)]
#[must_use = "the signals stay blocked"]
pub(crate) struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    pub(crate) fn all() -> io::Result<Self> {
        let (set, mut before) = (full_set(), empty_set());
        // SAFETY: both sets outlive the call.
        let result =
            unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, &raw mut before) };
        if result == 0 { Ok(Self { before }) } else { Err(io::Error::last_os_error()) }
    }

    /// Blocks what was blocked before.
    pub(crate) fn release(self) -> io::Result<()> {
        set_mask(libc::SIG_SETMASK, &self.before)
    }
}

/// Blocks no signal. One system call and nothing else: for a child that shares our memory.
pub(crate) fn unblock_all() -> io::Result<()> {
    set_mask(libc::SIG_SETMASK, &empty_set())
}

/// Waits for any of the blocked signals and returns its number; `None` when `timeout` passed.
///
/// # Errors
/// The kernel's (sigtimedwait(2)); interruptions are waited through.
pub fn wait(timeout: Option<Duration>) -> io::Result<Option<i32>> {
    let set = full_set();
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    loop {
        // SAFETY: `set` and `limit` outlive the call; no siginfo is asked for.
        let signal = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), limit) };
        if signal > 0 {
            return Ok(Some(signal));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) => return Ok(None),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

fn set_disposition(signal: libc::c_int, disposition: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: neither "default" nor "ignore" is code of ours that could run in a handler.
    let previous = unsafe { libc::signal(signal, disposition) };
    if previous == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: `set` outlives the call; the old mask is not asked for.
    let result = unsafe { libc::sigprocmask(how, set, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: initialises the set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: just initialised.
    unsafe { set.assume_init() }
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: initialises the set it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: just initialised.
    unsafe { set.assume_init() }
}
