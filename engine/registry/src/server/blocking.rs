//! Where the server hands over to code that waits: the one place, with a bound.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::refusal::Refusal;

/// How many pieces of blocking work run at once. Each holds at most one chunk of a body.
const LIMIT: usize = 32;

/// How many passwords are compared at once: each takes a core for a good part of a second.
const SLOW_LIMIT: usize = 2;

/// How many questions to other registries and fetches from them are under way at once.
const FETCH_LIMIT: usize = 16;

/// The way to run blocking work. Clones share the bound.
#[derive(Debug, Clone)]
pub(super) struct Blocking {
    places: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
}

impl Default for Blocking {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { places: places(LIMIT), slow: places(SLOW_LIMIT), fetches: places(FETCH_LIMIT) }
    }
}

impl Blocking {
    /// Runs work that waits for files.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        F: FnOnce() -> Result<T, Refusal> + Send + 'static,
        T: Send + 'static,
    {
        on_thread(&self.places, work).await
    }

    /// Runs work that keeps a core busy.
    pub(super) async fn run_slow<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        F: FnOnce() -> Result<T, Refusal> + Send + 'static,
        T: Send + 'static,
    {
        on_thread(&self.slow, work).await
    }

    /// Runs work that waits for another registry.
    pub(super) async fn run_fetch<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        F: FnOnce() -> Result<T, Refusal> + Send + 'static,
        T: Send + 'static,
    {
        on_thread(&self.fetches, work).await
    }
}

async fn on_thread<T, F>(places: &Arc<Semaphore>, work: F) -> Result<T, Refusal>
where
    F: FnOnce() -> Result<T, Refusal> + Send + 'static,
    T: Send + 'static,
{
    let place = Arc::clone(places).acquire_owned().await;
    tokio::task::spawn_blocking(move || {
        let result = work();
        drop(place);
        result
    })
    .await
    .unwrap_or_else(|_| Err(Refusal::internal("the server's own work failed")))
}
