//! The Engine API's client: one request, one connection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hull_api::{API_VERSION, ErrorKind, ErrorResponse, MIN_API_VERSION};
use hull_daemon::{Config, Service};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

/// What an engine speaks that does not say it.
const SILENT_VERSION: &str = "1.24";

/// The body of a request.
pub(crate) type RequestBody = BoxBody<Bytes, std::io::Error>;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) status: u16,
    /// What the engine said.
    pub(crate) message: String,
    /// Its advice.
    pub(crate) hint: Option<String>,
    /// Its kind, where the engine is Hull.
    pub(crate) kind: Option<ErrorKind>,
}

impl ApiError {
    /// Whether it is for want of the right credentials.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == 401 || self.message.to_lowercase().contains("unauthorized")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// Where the engine is.
#[derive(Debug, Clone)]
enum Transport {
    /// In this process.
    Own(Service),
    /// Behind a unix socket.
    Unix(PathBuf),
}

/// Speaks to one engine. Clones speak to the same.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    transport: Transport,
    /// Version of the API that both sides speak, once it was asked for.
    version: Arc<OnceCell<String>>,
}

impl Client {
    /// The engine as a service in this process.
    pub(crate) fn own(config: Config) -> Self {
        let version = OnceCell::new_with(Some(API_VERSION.to_owned()));
        Self { transport: Transport::Own(Service::new(config)), version: Arc::new(version) }
    }

    /// The engine behind a unix socket.
    pub(crate) fn at(socket: PathBuf) -> Self {
        Self { transport: Transport::Unix(socket), version: Arc::default() }
    }

    /// The service, where it is in this process.
    pub(crate) fn service(&self) -> Option<&Service> {
        match &self.transport {
            Transport::Own(service) => Some(service),
            Transport::Unix(_) => None,
        }
    }

    /// The engine's socket, where it is another process.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match &self.transport {
            Transport::Own(_) => None,
            Transport::Unix(path) => Some(path),
        }
    }

    /// The version of the API both sides speak; asks the engine the first time.
    pub(crate) async fn version(&self) -> Result<&str> {
        let version = self.version.get_or_try_init(async || {
            let request = Request::builder().uri("/_ping").header(HOST, "hull").body(empty())?;
            let response = self.exchange(request).await?;
            let said = response.headers().get("api-version").and_then(|value| value.to_str().ok());
            negotiate(said.unwrap_or(SILENT_VERSION))
        });
        Ok(version.await?)
    }

    /// The address of `path` in the version both sides speak.
    async fn address(&self, path: &str) -> Result<String> {
        Ok(format!("/v{}{path}", self.version().await?))
    }

    async fn connect(&self) -> Result<Connection> {
        Ok(match &self.transport {
            Transport::Own(service) => Connection::Own(service.connect()),
            Transport::Unix(path) => {
                let socket = UnixStream::connect(path).await;
                Connection::Unix(socket.map_err(|error| unreachable(path, &error))?)
            }
        })
    }

    /// Sends a request; a refusal is an [`ApiError`].
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: RequestBody,
    ) -> Result<Response<Incoming>> {
        let headers: Vec<_> = content_type.map(|kind| ("content-type", kind)).into_iter().collect();
        self.send_with(method, path, &headers, body).await
    }

    /// The same with headers.
    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: RequestBody,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(self.address(path).await?);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.exchange(request.header(HOST, "hull").body(body)?).await
    }

    async fn exchange(&self, request: Request<RequestBody>) -> Result<Response<Incoming>> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(async move {
            // What ends a connection early ends the request's own future with an error too.
            let _ = connection.with_upgrades().await;
        });
        let response = sender.send_request(request).await.context("the engine hung up")?;
        let status = response.status();
        if status.is_success()
            || status == StatusCode::NOT_MODIFIED
            || status == StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await?.to_bytes();
        Err(refusal(status, &bytes).into())
    }

    /// `GET`, answered with a JSON document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        decode(self.send(Method::GET, path, None, empty()).await?).await
    }

    /// `GET`, answered with a stream of bytes.
    pub(crate) async fn get_stream(&self, path: &str) -> Result<Response<Incoming>> {
        self.send(Method::GET, path, None, empty()).await
    }

    /// `POST` with a JSON body, answered with a JSON document.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T> {
        let body = full(serde_json::to_vec(body)?);
        decode(self.send(Method::POST, path, Some("application/json"), body).await?).await
    }

    /// `POST` without a body, answered with a JSON document.
    pub(crate) async fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        decode(self.send(Method::POST, path, None, empty()).await?).await
    }

    /// `POST` whose answer says nothing; returns the status (304: it was so already).
    pub(crate) async fn act(&self, path: &str) -> Result<u16> {
        let response = self.send(Method::POST, path, None, empty()).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        Ok(status)
    }

    /// `DELETE`; its answer, `null` where there is none.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        decode(self.send(Method::DELETE, path, None, empty()).await?).await
    }

    /// `POST` that turns the connection into a stream of bytes both ways.
    pub(crate) async fn hijack<B: Serialize>(&self, path: &str, body: &B) -> Result<Upgraded> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.address(path).await?)
            .header(HOST, "hull")
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp")
            .body(full(serde_json::to_vec(body)?))?;
        let response = self.exchange(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            bail!(
                "the engine did not turn {path} into a stream (it answered {})",
                response.status()
            );
        }
        Ok(hyper::upgrade::on(response).await?)
    }
}

/// The older one of our version and the engine's.
///
/// # Errors
/// An engine that is older than everything this client understands.
fn negotiate(said: &str) -> Result<String> {
    let number = |version: &str| -> Option<(u32, u32)> {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let theirs = number(said).with_context(|| format!("the engine speaks API version {said:?}"))?;
    if Some(theirs) < number(MIN_API_VERSION) {
        bail!(
            "the engine speaks API version {said}, which is too old: {MIN_API_VERSION} is needed"
        );
    }
    let older = if Some(theirs) < number(API_VERSION) { said } else { API_VERSION };
    Ok(older.to_owned())
}

fn unreachable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "only root and the socket's group may connect",
        _ => "is its daemon running? hull daemon serves the engine on a socket",
    };
    let message = format!("cannot connect to the engine at unix://{}: {error}", path.display());
    ApiError { status: 0, message, hint: Some(hint.to_owned()), kind: None }.into()
}

async fn decode<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T> {
    let bytes = response.into_body().collect().await?.to_bytes();
    let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    serde_json::from_slice(bytes).context("the engine's answer is not what was expected")
}

fn refusal(status: StatusCode, bytes: &[u8]) -> ApiError {
    let status = status.as_u16();
    match serde_json::from_slice::<ErrorResponse>(bytes) {
        Ok(said) => ApiError { status, message: said.message, hint: said.hint, kind: said.kind },
        Err(_) => ApiError {
            status,
            message: format!("status {status}: {}", String::from_utf8_lossy(bytes).trim()),
            hint: None,
            kind: None,
        },
    }
}

/// No body.
pub(crate) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// `text` with everything but unreserved characters percent-encoded, for paths and queries.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `?name=value&...` of what is there, empty where nothing is.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.push_str(&encode(value));
        }
    }
    text
}

/// A connection to an engine.
#[derive(Debug)]
enum Connection {
    Own(DuplexStream),
    Unix(UnixStream),
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Own(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_version_is_spoken() {
        assert_eq!(negotiate("1.51").unwrap(), API_VERSION);
        assert_eq!(negotiate("1.99").unwrap(), API_VERSION);
        assert_eq!(negotiate("2.0").unwrap(), API_VERSION);
        assert_eq!(negotiate("1.41").unwrap(), "1.41");
        assert_eq!(negotiate("1.24").unwrap(), "1.24");
        assert!(negotiate("1.23").unwrap_err().to_string().contains("too old"));
        assert!(negotiate("new").unwrap_err().to_string().contains("\"new\""));
    }
}
