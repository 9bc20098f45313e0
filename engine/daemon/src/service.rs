//! The service: what all requests share, and how a connection is served.

use crate::blocking::Blocking;
use crate::containers::Live;
use crate::error::ApiError;
use crate::http::{self, Request, Response};
use crate::router;
use crate::watch::Watcher;
use hull_api::ErrorKind;
use hull_events::EventLog;
use hull_store::{Store, StoreOptions};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

/// Bytes an in-process connection holds before its writer waits.
const DUPLEX_BYTES: usize = 64 << 10;

/// Where the service finds things.
#[derive(Debug, Clone)]
pub struct Config {
    /// State that outlives a boot.
    pub data_root: PathBuf,
    /// State that does not.
    pub exec_root: PathBuf,
    /// Directory of `hull-shim` and `hull-worker`; beside the running program where absent.
    pub helpers: Option<PathBuf>,
    /// How new layers are kept; what the host can do where absent.
    pub layer_mode: Option<hull_store::LayerMode>,
    /// Whom it serves.
    pub clients: Clients,
}

/// Whom a service serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Only the process it lives in: short work may keep the runtime waiting.
    Own,
    /// Anybody who connects.
    Many,
}

/// The engine as one service. Clones are the same service.
#[derive(Debug, Clone)]
pub struct Service(Arc<Engine>);

/// What all requests share.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    blocking: Blocking,
    store: OnceLock<Store>,
    live: Live,
    events: EventLog,
    watcher: Watcher,
}

impl Service {
    /// A service. Nothing is opened or made before the first request that needs it.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let blocking = match config.clients {
            Clients::Own => Blocking::alone(),
            Clients::Many => Blocking::shared(),
        };
        let live = Live::default();
        let events = EventLog::new(&config.data_root);
        Self(Arc::new(Engine {
            config,
            blocking,
            store: OnceLock::new(),
            live,
            events,
            watcher: Watcher::default(),
        }))
    }

    /// Serves one connection until it ends. Errors of the connection end it, nothing else.
    pub async fn serve_connection<I>(&self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handler = service_fn(|request| {
            let service = self.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), handler)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(error = %crate::error::chain(&error), "connection ended");
        }
    }

    /// Answers one request, always.
    pub(crate) async fn answer(&self, request: hyper::Request<Incoming>) -> Response {
        let answer = match Request::new(request) {
            Ok(request) => router::route(self, request).await,
            Err(error) => Err(error),
        };
        let mut response = answer.unwrap_or_else(|error| {
            if error.kind == ErrorKind::Internal {
                tracing::error!(error = %error.message, "request failed");
            }
            http::refused(&error)
        });
        let headers = response.headers_mut();
        for (name, value) in [
            ("api-version", hull_api::API_VERSION),
            ("ostype", "linux"),
            ("docker-experimental", "false"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let server = concat!("Hull/", env!("CARGO_PKG_VERSION"), " (linux)");
        headers.insert(SERVER, HeaderValue::from_static(server));
        response
    }

    /// Opens the store (and makes it), watches supervisors, releases what dead ones left, and
    /// starts containers that are to run since the host was started: what a daemon does before it serves, so that
    /// what is wrong is known at once.
    ///
    /// # Errors
    /// Those of opening it.
    pub async fn prepare(&self) -> Result<(), ApiError> {
        self.run_long(|engine| engine.store().map(drop)).await?;
        if let Err(error) = crate::containers::guard(self).await {
            tracing::warn!(%error, "supervisors that are killed are not noticed at once");
        }
        self.run_long(|engine| crate::containers::sweep(engine)).await?;
        crate::containers::start_after_boot(self).await
    }

    /// What all requests share, for work that moves to a thread.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.0
    }

    /// Runs short blocking work with what all requests share, see [`Blocking::run`].
    ///
    /// # Errors
    /// The work's own.
    pub async fn run<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        F: FnOnce(&Arc<Engine>) -> Result<T, ApiError> + Send + 'static,
        T: Send + 'static,
    {
        let engine = Arc::clone(&self.0);
        self.0.blocking.run(move || work(&engine)).await
    }

    /// Runs long blocking work with what all requests share, see [`Blocking::run_long`].
    ///
    /// # Errors
    /// The work's own.
    pub async fn run_long<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        F: FnOnce(&Arc<Engine>) -> Result<T, ApiError> + Send + 'static,
        T: Send + 'static,
    {
        let engine = Arc::clone(&self.0);
        self.0.blocking.run_long(move || work(&engine)).await
    }

    /// Runs work that waits for a client to take or give an archive, see
    /// [`Blocking::run_stream`].
    ///
    /// # Errors
    /// The work's own.
    pub async fn run_stream<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        F: FnOnce(&Arc<Engine>) -> Result<T, ApiError> + Send + 'static,
        T: Send + 'static,
    {
        let engine = Arc::clone(&self.0);
        self.0.blocking.run_stream(move || work(&engine)).await
    }
}

impl Engine {
    /// The store, opened (and made) by the first who asks.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn store(&self) -> Result<&Store, ApiError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let options = StoreOptions {
            data_root: self.config.data_root.clone(),
            exec_root: self.config.exec_root.clone(),
            layer_mode: self.config.layer_mode,
        };
        let store = Store::open(options)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Where the service finds things.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What waits for containers of this process to start or end.
    #[must_use]
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// The log of what happened; written with [`Self::happened`].
    #[must_use]
    pub(crate) fn events(&self) -> &EventLog {
        &self.events
    }

    /// The one who watches files.
    #[must_use]
    pub(crate) fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// The path of a helper program, beside the running one unless configured otherwise.
    ///
    /// # Errors
    /// `Unavailable` if the running program cannot be located.
    pub fn helper(&self, name: &str) -> Result<PathBuf, ApiError> {
        if let Some(directory) = &self.config.helpers {
            return Ok(directory.join(name));
        }
        let own = std::env::current_exe().map_err(|error| {
            ApiError::chain(ErrorKind::Unavailable, &error).context("cannot locate this program")
        })?;
        Ok(own.with_file_name(name))
    }
}

/// A connection to a new service in this process. Needs a running tokio runtime.
#[must_use]
pub fn connect(config: Config) -> DuplexStream {
    Service::new(config).connect()
}

impl Service {
    /// A connection to this service within the process. Needs a running tokio runtime.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        let service = self.clone();
        tokio::spawn(async move { service.serve_connection(ours).await });
        theirs
    }
}
