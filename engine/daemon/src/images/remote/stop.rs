//! Being told to stop.

use std::sync::{Arc, Mutex, PoisonError};

use hull_transfer::Transfer;

/// Whether work is still wanted. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    transfer: Option<Arc<Transfer>>,
}

impl Stop {
    /// Lets the process end when the work is not wanted any more: calls that wait for a registry
    /// fail then.
    pub(crate) fn ends(&self, transfer: &Arc<Transfer>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            transfer.abort();
        }
        state.transfer = Some(Arc::clone(transfer));
    }

    /// The work is not wanted any more.
    pub(crate) fn stop(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        if let Some(transfer) = &state.transfer {
            transfer.abort();
        }
    }

    /// The work is done: the process is nothing to us any more.
    pub(crate) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).transfer = None;
    }

    /// Whether the work is not wanted any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }
}
