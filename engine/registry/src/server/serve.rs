//! Listening, and serving whoever connects until the server is told to stop.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::access::{Access, Htpasswd, HtpasswdError, TokenKey};
use super::blocking::Blocking;
use super::catalog::Catalog;
use super::config::Config;
use super::handler::{self, Peer, Shared};
use super::limit::Limiter;
use super::metrics::Metrics;
use super::mirror::Mirrors;
use super::patient::Patient;
use super::storage::Storage;
use super::tls::{self, TlsError};
use super::upkeep;
use super::uploads::Sessions;
use super::upstream::Upstream;

/// The most bytes the head of a request may have.
const MAX_HEAD: usize = 32 << 10;

/// The most header lines it may have.
const MAX_HEADERS: usize = 64;

/// How long a client may take for the head of its next request, or for TLS.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How many requests one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 100;

/// How much one HTTP/2 client may send ahead, and how much is read of a stream at once.
const WINDOW: u32 = 1 << 20;

/// How long to wait when the kernel gives no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Wrong passwords that a client may try at once, and a second.
const LOGINS: (f64, f64) = (0.5, 20.0);

/// A server that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The users cannot be read.
    #[error(transparent)]
    Users(#[from] HtpasswdError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A registry that listens.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Until it serves.
    listener: Mutex<Option<TcpListener>>,
    tls: Mutex<Option<Acceptor>>,
}

#[derive(Clone)]
struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Acceptor")
    }
}

impl Server {
    /// Reads what the configuration names and listens. Needs a running tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: Config,
        storage: Arc<dyn Storage>,
        upstream: Arc<dyn Upstream>,
    ) -> Result<Self, StartError> {
        let users = config.htpasswd.as_deref().map(Htpasswd::open).transpose()?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?.map(Acceptor);
        let address = config.address;
        let fail = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let access = Access {
            users,
            rules: config.rules.clone(),
            tokens: TokenKey::generate(&config.name),
            service: config.name.clone(),
            offers_tokens: config.offers_tokens,
        };
        let shared = Shared {
            catalog: Arc::new(Catalog::new(storage, config.sparse_indexes)),
            access,
            blocking: Blocking::default(),
            sessions: Sessions::default(),
            metrics: Metrics::default(),
            mirrors: (!config.mirrors.is_empty())
                .then(|| Mirrors::new(config.mirrors.clone(), upstream)),
            limiter: config.limits.requests.map(|(rate, burst)| Limiter::new(rate, burst)),
            logins: Limiter::new(LOGINS.0, LOGINS.1),
            config,
        };
        let listener = Mutex::new(Some(listener));
        Ok(Self { shared: Arc::new(shared), address, listener, tls: Mutex::new(tls) })
    }

    /// Where it listens: the port too, where any was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the certificates again. Connections that are there keep the ones they have.
    ///
    /// # Errors
    /// They cannot be used; then nothing changes.
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Some(paths) = &self.shared.config.tls {
            let fresh = tls::acceptor(paths)?;
            *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(Acceptor(fresh));
        }
        Ok(())
    }

    /// Serves until `stop` completes; then takes no more connections and lets requests finish, for
    /// as long as the configuration says. It serves once.
    pub async fn serve(&self, stop: impl Future<Output = ()>) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = listener else { return };
        let limits = &self.shared.config.limits;
        let places = Arc::new(Semaphore::new(limits.connections));
        let clients = Arc::new(Clients::new(limits.connections_per_client));
        let (stopping, told) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut upkeep = JoinSet::new();
        upkeep.spawn(upkeep::collect(Arc::clone(&self.shared)));
        upkeep.spawn(upkeep::scrub(Arc::clone(&self.shared)));
        let mut stop = pin!(stop);
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            };
            tokio::select! {
                biased;
                () = &mut stop => break,
                // Those that ended are only taken off the list.
                Some(_) = connections.join_next() => {}
                (accepted, place) = accepted => match accepted {
                    Ok((stream, from)) => {
                        let Some(client) = clients.enter(from.ip()) else {
                            self.shared.metrics.limited.add(1);
                            continue;
                        };
                        let work = connection(self.accepting(from.ip()), stream, told.clone());
                        connections.spawn(async move {
                            work.await;
                            drop((client, place));
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot take a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
        drop(listener);
        upkeep.abort_all();
        // Nobody is left to tell if there are no connections.
        let _nobody = stopping.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        let grace = limits.grace;
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("requests were still at work {} s after the stop", grace.as_secs());
        }
    }

    fn accepting(&self, address: IpAddr) -> Accepting {
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Accepting { shared: Arc::clone(&self.shared), tls, address }
    }
}

struct Accepting {
    shared: Arc<Shared>,
    tls: Option<Acceptor>,
    address: IpAddr,
}

async fn connection(accepting: Accepting, stream: TcpStream, stopping: watch::Receiver<bool>) {
    let Accepting { shared, tls, address } = accepting;
    shared.metrics.connections.add(1);
    shared.metrics.connections_open.add(1);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small answers may be late");
    }
    let stall = shared.config.limits.stall;
    let stream = Patient::new(stream, stall);
    let peer = Peer { address, encrypted: tls.is_some() };
    match tls {
        None => speak_one(Arc::clone(&shared), peer, stream, stopping).await,
        Some(Acceptor(acceptor)) => {
            match tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    match two {
                        true => speak_two(Arc::clone(&shared), peer, stream, stopping).await,
                        false => speak_one(Arc::clone(&shared), peer, stream, stopping).await,
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, client = %address, "no TLS came about"),
                Err(_) => tracing::debug!(client = %address, "no TLS came about in time"),
            }
        }
    }
    shared.metrics.connections_open.subtract(1);
}

async fn speak_one<T>(
    shared: Arc<Shared>,
    peer: Peer,
    stream: T,
    mut stopping: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handler = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(handler::answer(shared, peer, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), handler);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stopping.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, client = %peer.address, "connection ended");
    }
}

async fn speak_two<T>(
    shared: Arc<Shared>,
    peer: Peer,
    stream: T,
    mut stopping: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stall = shared.config.limits.stall;
    let handler = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(handler::answer(shared, peer, request).await) }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(stall)
        .keep_alive_timeout(HEAD_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .serve_connection(TokioIo::new(stream), handler);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stopping.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, client = %peer.address, "connection ended");
    }
}

/// Counts connections of each client.
#[derive(Debug)]
struct Clients {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until it is dropped.
struct Client {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// `None` if the client has as many as it may.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Client> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Client { clients: Arc::clone(self), address })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
