//! Connecting a client to a container's streams.

use super::control::on_shim;
use super::logs::{self, Piece};
use super::stored::{Container, is_running};
use crate::error::{ApiError, chain};
use crate::events;
use crate::http::{Request, Response, switch};
use crate::service::{Engine, Service};
use hull_api::stream::{MULTIPLEXED_STREAM, RAW_STREAM};
use hull_shim::protocol::{AttachOptions, default_detach_keys};
use hyper::header::{HeaderMap, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

const BUFFER: usize = 32 << 10;

/// `POST /containers/{id}/attach`. A container that does not run yet gets its streams with its
/// start, so that no byte of output is lost.
pub(crate) async fn attach(
    service: &Service,
    text: &str,
    request: Request,
) -> Result<Response, ApiError> {
    needs_upgrade(&request.headers)?;
    let query = &request.query;
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: detach_keys(query.get("detachKeys"))?,
    };
    let text = text.to_owned();
    if query.flag("logs") {
        return replay(service, text, request.upgrade, options, query.flag("stream")).await;
    }
    let (stream, terminal) = service.run(move |engine| open(engine, &text, options)).await?;
    relay(request.upgrade, stream);
    Ok(switch(content_type(terminal)))
}

/// Sends the log so far, and then, if wanted, what comes.
async fn replay(
    service: &Service,
    text: String,
    upgrade: OnUpgrade,
    options: AttachOptions,
    goes_on: bool,
) -> Result<Response, ApiError> {
    let streams = (options.stdout, options.stderr);
    let (mut reading, id, terminal) = service
        .run(move |engine| {
            let container = Container::find(engine.store()?, &text)?;
            let reading = logs::replay(engine, &container, streams)?;
            Ok((reading, container.record.id, container.stored.config.tty))
        })
        .await?;
    let service = service.clone();
    let work = async move {
        let client = upgrade.await.map_err(|error| ApiError::internal(&error))?;
        let mut client = TokioIo::new(client);
        loop {
            let (piece, back) = service.run(move |_| reading.piece()).await?;
            reading = back;
            let Piece::Bytes(bytes) = piece else { break };
            if client.write_all(&bytes).await.is_err() {
                return Ok(());
            }
        }
        if goes_on {
            let (stream, _) = service.run(move |engine| open(engine, &id, options)).await?;
            copy(client, tokio_stream(stream)?, || {}).await;
        }
        Ok::<_, ApiError>(())
    };
    tokio::spawn(async move {
        if let Err(error) = work.await {
            tracing::debug!(error = error.message, "an attachment with its log ended");
        }
    });
    Ok(switch(content_type(terminal)))
}

fn tokio_stream(stream: OwnedFd) -> Result<tokio::net::UnixStream, ApiError> {
    let stream = UnixStream::from(stream);
    let made = stream.set_nonblocking(true);
    made.and_then(|()| tokio::net::UnixStream::from_std(stream))
        .map_err(|error| ApiError::internal(&error))
}

/// The content type of a stream that has frames, or a terminal's.
pub(crate) fn content_type(terminal: bool) -> &'static str {
    if terminal { RAW_STREAM } else { MULTIPLEXED_STREAM }
}

/// Refuses a request that cannot become a stream.
pub(crate) fn needs_upgrade(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(UPGRADE) {
        return Ok(());
    }
    Err(ApiError::invalid("the connection cannot be upgraded: the Upgrade header is missing"))
}

fn open(engine: &Engine, text: &str, options: AttachOptions) -> Result<(OwnedFd, bool), ApiError> {
    if let Some((terminal, event)) = engine.live().fresh_attach(text) {
        engine.happened(&event);
        return Ok((park(engine, text, options)?, terminal));
    }
    let (container, state) = Container::find_with_state(engine.store()?, text)?;
    let id = &container.record.id;
    let terminal = container.stored.config.tty;
    engine.happened(&events::container(&container, "attach"));
    if !is_running(state.as_ref()) {
        return Ok((park(engine, id, options)?, terminal));
    }
    if state.is_some_and(|state| state.paused) {
        return Err(ApiError::conflict(format!(
            "container {id} is paused, unpause the container before attach"
        )));
    }
    Ok((on_shim(engine, id, |shim| shim.attach(&options))?, terminal))
}

fn park(engine: &Engine, id: &str, options: AttachOptions) -> Result<OwnedFd, ApiError> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| ApiError::internal(&error))?;
    engine.live().park(id, options, theirs.into());
    Ok(ours.into())
}

/// Copies between a client, once its connection is upgraded, and a stream of a shim.
pub(crate) fn relay(upgrade: OnUpgrade, stream: OwnedFd) {
    relay_then(upgrade, async { Ok(Some(stream)) }, || {});
}

/// The same with a stream that comes once the connection is upgraded, and tells when it has
/// ended. Without a stream the connection ends.
pub(crate) fn relay_then(
    upgrade: OnUpgrade,
    stream: impl Future<Output = Result<Option<OwnedFd>, ApiError>> + Send + 'static,
    ended: impl FnOnce() + Send + 'static,
) {
    tokio::spawn(async move {
        let client = match upgrade.await {
            Ok(client) => TokioIo::new(client),
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the connection was not upgraded");
                return;
            }
        };
        match stream.await.and_then(|stream| stream.map(tokio_stream).transpose()) {
            Ok(Some(stream)) => copy(client, stream, ended).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no stream for a connection"),
        }
    });
}

/// Copies both ways until the shim's end is over. The end of the client's input is passed on and
/// ends nothing else.
async fn copy<C>(client: C, stream: tokio::net::UnixStream, ended: impl FnOnce())
where
    C: AsyncRead + AsyncWrite,
{
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_shim, mut to_shim) = stream.into_split();
    let input = async {
        let mut from_client = BufReader::with_capacity(BUFFER, from_client);
        let copied = tokio::io::copy_buf(&mut from_client, &mut to_shim).await;
        // A shim that is gone is told by the other direction.
        let _closed = to_shim.shutdown().await;
        if let Err(error) = copied {
            tracing::debug!(%error, "input ended");
        }
        std::future::pending::<()>().await;
    };
    let output = async {
        let mut from_shim = BufReader::with_capacity(BUFFER, from_shim);
        if let Err(error) = tokio::io::copy_buf(&mut from_shim, &mut to_client).await {
            tracing::debug!(%error, "output ended");
        }
    };
    tokio::select! {
        () = input => {}
        () = output => {}
    }
    ended();
    // The client may be gone already.
    let _closed = to_client.shutdown().await;
}

/// Reads `ctrl-p,ctrl-q`; Docker's default where nothing is said.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>, ApiError> {
    let Some(text) = text else { return Ok(default_detach_keys()) };
    text.split(',')
        .map(|key| match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
            (&[byte], _) => Ok(byte),
            (_, Some(&[byte @ (b'a'..=b'z' | b'@' | b'['..=b'_')])) => Ok(byte & 0x1f),
            _ => Err(ApiError::invalid(format!(
                "Invalid detach keys ({text}) provided: unknown key {key:?}"
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(detach_keys(None).unwrap(), [16, 17]);
        assert_eq!(detach_keys(Some("ctrl-a,x,ctrl-@,ctrl-_")).unwrap(), [1, b'x', 0, 31]);
        assert!(detach_keys(Some("ctrl-")).is_err());
        assert!(detach_keys(Some("ctrl-1")).is_err());
        assert!(detach_keys(Some("a,,b")).is_err());
    }
}
