//! A shim's life, from its start to its end.
//!
//! ```text
//! detach ─ receive ─ lock ─ sandbox ─ state: running ─ answer ─ supervise ─ exit
//!                      └─ failed: state or --rm ─ answer
//! exit: output to its end ─ state: exited, or --rm ─ tell waiters ─ cgroup ─ overlay closed
//!       ─ let go of the lock ─ files deleted ─ clients that are slow take the rest
//! with a policy: output to its end ─ state: restarting ─ tell waiters ─ cgroup ─ overlay closed
//!       ─ back-off ─ sandbox ─ state: running ─ supervise
//! ```
//!
//! Nobody waits for what comes after the waiters were told, but for the container's next start,
//! which waits for the lock.

use std::os::fd::{AsFd, OwnedFd};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hull_shim::protocol::{Exit, Failure, FailureKind, Removal, Reply};
use hull_shim::recover::{remove_run_directory, unlock};
use hull_shim::removal::{self, Discarded};
use hull_shim::state::{ContainerState, Health};
use rustix::fs::AtFlags;
use rustix::process::Signal;

use crate::closing::Closing;
use crate::interest::Interest;
use crate::start::{Container, Live, Start, internal, number};
use crate::streams::Streams;
use crate::supervisor::{Ended, Supervisor, remove_cgroup};
use crate::waiters::reply;

/// How long clients have for the last output before the slow part of the clean-up.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Lives.
///
/// # Errors
/// Why the container was not started; the engine has been told.
pub(crate) fn live() -> Result<(), Failure> {
    let socket = rustix::stdio::stdin();
    let told = |failure: Failure| {
        reply(socket, &Reply::Failed(failure.clone()));
        failure
    };
    let starter = detach().map_err(told)?;
    let start = Start::receive(socket).map_err(told)?;
    if start.request.step {
        crate::steps::serve(socket, start);
        return Ok(());
    }
    let lock = start.lock().map_err(told)?;
    let container = start.container.clone();
    match start.run().and_then(|live| record_start(&container, live)) {
        Ok((live, state)) => {
            container.events.tell_start();
            reply(socket, &Reply::Started { pid: number(live.running.pid) });
            // Not earlier: with version 2 the kernel may take ten milliseconds to move a process.
            // Where it fails we stay, and live as long as our caller's cgroup does.
            let _stayed = live.running.cgroup.leave_caller();
            record_panics(container.clone(), state.clone());
            supervise(&container, state, live, starter, lock);
            Ok(())
        }
        Err(failure) => {
            let discarded = give_up(&container, &failure);
            drop(lock);
            let failure = told(failure);
            delete(&container, discarded);
            Err(failure)
        }
    }
}

/// Keeps nothing of what started us but the socket, which is returned for those who wait.
fn detach() -> Result<OwnedFd, Failure> {
    let detach = || {
        hull_sys::descriptor::close_inherited(3)?;
        // Run from a descriptor, the kernel names us after its number.
        rustix::thread::set_name(c"hull-shim")?;
        // Already a leader: as good.
        let _leader = rustix::process::setsid();
        rustix::process::chdir("/")?;
        // A host that shuts down sends these to everybody; the container is stopped by its engine.
        // Blocked and not ignored: what is ignored, each container's process must undo one by one.
        let refused = [Signal::HUP, Signal::INT, Signal::TERM].map(Signal::as_raw);
        hull_sys::signal::block(&refused)?;
        rustix::stdio::stdin().try_clone_to_owned()
    };
    detach().map_err(|error| internal("cannot detach from the caller", &error))
}

fn record_start(container: &Container, live: Live) -> Result<(Live, ContainerState), Failure> {
    let mut state =
        ContainerState::running(number(live.running.pid), container.auto_remove.clone());
    state.health = live.health.is_some().then(Health::default);
    match state.write(container.directory.as_fd()) {
        Ok(()) => Ok((live, state)),
        Err(error) => {
            let cgroup = &live.running.cgroup;
            let removed = cgroup.kill().and_then(|()| cgroup.remove());
            let message = match removed {
                Ok(()) => format!("cannot record the start of container {}: {error}", container.id),
                Err(also) => format!("{error}, and cannot kill container {}: {also}", container.id),
            };
            Err(Failure::new(FailureKind::Internal, message))
        }
    }
}

/// Records a start that failed, or removes the container if it was to remove itself.
fn give_up(container: &Container, failure: &Failure) -> Discarded {
    let directory = container.directory.as_fd();
    let discarded = match &container.auto_remove {
        Some(removal) => removal::discard(container.data_root.as_fd(), &container.id, removal),
        None => {
            let before = ContainerState::read(directory).unwrap_or_default();
            let message = failure.message.clone();
            let state = ContainerState::not_started(before, failure.exit_code(), message);
            // The engine is told in any case; this is for who asks later.
            let _unrecorded = state.write(directory);
            Ok(Discarded::default())
        }
    };
    release(container, container.auto_remove.is_some());
    // What could not be moved is still a container, which can be removed by hand.
    discarded.unwrap_or_default()
}

/// Lets a panic end as what it is, instead of as a lost shim.
fn record_panics(container: Arc<Container>, state: ContainerState) {
    let supervisor = std::process::id();
    let hook = move |panic: &PanicHookInfo<'_>| {
        // A child on its way to exec has this hook too.
        if std::process::id() == supervisor {
            let reason = format!("supervisor failed: {panic}").replace('\n', " ");
            let last = ContainerState::read(container.directory.as_fd()).ok().flatten();
            // If this fails too, it is a lost shim after all.
            let _lost = container.lost().release(last.unwrap_or_else(|| state.clone()), &reason);
        }
    };
    std::panic::set_hook(Box::new(hook));
}

fn supervise(
    container: &Arc<Container>,
    state: ContainerState,
    live: Live,
    starter: OwnedFd,
    lock: OwnedFd,
) {
    let ended = Supervisor::new(container.clone(), state, live, starter).run();
    let Ended { mut exit, lasted, state, keep, running, mut streams, .. } = ended;
    let Ended { listener, mut waiters, closing, mut buffer, .. } = ended;
    let removal = container.auto_remove.as_ref().filter(|_| !keep);
    let discarded = record_exit(container, removal, state, &mut exit);
    container.events.tell_exit(&exit, lasted, removal.is_some());
    waiters.tell(&exit);
    drop(listener);
    let removed = running.as_ref().is_none_or(remove_cgroup);
    serve_rest(&mut streams, Some(Instant::now() + LAST_WORDS), &mut buffer);
    // Closes the overlay, which syncs its writable layer: the next start must find it unmounted.
    drop(running);
    closing.into_iter().for_each(Closing::wait);
    if keep {
        forget_volatile(container);
    }
    if removed {
        release(container, removal.is_some());
    }
    drop(lock);
    delete(container, discarded);
    serve_rest(&mut streams, None, &mut buffer);
}

/// An overlay that is not to be synced leaves a mark, so that it is not used again after a crash
/// of the host. One that is started again at once has lost nothing.
fn forget_volatile(container: &Container) {
    let mark = [
        ("work/work/incompat/volatile/dirty", AtFlags::empty()),
        ("work/work/incompat/volatile", AtFlags::REMOVEDIR),
        ("work/work/incompat", AtFlags::REMOVEDIR),
    ];
    for (path, flags) in mark {
        // If it stays, the next start says so.
        let _left = rustix::fs::unlinkat(container.directory.as_fd(), path, flags);
    }
}

fn record_exit(
    container: &Container,
    removal: Option<&Removal>,
    state: ContainerState,
    exit: &mut Exit,
) -> Discarded {
    let recorded = match removal {
        Some(removal) => removal::discard(container.data_root.as_fd(), &container.id, removal)
            .map_err(|error| format!("cannot remove container {}: {error}", container.id)),
        None => state
            .exited(exit)
            .write(container.directory.as_fd())
            .map(|()| Discarded::default())
            .map_err(|error| {
                format!("cannot record the exit of container {}: {error}", container.id)
            }),
    };
    recorded.unwrap_or_else(|error| {
        exit.error = error;
        Discarded::default()
    })
}

/// Takes away what says that there is a shim. If that fails, `recover` does it.
fn release(container: &Container, with_directory: bool) {
    let mut released = unlock(container.run.as_fd());
    if with_directory {
        released = released.and(remove_run_directory(container.run.as_fd(), &container.id));
    }
    let _left_to_recover = released;
}

fn delete(container: &Container, discarded: Discarded) {
    // What is left in the trash, collection deletes.
    let _left_to_collection = removal::delete(container.data_root.as_fd(), discarded);
}

/// Lets clients take what they have not taken yet.
fn serve_rest(all: &mut [Streams], until: Option<Instant>, buffer: &mut Vec<u8>) {
    while !all.iter().all(Streams::is_over) && until.is_none_or(|until| Instant::now() < until) {
        let mut interest = Interest::new();
        for (index, streams) in all.iter().enumerate() {
            streams.interest(&mut interest, |token| (index, token));
        }
        interest.until(until);
        let Ok(happened) = interest.wait() else { return };
        for ((index, token), flags) in happened {
            all[index].handle(token, flags, buffer);
        }
        all.iter_mut().for_each(Streams::sweep);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use hull_shim::state::Status;

    use super::*;
    use crate::events::Events;

    #[test]
    fn a_panic_is_recorded_and_releases_the_container() {
        let root = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            fs::create_dir_all(root.path().join(name)).unwrap();
            OwnedFd::from(File::open(root.path().join(name)).unwrap())
        };
        let data_root = Arc::new(open("data"));
        let container = Arc::new(Container {
            id: format!("panic-{}", std::process::id()),
            directory: Arc::new(open("container")),
            run: open("run"),
            data_root: data_root.clone(),
            events: Events::new(data_root, "panic", None, Vec::new()),
            auto_remove: None,
        });
        fs::write(root.path().join("run/shim.lock"), "").unwrap();
        let before = std::panic::take_hook();
        record_panics(container.clone(), ContainerState::running(1, None));
        let panicked = std::panic::catch_unwind(|| panic!("a reason"));
        std::panic::set_hook(before);
        assert!(panicked.is_err());
        let state = ContainerState::read(container.directory.as_fd()).unwrap().unwrap();
        assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
        assert!(state.error.starts_with("supervisor failed"), "{}", state.error);
        assert!(state.error.ends_with("a reason"), "{}", state.error);
        assert!(!root.path().join("run/shim.lock").exists());
    }
}
