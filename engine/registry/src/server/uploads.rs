//! Blobs coming in.
//!
//! An upload lives in the store, not in this process: after a restart it goes on where it was.
//! What is hashed while it comes is remembered here, and read again from the store where it is
//! not. A request that finds its upload held by another, whose client may be long gone, has that
//! one let go of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hull_oci::{Algorithm, Digest, Hasher};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION, RANGE};
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::sync::Notify;

use super::access::Action;
use super::blobs::header;
use super::body::{self, Body, Input};
use super::catalog;
use super::handler::{Call, DIGEST};
use super::range;
use super::refusal::Refusal;
use super::route::RepositoryName;
use super::storage::{Opened, Upload};

/// Names an upload.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// How many unfinished hashes are remembered.
const MAX_HASHES: usize = 4096;

/// How long a request waits for another to let go of an upload.
const TAKEOVER: Duration = Duration::from_millis(50);
const TAKEOVERS: u32 = 60;

/// What this process knows of uploads beside their bytes.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Hashes of what has come so far, with the number of bytes.
    hashes: Mutex<HashMap<String, (Hasher, u64)>>,
    /// Requests that write now.
    active: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Sessions {
    fn take_hash(&self, id: &str, size: u64) -> Option<Hasher> {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.remove(id).filter(|(_, hashed)| *hashed == size).map(|(hasher, _)| hasher)
    }

    fn keep_hash(&self, id: &str, hasher: Hasher, size: u64) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.len() >= MAX_HASHES {
            // They are only worth the time to read the bytes again.
            hashes.clear();
        }
        hashes.insert(id.to_owned(), (hasher, size));
    }

    fn begin(&self, id: &str) -> Arc<Notify> {
        let told = Arc::new(Notify::new());
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.insert(id.to_owned(), Arc::clone(&told));
        told
    }

    fn end(&self, id: &str, told: &Arc<Notify>) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.get(id).is_some_and(|known| Arc::ptr_eq(known, told)) {
            active.remove(id);
        }
    }

    fn tell(&self, id: &str) {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = active.get(id) {
            told.notify_one();
        }
    }
}

/// An upload at work: its bytes, and their hash as far as it is known.
struct Session {
    upload: Box<dyn Upload>,
    hasher: Option<Hasher>,
}

/// `POST /v2/<name>/blobs/uploads/`
pub(super) async fn start(
    call: &Call,
    name: &RepositoryName,
    input: Input,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull, Action::Push])?;
    call.refuse_mirrored(name)?;
    if let Some(text) = call.query("mount") {
        let digest = catalog::digest(text)?;
        if mount(call, name, &digest).await? {
            return Ok(created(name, &digest));
        }
    }
    let digest = call.query("digest").map(catalog::digest).transpose()?;
    let algorithm = match call.query("digest-algorithm") {
        None => digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm),
        Some("sha256") => Algorithm::Sha256,
        Some("sha512") => Algorithm::Sha512,
        Some(other) => {
            let message = format!("the digest algorithm {other:?} is not known");
            return Err(Refusal::digest_invalid(message));
        }
    };
    call.check_quota(name, call.body_length().unwrap_or(0)).await?;
    let (storage, of) = (call.catalog().storage.clone(), name.clone());
    let upload = call.blocking(move || Ok(storage.start_upload(of.as_str())?)).await?;
    let session = Session { upload, hasher: Some(Hasher::new(algorithm)) };
    match digest {
        Some(digest) => finish(call, name, session, input, &digest).await,
        None => {
            let id = session.upload.id().to_owned();
            call.shared.sessions.keep_hash(&id, Hasher::new(algorithm), 0);
            Ok(going_on(name, &id, 0, StatusCode::ACCEPTED))
        }
    }
}

/// `PATCH` of an upload: the next chunk, or all that comes.
pub(super) async fn append(
    call: &Call,
    name: &RepositoryName,
    id: &str,
    input: Input,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull, Action::Push])?;
    let session = open(call, name, id).await?;
    let session = check_chunk(call, name, session)?;
    let mut session = receive(call, name, session, input).await?;
    let size = session.upload.size();
    if let Some(hasher) = session.hasher.take() {
        call.shared.sessions.keep_hash(id, hasher, size);
    }
    Ok(going_on(name, id, size, StatusCode::ACCEPTED))
}

/// `PUT` of an upload: perhaps a last chunk, and its end.
pub(super) async fn complete(
    call: &Call,
    name: &RepositoryName,
    id: &str,
    input: Input,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull, Action::Push])?;
    let missing = || Refusal::digest_invalid("the parameter digest is missing");
    let digest = catalog::digest(call.query("digest").ok_or_else(missing)?)?;
    let session = open(call, name, id).await?;
    let session = check_chunk(call, name, session)?;
    finish(call, name, session, input, &digest).await
}

/// `GET` of an upload: how far it is.
pub(super) async fn status(
    call: &Call,
    name: &RepositoryName,
    id: &str,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull, Action::Push])?;
    let mut session = open(call, name, id).await?;
    let size = session.upload.size();
    if let Some(hasher) = session.hasher.take() {
        call.shared.sessions.keep_hash(id, hasher, size);
    }
    Ok(going_on(name, id, size, StatusCode::NO_CONTENT))
}

/// `DELETE` of an upload.
pub(super) async fn cancel(
    call: &Call,
    name: &RepositoryName,
    id: &str,
) -> Result<Response<Body>, Refusal> {
    call.check(name, &[Action::Pull, Action::Push])?;
    let session = open(call, name, id).await?;
    call.blocking(move || Ok(session.upload.cancel()?)).await?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Takes an upload over, from a request that still holds it if need be.
async fn open(call: &Call, name: &RepositoryName, id: &str) -> Result<Session, Refusal> {
    let unknown = || {
        let message = format!("{} has no upload {id:?}", name.as_str());
        Refusal::upload_unknown(message)
    };
    for _ in 0..TAKEOVERS {
        let (storage, of, by) = (call.catalog().storage.clone(), name.clone(), id.to_owned());
        match call.blocking(move || Ok(storage.open_upload(of.as_str(), &by)?)).await? {
            Opened::Missing => return Err(unknown()),
            Opened::Upload(upload) => {
                let hasher = call.shared.sessions.take_hash(id, upload.size());
                return Ok(Session { upload, hasher });
            }
            Opened::Busy => {
                call.shared.sessions.tell(id);
                tokio::time::sleep(TAKEOVER).await;
            }
        }
    }
    Err(Refusal::conflict("another request writes to this upload"))
}

/// A chunk must follow what is there, and be as long as it says.
fn check_chunk(
    call: &Call,
    name: &RepositoryName,
    mut session: Session,
) -> Result<Session, Refusal> {
    let Some((first, count)) = range::chunk(&call.headers)? else { return Ok(session) };
    let size = session.upload.size();
    let outcome = if first != size {
        let id = session.upload.id();
        let refusal =
            Refusal::out_of_order(format!("the chunk begins at {first}, {size} bytes are here"));
        Err(refusal
            .header(RANGE, &so_far(size))
            .header(LOCATION, &location(name, id))
            .header(UPLOAD_ID, id)
            .detail(json!({ "offset": size })))
    } else if call.body_length().is_some_and(|length| length != count) {
        Err(Refusal::size_invalid(format!("the range has {count} bytes, the body has not")))
    } else {
        Ok(())
    };
    if outcome.is_err()
        && let Some(hasher) = session.hasher.take()
    {
        call.shared.sessions.keep_hash(session.upload.id(), hasher, size);
    }
    outcome.map(|()| session)
}

/// Takes the body into an upload.
async fn receive(
    call: &Call,
    name: &RepositoryName,
    session: Session,
    mut input: Input,
) -> Result<Session, Refusal> {
    let id = session.upload.id().to_owned();
    let room = call.room(name).await?;
    let told = call.shared.sessions.begin(&id);
    call.shared.metrics.uploads_open.add(1);
    let mut session = Some(session);
    let outcome = loop {
        let pieces = tokio::select! {
            biased;
            () = told.notified() => break Err(Refusal::conflict("another request took the upload over")),
            pieces = input.next() => pieces,
        };
        let pieces = match pieces {
            Ok(Some(pieces)) => pieces,
            Ok(None) => break Ok(()),
            Err(refusal) => break Err(refusal),
        };
        let Some(mut held) = session.take() else { break Ok(()) };
        let count: usize = pieces.iter().map(bytes::Bytes::len).sum();
        call.shared.metrics.received.add(count as u64);
        let written = call
            .blocking(move || {
                let mut outcome = Ok(());
                for piece in pieces {
                    if held.upload.size() + piece.len() as u64 > room {
                        outcome =
                            Err(Refusal::too_large(format!("no more than {room} bytes fit here")));
                        break;
                    }
                    if let Err(error) = held.upload.append(&piece) {
                        outcome = Err(error.into());
                        break;
                    }
                    if let Some(hasher) = &mut held.hasher {
                        hasher.update(&piece);
                    }
                }
                Ok((held, outcome))
            })
            .await;
        match written {
            Ok((held, Ok(()))) => session = Some(held),
            Ok((held, Err(refusal))) => {
                session = Some(held);
                break Err(refusal);
            }
            Err(refusal) => break Err(refusal),
        }
    };
    call.shared.metrics.uploads_open.subtract(1);
    call.shared.sessions.end(&id, &told);
    match (outcome, session) {
        (Ok(()), Some(session)) => Ok(session),
        (Err(refusal), Some(mut session)) => {
            // What has come stays, for a client that goes on.
            let size = session.upload.size();
            if let Some(hasher) = session.hasher.take() {
                call.shared.sessions.keep_hash(&id, hasher, size);
            }
            Err(refusal)
        }
        (Err(refusal), None) => Err(refusal),
        (Ok(()), None) => Err(Refusal::internal("the upload was lost")),
    }
}

/// Takes the rest and makes the upload a blob.
async fn finish(
    call: &Call,
    name: &RepositoryName,
    session: Session,
    input: Input,
    digest: &Digest,
) -> Result<Response<Body>, Refusal> {
    let session = receive(call, name, session, input).await?;
    let (expected, catalog, of) = (digest.clone(), call.catalog(), name.clone());
    call.blocking(move || {
        let Session { mut upload, hasher } = session;
        let hashed = hasher.map(Hasher::finish);
        let actual = match hashed {
            Some(hashed) if hashed.algorithm() == expected.algorithm() => hashed,
            _ => upload.digest(expected.algorithm())?,
        };
        if actual != expected {
            let size = upload.size();
            upload.cancel()?;
            let message = format!("{size} bytes with digest {actual} came, not {expected}");
            return Err(Refusal::digest_invalid(message).detail(json!({ "digest": expected })));
        }
        upload.commit(&expected)?;
        catalog.changed(&of);
        Ok(())
    })
    .await?;
    call.shared.metrics.uploads_done.add(1);
    Ok(created(name, digest))
}

/// Shows a blob here that another repository shows. False if none does that the caller may pull
/// from; then it is to be uploaded.
async fn mount(call: &Call, name: &RepositoryName, digest: &Digest) -> Result<bool, Refusal> {
    let sources = match call.query("from") {
        Some(from) => vec![RepositoryName::parse(from)?],
        None => {
            let storage = call.catalog().storage.clone();
            let names = call.blocking(move || Ok(storage.repositories()?)).await?;
            let names = names.iter().filter_map(|name| RepositoryName::parse(name).ok());
            std::iter::once(name.clone()).chain(names).collect()
        }
    };
    let sources: Vec<_> =
        sources.into_iter().filter(|source| call.allows(source, Action::Pull)).collect();
    let (catalog, digest, name) = (call.catalog(), digest.clone(), name.clone());
    call.blocking(move || {
        let storage = &catalog.storage;
        let mut mounted = false;
        storage.keeping(std::slice::from_ref(&digest), &mut || {
            if storage.stat(&digest)?.is_none() {
                return Ok(());
            }
            for source in &sources {
                if catalog.shows_blob(source, &digest)? {
                    storage.add_blob(name.as_str(), &digest)?;
                    mounted = true;
                    break;
                }
            }
            Ok(())
        })?;
        Ok(mounted)
    })
    .await
}

fn going_on(name: &RepositoryName, id: &str, size: u64, status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(&location(name, id)));
    headers.insert(RANGE, header(&so_far(size)));
    headers.insert(UPLOAD_ID, header(id));
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

fn created(name: &RepositoryName, digest: &Digest) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(&format!("/v2/{}/blobs/{digest}", name.as_str())));
    headers.insert(DIGEST, header(digest.as_str()));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn location(name: &RepositoryName, id: &str) -> String {
    format!("/v2/{}/blobs/uploads/{id}", name.as_str())
}

/// What has come so far, as every registry says it: nothing looks like one byte.
fn so_far(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}
