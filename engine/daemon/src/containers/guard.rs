//! Noticing at once that a shim has died.
//!
//! A daemon holds a pidfd of every shim: of those it finds when it starts, and of those whose
//! start the log of events tells of, whoever it was that started them. A shim that ends leaves
//! its container in order, and nothing is to be done. What a killed one held is released, and its
//! container is started again if its policy says so.

use super::start::look_after_one;
use super::stored::state_of;
use super::sweep::{has_shim, with_run_directory};
use crate::error::ApiError;
use crate::readiness::readable;
use crate::service::{Engine, Service};
use crate::watch::Watch;
use hull_events::{From, Kind, Reader};
use hull_shim::state::ContainerState;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use tokio::task::JoinSet;

/// Looks after the shims of all containers from now on, for as long as the service lives.
///
/// # Errors
/// If the log of events cannot be followed or the containers cannot be listed.
pub(crate) async fn guard(service: &Service) -> Result<(), ApiError> {
    let (watch, reader, running) = service
        .run(|engine| {
            let store = engine.store()?;
            let (root, folder) = (store.data_root(), store.data_root().join(hull_events::FOLDER));
            let failed = |error: std::io::Error| {
                ApiError::internal(&error).context("cannot follow the log of events")
            };
            // A store of an older engine has none.
            std::fs::create_dir_all(&folder).map_err(failed)?;
            // Both before the look at what runs, so that no start falls between.
            let watch = engine.watcher().watch(&[&folder])?;
            let reader = Reader::open(root, From::Now).map_err(failed)?;
            let running = with_run_directory(store)?.into_iter().filter(|id| has_shim(store, id));
            Ok((watch, reader, running.collect::<Vec<_>>()))
        })
        .await?;
    let service = service.clone();
    let guard = Guard { service, watch, known: HashMap::new(), ends: JoinSet::new() };
    tokio::spawn(guard.run(reader, running));
    Ok(())
}

struct Guard {
    service: Service,
    /// Of the log of events.
    watch: Watch,
    /// The shims whose end is waited for, by container: each restart by a policy is told, but the
    /// shim is the same.
    known: HashMap<String, u32>,
    /// Tells container and shim.
    ends: JoinSet<(String, u32)>,
}

impl Guard {
    async fn run(mut self, mut reader: Reader, mut started: Vec<String>) {
        loop {
            for id in started.drain(..) {
                self.add(id).await;
            }
            tokio::select! {
                Some(Ok((id, shim))) = self.ends.join_next() => {
                    if self.known.get(&id) == Some(&shim) {
                        self.known.remove(&id);
                    }
                    self.look_after(id);
                }
                () = self.watch.changed() => {
                    let read = self.service.run(move |_| Ok(next_started(reader))).await;
                    let Ok((back, ids)) = read else { return };
                    (reader, started) = (back, ids);
                }
            }
        }
    }

    /// Waits for the end of the shim of container `id`, if it has one.
    async fn add(&mut self, id: String) {
        let container = id.clone();
        let shim = self.service.run(move |engine| shim_of(engine, &container)).await;
        let waiting = match shim {
            Ok(Shim::Lives(shim, _)) if self.known.get(&id) == Some(&shim) => return,
            Ok(Shim::Lives(shim, pidfd)) => readable(pidfd).map(|pidfd| (shim, pidfd)),
            Ok(Shim::Ended) => return self.look_after(id),
            Err(error) => {
                tracing::warn!(container_id = id, %error, "cannot watch a supervisor");
                return;
            }
        };
        match waiting {
            Ok((shim, pidfd)) => {
                self.known.insert(id.clone(), shim);
                self.ends.spawn(async move {
                    // An error is no worse than an end that was none: both are looked into.
                    let _ended = pidfd.readable().await;
                    (id, shim)
                });
            }
            Err(error) => {
                tracing::warn!(container_id = id, %error, "cannot watch a supervisor");
            }
        }
    }

    /// Beside the guard's own work: a start takes milliseconds.
    fn look_after(&self, id: String) {
        let service = self.service.clone();
        tokio::spawn(async move { look_after_one(&service, id).await });
    }
}

/// The containers that were started since the last look. What cannot be read is told in the log.
fn next_started(mut reader: Reader) -> (Reader, Vec<String>) {
    let mut started = Vec::new();
    loop {
        match reader.next_events() {
            Ok(events) if events.is_empty() => return (reader, started),
            Ok(events) => {
                let starts = events.into_iter();
                let starts =
                    starts.filter(|event| event.kind == Kind::Container && event.action == "start");
                started.extend(starts.map(|event| event.actor.id));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read the log of events");
                return (reader, started);
            }
        }
    }
}

enum Shim {
    /// Its process id, and what tells its end.
    Lives(u32, OwnedFd),
    /// There is none (any more).
    Ended,
}

fn shim_of(engine: &Engine, id: &str) -> Result<Shim, ApiError> {
    let store = engine.store()?;
    let state = state_of(store, id)?.flatten().filter(ContainerState::is_held);
    let shim = state.and_then(|state| {
        let pid = Pid::from_raw(i32::try_from(state.shim_pid).ok()?)?;
        Some((state.shim_pid, pidfd_open(pid, PidfdFlags::empty()).ok()?))
    });
    Ok(match shim {
        // A lock that is still held says that the number was not given to another meanwhile.
        Some((shim, pidfd)) if has_shim(store, id) => Shim::Lives(shim, pidfd),
        _ => Shim::Ended,
    })
}
