//! Connections that are kept, and requests over them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::body::{Body, Taken};
use super::dial::{Dialer, Facts, Target};
use super::error::{Again, ClientError, FailureKind};
use crate::url::Scheme;

/// How many HTTP/1.1 connections one host gets.
const MAX_CONNECTIONS: usize = 6;

/// Of HTTP/1.1: what is read at once at most, and so the longest head of an answer.
const READ_BUFFER: usize = 512 << 10;

/// Of HTTP/2: what a host may send before we have read it, and the longest head of an answer.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const MAX_HEAD: u32 = 64 << 10;

/// A registry that has all bytes of a large blob may take its time to answer.
const PATIENCE: u32 = 10;

#[derive(Debug)]
pub(crate) struct Pool {
    dialer: Dialer,
    stall: Duration,
    hosts: RefCell<HashMap<Target, Rc<Host>>>,
}

/// What is kept for one host.
#[derive(Debug)]
struct Host {
    permits: Arc<Semaphore>,
    idle: RefCell<Vec<Http1>>,
    http2: RefCell<Option<Http2>>,
    /// Held while it is not known whether one connection is enough.
    opening: Mutex<()>,
    facts: Cell<Option<Facts>>,
}

#[derive(Debug)]
struct Http1 {
    sender: http1::SendRequest<Body>,
    through_proxy: Option<Option<crate::auth::Secret>>,
}

#[derive(Debug, Clone)]
struct Http2 {
    sender: http2::SendRequest<Body>,
}

enum Sender {
    Http1(Http1, OwnedSemaphorePermit),
    Http2(Http2),
}

/// A request.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) facts: Facts,
    pub(crate) body: AnswerBody,
}

/// The body of an answer. Read to its end, its connection is kept.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    body: Incoming,
    stall: Duration,
    lease: Option<(Rc<Host>, Http1, OwnedSemaphorePermit)>,
}

impl Pool {
    pub(super) fn new(dialer: Dialer, stall: Duration) -> Self {
        Self { dialer, stall, hosts: RefCell::default() }
    }

    /// What the last connection to this host turned out to be.
    pub(crate) fn facts(&self, target: &Target) -> Option<Facts> {
        self.hosts.borrow().get(target).and_then(|host| host.facts.get())
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        target: &Target,
        outgoing: Outgoing,
    ) -> Result<Answer, ClientError> {
        let host = Rc::clone(self.hosts.borrow_mut().entry(target.clone()).or_default());
        let (method, again) = (outgoing.method.clone(), outgoing.body.again());
        let (uri, headers) = (outgoing.target.clone(), outgoing.headers.clone());
        let (sender, kept) = self.sender(target, &host).await?;
        let sent = self.send_over(target, &host, sender, outgoing).await;
        match (sent, again) {
            // A connection that was kept may have been closed meanwhile, which shows only now.
            (Err(SendError::Closed(_)), Some(body)) if kept => {
                let (sender, _) = self.sender(target, &host).await?;
                let outgoing = Outgoing { method, target: uri, headers, body };
                self.send_over(target, &host, sender, outgoing).await.map_err(SendError::into)
            }
            (sent, _) => sent.map_err(SendError::into),
        }
    }

    /// A connection that can take a request, and whether it was used before.
    async fn sender(
        &self,
        target: &Target,
        host: &Rc<Host>,
    ) -> Result<(Sender, bool), ClientError> {
        let mut first = None;
        if host.facts.get().is_none() {
            first = Some(host.opening.lock().await).filter(|_| host.facts.get().is_none());
        }
        if let Some(http2) = host.usable_http2() {
            return Ok((Sender::Http2(http2), true));
        }
        let permit = Arc::clone(&host.permits)
            .acquire_owned()
            .await
            .map_err(|_| ClientError::broken("the connections are closed"))?;
        while let Some(mut kept) = host.take_idle() {
            if kept.sender.ready().await.is_ok() {
                return Ok((Sender::Http1(kept, permit), true));
            }
        }
        let connection = self.dialer.open(target).await.map_err(|error| {
            // Who answered before may do so again: it is being restarted, say.
            let again = host.facts.get().is_some() && error.kind == FailureKind::Unavailable;
            if again { ClientError { again: Again::Soon, ..error } } else { error }
        })?;
        host.facts.set(Some(connection.facts));
        let failed = |error: hyper::Error| {
            ClientError::broken(format!("{}: {}", target.authority, chain(&error)))
        };
        let io = TokioIo::new(connection.io);
        let sender = if connection.http2 {
            let (sender, connection) = http2::Builder::new(Local)
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(MAX_HEAD)
                .handshake(io)
                .await
                .map_err(failed)?;
            // How it ends, the requests on it say.
            spawn(async { drop(connection.await) });
            *host.http2.borrow_mut() = Some(Http2 { sender: sender.clone() });
            Sender::Http2(Http2 { sender })
        } else {
            let (sender, http) = http1::Builder::new()
                .max_buf_size(READ_BUFFER)
                .handshake(io)
                .await
                .map_err(failed)?;
            spawn(async { drop(http.await) });
            let through_proxy = connection.through_proxy;
            Sender::Http1(Http1 { sender, through_proxy }, permit)
        };
        drop(first);
        Ok((sender, false))
    }

    async fn send_over(
        &self,
        target: &Target,
        host: &Rc<Host>,
        sender: Sender,
        outgoing: Outgoing,
    ) -> Result<Answer, SendError> {
        let facts = host
            .facts
            .get()
            .unwrap_or(Facts { scheme: Scheme::Https, reach: super::reach::Reach::Global });
        let taken = match &outgoing.body {
            Body::Small(_) => Taken::new(),
            Body::Stream(stream) => Rc::clone(&stream.taken),
        };
        let proxy = match &sender {
            Sender::Http1(http1, _) => http1.through_proxy.clone(),
            Sender::Http2(_) => None,
        };
        let version = match &sender {
            Sender::Http1(..) => Version::HTTP_11,
            Sender::Http2(_) => Version::HTTP_2,
        };
        let request =
            request(target, facts.scheme, version, proxy, outgoing).map_err(SendError::Failed)?;
        let failed = |error: hyper::Error| {
            let message = format!("{}: {}", target.authority, chain(&error));
            if error.is_canceled()
                || error.is_incomplete_message()
                || error.is_closed()
                || is_io(&error)
            {
                SendError::Closed(message)
            } else if error.is_parse() || error.is_parse_too_large() {
                SendError::Failed(ClientError::invalid(format!("{message} (is this HTTP?)")))
            } else {
                SendError::Failed(ClientError::broken(message))
            }
        };
        let (response, lease) = match sender {
            Sender::Http1(mut http1, permit) => {
                let sent = http1.sender.send_request(request);
                let response = self.patiently(target, &taken, sent).await?.map_err(failed)?;
                (response, Some((Rc::clone(host), http1, permit)))
            }
            Sender::Http2(mut http2) => {
                let sent = http2.sender.send_request(request);
                let response = self.patiently(target, &taken, sent).await?.map_err(failed)?;
                (response, None)
            }
        };
        let (head, body) = response.into_parts();
        let mut body = AnswerBody { body, stall: self.stall, lease };
        if hyper::body::Body::is_end_stream(&body.body) {
            body.keep();
        }
        Ok(Answer { status: head.status, headers: head.headers, facts, body })
    }

    /// Waits for an answer as long as something moves.
    async fn patiently<T>(
        &self,
        target: &Target,
        taken: &Taken,
        answer: impl Future<Output = T>,
    ) -> Result<T, SendError> {
        let mut answer = std::pin::pin!(answer);
        let started = taken.bytes.get();
        taken.at.set(tokio::time::Instant::now());
        loop {
            // Once a body is under way its end is waited for longer.
            let limit =
                if taken.bytes.get() > started { self.stall * PATIENCE } else { self.stall };
            let left = limit.saturating_sub(taken.at.get().elapsed());
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                () = sleep(left.max(Duration::from_millis(1))) => {}
            }
            if taken.at.get().elapsed() >= limit {
                let message = format!("{} does not answer", target.authority);
                return Err(SendError::Failed(ClientError::broken(message)));
            }
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            idle: RefCell::default(),
            http2: RefCell::default(),
            opening: Mutex::new(()),
            facts: Cell::new(None),
        }
    }
}

impl Host {
    fn usable_http2(&self) -> Option<Http2> {
        let mut known = self.http2.borrow_mut();
        if known.as_ref().is_some_and(|http2| http2.sender.is_closed()) {
            *known = None;
        }
        known.clone()
    }

    fn take_idle(&self) -> Option<Http1> {
        self.idle.borrow_mut().pop()
    }
}

impl Answer {
    /// The text of a header, if there is one and it is text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The whole body, at most `limit` bytes; `None` if it is longer.
    pub(crate) async fn read(mut self, limit: usize) -> Result<Option<Vec<u8>>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.body.next().await? {
            if bytes.len() + piece.len() > limit {
                return Ok(None);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(bytes))
    }
}

impl AnswerBody {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match timeout(self.stall, self.body.frame()).await {
                Err(_) => {
                    let message = format!("no data for {} s", self.stall.as_secs());
                    return Err(ClientError::broken(message));
                }
                Ok(None) => {
                    self.keep();
                    return Ok(None);
                }
                Ok(Some(Err(error))) => {
                    let message = format!("the connection broke: {}", chain(&error));
                    return Err(ClientError::broken(message));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Gives the connection back.
    fn keep(&mut self) {
        if let Some((host, http1, permit)) = self.lease.take() {
            if !http1.sender.is_closed() {
                host.idle.borrow_mut().push(http1);
            }
            drop(permit);
        }
    }
}

/// Why a request has no answer.
enum SendError {
    /// The connection ended before one came.
    Closed(String),
    Failed(ClientError),
}

impl From<SendError> for ClientError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed(message) => Self::broken(message),
            SendError::Failed(error) => error,
        }
    }
}

fn request(
    target: &Target,
    scheme: Scheme,
    version: Version,
    proxy: Option<Option<crate::auth::Secret>>,
    outgoing: Outgoing,
) -> Result<Request<Body>, ClientError> {
    let authority = &target.authority;
    let whole = proxy.is_some() || version == Version::HTTP_2;
    let uri = if whole {
        format!("{}://{authority}{}", scheme.as_str(), outgoing.target)
    } else {
        outgoing.target
    };
    let mut request = Request::builder()
        .method(outgoing.method)
        .uri(uri)
        .version(version)
        .body(outgoing.body)
        .map_err(|error| ClientError::invalid(format!("no request can be made of it: {error}")))?;
    *request.headers_mut() = outgoing.headers;
    if version == Version::HTTP_11 {
        let host = HeaderValue::try_from(authority.to_string())
            .map_err(|error| ClientError::invalid(error.to_string()))?;
        request.headers_mut().insert(HOST, host);
    }
    if let Some(Some(user)) = proxy {
        let mut value = HeaderValue::try_from(user.reveal())
            .map_err(|error| ClientError::invalid(error.to_string()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(PROXY_AUTHORIZATION, value);
    }
    Ok(request)
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

/// Runs what HTTP/2 has to do beside requests on this thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn(async { drop(future.await) });
    }
}
