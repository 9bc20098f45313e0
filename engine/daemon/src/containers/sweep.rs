//! Looking after containers whose shim died.

use super::host;
use super::stored::{Container, state_of};
use crate::error::ApiError;
use crate::service::{Engine, Service};
use hull_shim::protocol::{LOCK, RestartPolicy};
use hull_shim::state::ContainerState;
use hull_store::Store;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

/// Releases what dead shims left, of every container that has a run directory.
///
/// # Errors
/// If the run directories cannot be listed. What cannot be recovered is told in the log, and
/// tried again the next time.
pub(crate) fn sweep(engine: &Engine) -> Result<(), ApiError> {
    let store = engine.store()?;
    for id in with_run_directory(store)? {
        if let Err(error) = state_of(store, &id) {
            tracing::warn!(container_id = id, %error, "cannot recover a container");
        }
    }
    Ok(())
}

/// The same as [`sweep`] but for all containers but one, and starts those again that wanted to be
/// when their shim was killed: it could not do it.
///
/// # Errors
/// As [`sweep`]. What cannot be started is told in the log, and its state says why.
pub(crate) async fn look_after(service: &Service, own: &str) -> Result<(), ApiError> {
    let own = own.to_owned();
    let back = service
        .run(move |engine| {
            let store = engine.store()?;
            let others = with_run_directory(store)?.into_iter().filter(|id| *id != own);
            let ids = others.filter(|id| !has_shim(store, id));
            Ok(ids.filter(|id| wanted(store, id, is_wanted_after_loss)).collect::<Vec<_>>())
        })
        .await?;
    start_all(service, back).await;
    Ok(())
}

/// Releases what a shim left that has ended, and starts its container again if that wanted to be
/// when the shim was killed.
///
/// # Errors
/// If the store cannot be opened. Otherwise as [`look_after`].
pub(crate) async fn look_after_one(service: &Service, id: String) -> Result<(), ApiError> {
    let (id, wanted) = service
        .run(move |engine| {
            let wanted = wanted(engine.store()?, &id, is_wanted_after_loss);
            Ok((id, wanted))
        })
        .await?;
    start_all(service, Some(id).filter(|_| wanted)).await;
    Ok(())
}

/// Starts what is to be started when the host has started: containers that always run, and those
/// that run unless somebody stopped them.
///
/// # Errors
/// If the containers cannot be listed.
pub(crate) async fn start_after_boot(service: &Service) -> Result<(), ApiError> {
    let back = service
        .run_long(|engine| {
            let store = engine.store()?;
            let ids = store.container_ids()?.into_iter();
            Ok(ids.filter(|id| wanted(store, id, is_wanted_after_boot)).collect::<Vec<_>>())
        })
        .await?;
    start_all(service, back).await;
    Ok(())
}

/// Whether a shim of this container lives for certain: three system calls, where a look at all of
/// its state takes a dozen.
pub(super) fn has_shim(store: &Store, id: &str) -> bool {
    let lock = store.exec_root().join("containers").join(id).join(LOCK);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(lock) = rustix::fs::open(lock, flags, Mode::empty()) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

async fn start_all(service: &Service, ids: impl IntoIterator<Item = String>) {
    for id in ids {
        if let Err(error) = super::start::start(service, &id).await {
            tracing::warn!(container_id = id, %error, "cannot start a container again");
        }
    }
}

/// Whether a container is to be started again by what `test` says of its state and policy.
fn wanted(store: &Store, id: &str, test: fn(&ContainerState, RestartPolicy) -> bool) -> bool {
    let policy = |state: &ContainerState| {
        // The policy is in the record, which is longer: most need not be read.
        if !state.has_lost_its_shim() && !state.is_of_an_earlier_boot() {
            return Ok(RestartPolicy::No);
        }
        host::restart_policy(&Container::find(store, id)?.stored.host.restart_policy)
    };
    match state_of(store, id) {
        Ok(Some(Some(state))) => policy(&state).is_ok_and(|policy| test(&state, policy)),
        Ok(_) => false,
        Err(error) => {
            tracing::warn!(container_id = id, %error, "cannot recover a container");
            false
        }
    }
}

fn is_wanted_after_loss(state: &ContainerState, policy: RestartPolicy) -> bool {
    // Its exit code says that it was killed, which is a failure.
    state.has_lost_its_shim() && !state.manually_stopped && policy != RestartPolicy::No
}

fn is_wanted_after_boot(state: &ContainerState, policy: RestartPolicy) -> bool {
    let wanted = match policy {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !state.manually_stopped,
        RestartPolicy::No | RestartPolicy::OnFailure { .. } => false,
    };
    wanted && state.is_of_an_earlier_boot() || is_wanted_after_loss(state, policy)
}

/// Ids of containers that were started since boot and not removed.
pub(super) fn with_run_directory(store: &Store) -> Result<Vec<String>, ApiError> {
    let path = store.exec_root().join("containers");
    let failed = |error: std::io::Error| {
        ApiError::internal(&error).context(&format!("cannot list {}", path.display()))
    };
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        ids.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_shim::protocol::Exit;

    #[test]
    fn who_comes_back() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let on_failure = OnFailure { most: 0 };
        let policies = [No, on_failure, UnlessStopped, Always];
        let ended = |boot: &str, error: &str, manually_stopped| {
            let exit = Exit { code: 137, error: error.to_owned(), ..Exit::default() };
            let mut state = ContainerState::running(1, None).exited(&exit);
            if !boot.is_empty() {
                boot.clone_into(&mut state.boot_id);
            }
            ContainerState { manually_stopped, ..state }
        };
        for (state, after_loss, after_boot) in [
            (ended("", "", false), [false; 4], [false; 4]),
            (
                ended("", "supervisor lost", false),
                [false, true, true, true],
                [false, true, true, true],
            ),
            (ended("", "supervisor lost", true), [false; 4], [false; 4]),
            (ended("before", "", false), [false; 4], [false, false, true, true]),
            (ended("before", "", true), [false; 4], [false, false, false, true]),
        ] {
            assert_eq!(policies.map(|policy| is_wanted_after_loss(&state, policy)), after_loss);
            assert_eq!(policies.map(|policy| is_wanted_after_boot(&state, policy)), after_boot);
        }
    }
}
