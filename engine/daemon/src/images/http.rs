//! The image endpoints of the Engine API.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use hull_api::image::ProgressMessage;
use hull_oci::{Platform, Reference};
use hull_shim::state::Status;
use hull_store::{ContainerRecord, Store};
use hull_worker::job::Method;
use hyper::StatusCode;

use super::pull::PullOptions;
use super::push::PushOptions;
use super::{Images, ImportOptions, ListOptions, LoadOptions, SaveError, remote, save};
use crate::containers;
use crate::error::ApiError;
use crate::http::{self, Body, BodySender, Query, Request, Response};
use crate::service::{Engine, Service};
use crate::worker_stream::{feed, input_pipe};

/// Answers a request below `/images`.
///
/// # Errors
/// The operation's own, or `NotFound` if there is none of that name.
pub async fn handle(service: &Service, request: Request) -> Result<Response, ApiError> {
    let segments = request.segments.clone();
    let path: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
    let method = &request.method;
    let (get, post) = (method == hyper::Method::GET, method == hyper::Method::POST);
    // Names hold slashes, and clients do not escape them.
    match path.as_slice() {
        ["json"] if get => list(service, &request.query).await,
        ["get"] if get => {
            let names = request.query.all("names").filter(|name| !name.is_empty());
            let names = names.map(str::to_owned).collect();
            save(service, names, &request.query).await
        }
        ["load"] if post => Ok(load(service, request)?),
        ["create"] if post => create(service, request).await,
        ["search"] if get => remote::http::search(service, &request).await,
        ["prune"] if post => prune(service, &request.query).await,
        [name @ .., "json"] if get => inspect(service, name.join("/")).await,
        [name @ .., "history"] if get => history(service, name.join("/"), &request.query).await,
        [name @ .., "get"] if get => save(service, vec![name.join("/")], &request.query).await,
        [name @ .., "push"] if post => push(service, &request, &name.join("/")).await,
        [name @ .., "tag"] if post => tag(service, name.join("/"), &request.query).await,
        name if method == hyper::Method::DELETE && !name.is_empty() => {
            delete(service, name.join("/"), &request.query).await
        }
        _ => Err(ApiError::not_found("page not found")),
    }
}

async fn list(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let options = ListOptions { filters: query.filters()?, shared_size: query.flag("shared-size") };
    let images = with(service, move |images, _| images.list(&options)).await?;
    http::json(&images)
}

async fn inspect(service: &Service, name: String) -> Result<Response, ApiError> {
    http::json(&with(service, move |images, _| images.inspect(&name)).await?)
}

async fn history(service: &Service, name: String, query: &Query) -> Result<Response, ApiError> {
    let platform = platform(query)?;
    let items = with(service, move |images, _| images.history(&name, platform.as_ref())).await?;
    http::json(&items)
}

/// What can be refused is refused before the first byte; what breaks later breaks the connection.
async fn save(service: &Service, names: Vec<String>, query: &Query) -> Result<Response, ApiError> {
    let platform = platform(query)?;
    let (sender, body) = Body::stream();
    let (planned, begun) = tokio::sync::oneshot::channel();
    let service = service.clone();
    tokio::spawn(async move {
        let writer = sender.writer();
        let work = service.run_stream(move |engine| {
            let (store, saving) = match plan_to_save(engine, &names, platform.as_ref()) {
                Ok(plan) => plan,
                Err(error) => {
                    // Who asked may be gone.
                    let _ = planned.send(Err(error));
                    return Ok(());
                }
            };
            if planned.send(Ok(())).is_err() {
                return Ok(());
            }
            saving.write(store, writer)?;
            saving.tell(store);
            Ok(())
        });
        if let Err(error) = work.await {
            tracing::warn!(error = %error.message, "an archive of images broke off");
            sender.break_off().await;
        }
    });
    begun.await.unwrap_or_else(|_| {
        Err(ApiError::new(hull_api::ErrorKind::Unavailable, "the archive could not be begun"))
    })?;
    Ok(http::typed("application/x-tar", body))
}

/// Plans an archive. Compressed layers that are not kept any more are fetched again.
fn plan_to_save<'e>(
    engine: &'e Engine,
    names: &[String],
    platform: Option<&Platform>,
) -> Result<(&'e Store, save::Saving<'e>), ApiError> {
    let store = engine.store()?;
    let lease = store.lease()?;
    let mut fetched = Vec::new();
    loop {
        match save::plan(store, names, platform) {
            Err(SaveError::Missing { name, part: Some(part), .. })
                if !fetched.contains(&part.digest) =>
            {
                // Behind the lease it stays, whatever the budget says.
                lease.add(&part.digest)?;
                remote::fetch_again(engine, &name, &part)?;
                fetched.push(part.digest.clone());
            }
            planned => return Ok((store, planned?)),
        }
    }
}

async fn tag(service: &Service, name: String, query: &Query) -> Result<Response, ApiError> {
    let repository = query.get("repo").unwrap_or_default().to_owned();
    let tag = query.get("tag").map(str::to_owned);
    with(service, move |images, _| Ok(images.tag(&name, &repository, tag.as_deref())?)).await?;
    Ok(http::status(StatusCode::CREATED))
}

async fn delete(service: &Service, name: String, query: &Query) -> Result<Response, ApiError> {
    let force = query.flag("force");
    let removed = with(service, move |images, _| {
        let running = |container: &ContainerRecord| is_running(images.store, container);
        Ok(images.delete(&name, force, &running)?)
    });
    http::json(&removed.await?)
}

async fn prune(service: &Service, query: &Query) -> Result<Response, ApiError> {
    let filters = query.filters()?;
    http::json(&with(service, move |images, _| images.prune(&filters)).await?)
}

fn load(service: &Service, request: Request) -> Result<Response, ApiError> {
    let options =
        LoadOptions { quiet: request.query.flag("quiet"), platform: platform(&request.query)? };
    stream(service, request.body, move |images, input, progress| {
        images.load(input.as_fd(), &options, progress)?;
        Ok(())
    })
}

/// `POST /images/create`: a pull or an import.
async fn create(service: &Service, request: Request) -> Result<Response, ApiError> {
    let query = &request.query;
    match query.get("fromSrc") {
        Some("-") => {}
        Some(source) => {
            return Err(ApiError::invalid(format!("cannot import from {source:?}: only from -")));
        }
        None => return pull(service, &request).await,
    }
    let options = ImportOptions {
        repository: query.get("repo").map(str::to_owned),
        tag: query.get("tag").map(str::to_owned),
        message: query.get("message").unwrap_or_default().to_owned(),
        changes: query.all("changes").map(str::to_owned).collect(),
        platform: platform(query)?,
    };
    stream(service, request.body, move |images, input, progress| {
        let id = images.import(input.as_fd(), &options)?;
        progress(ProgressMessage::status(id.to_string()));
        Ok(())
    })
}

async fn pull(service: &Service, request: &Request) -> Result<Response, ApiError> {
    let query = &request.query;
    let reference = pulled(query.get("fromImage").unwrap_or_default(), query.get("tag"))?;
    let options = PullOptions { reference, platform: platform(query)? };
    let credentials = remote::credentials(&request.headers)?;
    let session = remote::session(options.reference.registry(), credentials, query)?;
    remote::stream(service, session, move |remote| Ok(super::pull::pull(remote, &options)?)).await
}

/// `POST /images/{name}/push`. `compression` is Hull's own.
async fn push(service: &Service, request: &Request, name: &str) -> Result<Response, ApiError> {
    let query = &request.query;
    let reference = pulled(name, query.get("tag"))?;
    if reference.digest().is_some() {
        return Err(ApiError::invalid("cannot push a digest reference"));
    }
    let compression = match query.get("compression") {
        None | Some("gzip") => Method::Gzip,
        Some("zstd") => Method::Zstd,
        Some(other) => {
            return Err(ApiError::invalid(format!("unknown compression {other:?}"))
                .hint("gzip and zstd are there"));
        }
    };
    let options = PushOptions { reference, platform: platform(query)?, compression };
    let credentials = remote::credentials(&request.headers)?;
    let session = remote::session(options.reference.registry(), credentials, query)?;
    remote::stream(service, session, move |remote| Ok(super::push::push(remote, &options)?)).await
}

/// What the two parameters of a pull mean. Without any tag or digest: all tags.
fn pulled(image: &str, tag: Option<&str>) -> Result<Reference, ApiError> {
    let invalid = |error: hull_oci::ParseReferenceError| ApiError::invalid(error.to_string());
    let reference: Reference = image.parse().map_err(invalid)?;
    let Some(tag) = tag else { return Ok(reference) };
    match tag.parse() {
        Ok(digest) => Ok(reference.with_digest(digest)),
        Err(_) => reference.with_tag(tag).map_err(invalid),
    }
}

/// Runs work on images where it may wait.
async fn with<T, F>(service: &Service, work: F) -> Result<T, ApiError>
where
    F: FnOnce(Images<'_>, &Arc<Engine>) -> Result<T, ApiError> + Send + 'static,
    T: Send + 'static,
{
    let run = move |engine: &Arc<Engine>| {
        let worker = engine.helper("hull-worker")?;
        work(Images { store: engine.store()?, worker: &worker }, engine)
    };
    service.run(run).await
}

type Progress<'a> = &'a mut dyn FnMut(ProgressMessage);

/// Runs work that reads the body and answers with a stream of messages.
///
/// The answer's status line is sent with the first message, so what goes wrong is told in the
/// stream, as Docker does.
fn stream<F>(service: &Service, body: http::RequestBody, work: F) -> Result<Response, ApiError>
where
    F: FnOnce(Images<'_>, OwnedFd, Progress<'_>) -> Result<(), ApiError> + Send + 'static,
{
    let (reader, writer) = input_pipe()?;
    let (sender, answer) = Body::stream();
    let feeder = tokio::spawn(feed(body, writer));
    let service = service.clone();
    tokio::spawn(async move {
        let messages = sender.clone();
        let run = service.run_long(move |engine| {
            let worker = engine.helper("hull-worker")?;
            let images = Images { store: engine.store()?, worker: &worker };
            // A client that is gone does not undo what it asked for.
            let mut progress = |message| line(&messages, &message);
            work(images, reader.into(), &mut progress)
        });
        let result = run.await;
        feeder.abort();
        if let Err(error) = result {
            tracing::debug!(error = %error.message, "failed with the answer under way");
            sender.send_json(&ProgressMessage::error(error.message, error.hint)).await;
        }
    });
    Ok(http::typed("application/json", answer))
}

/// Sends one message, if anybody still reads them.
fn line(sender: &BodySender, message: &ProgressMessage) {
    let mut text = serde_json::to_vec(message).expect("a message has text keys");
    text.extend_from_slice(b"\r\n");
    if !sender.send_blocking(Bytes::from(text)) {
        tracing::debug!("nobody reads the progress messages");
    }
}

/// The parameter `platform`: `os/architecture`, or a platform in JSON.
fn platform(query: &Query) -> Result<Option<Platform>, ApiError> {
    let Some(text) = query.get("platform") else { return Ok(None) };
    let parsed = if text.starts_with('{') {
        serde_json::from_str::<Platform>(text).map(Platform::normalized).map_err(|e| e.to_string())
    } else {
        text.parse::<Platform>().map_err(|error| error.to_string())
    };
    parsed.map(Some).map_err(|why| ApiError::invalid(format!("invalid platform: {why}")))
}

/// Whether a container runs; one that cannot be looked at might.
fn is_running(store: &Store, container: &ContainerRecord) -> bool {
    match containers::state_of(store, &container.id) {
        Ok(state) => state.flatten().is_some_and(|state| state.status == Status::Running),
        Err(_) => true,
    }
}
