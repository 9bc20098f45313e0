//! Where asynchronous code hands over to code that waits: files, locks, helper programs.
//!
//! Everything below the service is synchronous. In a daemon such work runs on threads, a bounded
//! number at a time. In a process that serves only itself, short work runs where it is: there is
//! nobody else to keep waiting, and a thread would cost more than most of the work.

use crate::error::ApiError;
use hull_api::ErrorKind;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many pieces of blocking work run at once in a daemon. A list of many containers takes
/// megabytes while it is made, so this also bounds memory.
const LIMIT: usize = 8;

/// How many long ones may be among them.
const LONG_LIMIT: usize = 8;

/// How many pieces of work may wait for a client that takes or gives an archive: as slow as the
/// client likes, so they must not keep others from their place.
const STREAM_LIMIT: usize = 64;

/// The way to run blocking work.
#[derive(Debug, Clone)]
pub struct Blocking {
    short: Option<Arc<Semaphore>>,
    long: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Blocking {
    /// For a process that serves only itself.
    #[must_use]
    pub fn alone() -> Self {
        let semaphore = |limit| Arc::new(Semaphore::new(limit));
        Self { short: None, long: semaphore(LONG_LIMIT), streams: semaphore(STREAM_LIMIT) }
    }

    /// For a process that serves many clients.
    #[must_use]
    pub fn shared() -> Self {
        Self { short: Some(Arc::new(Semaphore::new(LIMIT))), ..Self::alone() }
    }

    /// Runs work that takes milliseconds and waits for nobody.
    ///
    /// # Errors
    /// The work's own; `Internal` if it panicked.
    pub async fn run<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        F: FnOnce() -> Result<T, ApiError> + Send + 'static,
        T: Send + 'static,
    {
        match &self.short {
            None => work(),
            Some(limit) => on_thread(limit, work).await,
        }
    }

    /// Runs work that may take seconds or waits for another process; always on a thread.
    ///
    /// # Errors
    /// The work's own; `Internal` if it panicked.
    pub async fn run_long<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        F: FnOnce() -> Result<T, ApiError> + Send + 'static,
        T: Send + 'static,
    {
        on_thread(&self.long, work).await
    }

    /// Runs work that waits for a client to take or give an archive; always on a thread.
    ///
    /// # Errors
    /// The work's own; `Internal` if it panicked.
    pub async fn run_stream<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        F: FnOnce() -> Result<T, ApiError> + Send + 'static,
        T: Send + 'static,
    {
        on_thread(&self.streams, work).await
    }
}

async fn on_thread<T, F>(limit: &Arc<Semaphore>, work: F) -> Result<T, ApiError>
where
    F: FnOnce() -> Result<T, ApiError> + Send + 'static,
    T: Send + 'static,
{
    let permit = Arc::clone(limit).acquire_owned().await;
    tokio::task::spawn_blocking(move || {
        let result = work();
        drop(permit);
        result
    })
    .await
    .unwrap_or_else(|_| Err(ApiError::new(ErrorKind::Internal, "the engine's own work failed")))
}
