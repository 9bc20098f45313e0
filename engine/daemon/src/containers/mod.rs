//! Containers: their endpoints, one file per group.
//!
//! A container's record is the store's, its state is its shim's (`hull_shim::state`); here is
//! what joins the two. Reading a state first releases what a dead shim of that container left.

mod archive;
mod attach;
mod changes;
mod commit;
mod control;
mod create;
mod delete;
mod exec;
mod fill;
mod guard;
mod health;
pub(crate) mod host;
mod inspect;
mod list;
mod live;
mod logs;
mod merge;
mod mounts;
mod name;
mod signal;
mod spec;
mod start;
mod stats;
mod stored;
mod sweep;
mod time;
mod top;
mod update;
mod view;
mod wait;

pub(crate) use archive::{archive_get, archive_put, archive_stat};
pub(crate) use attach::attach;
pub(crate) use changes::{changes, export};
pub(crate) use commit::commit;
pub(crate) use control::{kill, pause, rename, resize, restart, stop, unpause};
pub(crate) use create::create;
pub(crate) use create::random_id;
pub(crate) use delete::{delete, prune};
pub(crate) use exec::{exec_create, exec_inspect, exec_resize, exec_start};
pub(crate) use guard::guard;
pub(crate) use inspect::inspect;
pub(crate) use list::{all_with_size, list};
pub(crate) use live::Live;
pub(crate) use logs::logs;
pub(crate) use name::check as check_name;
pub(crate) use start::{make_and_open, start};
pub(crate) use stats::stats;
pub(crate) use stored::{Container, state_of};
pub(crate) use sweep::{start_after_boot, sweep};
pub(crate) use time::{parse as parse_time, until};
pub(crate) use top::top;
pub(crate) use update::update;
pub(crate) use wait::wait;

use crate::service::Engine;
use hull_store::ContainerRecord;

/// Whether a container runs. One whose state cannot be read counts as running: what is asked is
/// whether something may be taken from it.
pub(crate) fn is_running(engine: &Engine, record: &ContainerRecord) -> bool {
    let state = engine.store().and_then(|store| stored::state_of(store, &record.id));
    match state {
        Ok(Some(state)) => stored::is_running(state.as_ref()),
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(container_id = record.id, %error, "cannot read the state");
            true
        }
    }
}
