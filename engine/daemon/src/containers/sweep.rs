//! Looking after containers whose shim died.

use super::stored::state_of;
use crate::error::ApiError;
use crate::service::Engine;
use hull_store::Store;

/// Releases what dead shims left, of every container that has a run directory.
///
/// # Errors
/// If the run directories cannot be listed. What cannot be recovered is told in the log, and
/// tried again the next time.
pub(crate) fn sweep(engine: &Engine) -> Result<(), ApiError> {
    sweep_others(engine, "")
}

/// The same but for one container.
///
/// # Errors
/// As [`sweep`].
pub(crate) fn sweep_others(engine: &Engine, own: &str) -> Result<(), ApiError> {
    let store = engine.store()?;
    for id in with_run_directory(store)? {
        if id != own
            && let Err(error) = state_of(store, &id)
        {
            tracing::warn!(container_id = id, %error, "cannot recover a container");
        }
    }
    Ok(())
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
