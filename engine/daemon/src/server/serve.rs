//! Serving connections until the daemon is told to stop.

use super::connection::{Connection, HEAD_TIMEOUT, MAX_HEAD};
use super::socket::Listener;
use crate::error::chain;
use crate::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Connections at once; more wait until one ends.
const MAX_CONNECTIONS: usize = 512;

/// How long requests may still take once the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// After a request, how long until memory is given back that nobody needs any more.
const TIDY: Duration = Duration::from_secs(1);

/// How long to wait when the kernel gives no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves whoever connects until `stop` completes; then takes no more connections and lets
/// requests finish, at most 10 s. Requests that only watch (logs, events, waits) and streams are
/// cut off: the containers know nothing of it.
///
/// # Errors
/// If the socket cannot be listened on.
pub async fn serve(
    service: Service,
    listener: &Listener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    hull_sys::memory::share_one_heap();
    let socket = listener.socket.try_clone()?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixListener::from_std(socket)?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stopping, told) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    let mut tidy_at = None;
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (socket.accept().await, place)
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            // Those that ended are only taken off the list.
            Some(_) = connections.join_next() => {
                tidy_at.get_or_insert_with(|| Instant::now() + TIDY);
            }
            () = sleep_until(tidy_at.unwrap_or_else(Instant::now)), if tidy_at.is_some() => {
                hull_sys::memory::give_back();
                tidy_at = None;
            }
            (accepted, place) = accepted => match accepted {
                Ok((stream, _)) => {
                    let (service, told) = (service.clone(), told.clone());
                    connections.spawn(async move {
                        connection(service, stream, told).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    drop(socket);
    // Nobody is left to tell if there are no connections.
    let _nobody = stopping.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("requests were still at work {} s after the stop", GRACE.as_secs());
    }
    Ok(())
}

async fn connection(service: Service, stream: UnixStream, mut stopping: watch::Receiver<bool>) {
    let opened = tokio::select! {
        opened = Connection::open(stream) => opened,
        _ = stopping.changed() => return,
    };
    let io = match opened {
        Ok(Some(connection)) => TokioIo::new(connection),
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(%error, "connection ended");
            return;
        }
    };
    let watches = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&watches);
    let handler = service_fn(move |request| {
        let service = service.clone();
        seen.store(only_watches(&request), Ordering::Relaxed);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, handler)
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stopping.changed() => {
            if watches.load(Ordering::Relaxed) {
                return;
            }
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %chain(&error), "connection ended");
    }
}

/// Whether a request waits for what containers do, perhaps for ever.
fn only_watches<B>(request: &hyper::Request<B>) -> bool {
    let path = request.uri().path().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last, "events" | "logs" | "wait" | "stats" | "attach")
}
