//! Repositories of other registries, fetched when somebody asks for them and kept.
//!
//! A manifest goes to who asked as soon as it is here, and its blobs go out while they come in: one
//! fetch feeds all who want a blob, and the last byte is held back until the digest was seen to be
//! right. Beside that the rest of an image is fetched; when all of it is here, it becomes an image
//! of the store like one that was pushed. Until then it is remembered here only.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hull_oci::{Descriptor, Digest, Hasher, Reference};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{mpsc, watch};

use super::body::Body;
use super::catalog::{Found, Incoming, Listed};
use super::config::Mirror;
use super::handler::Shared;
use super::refusal::Refusal;
use super::route::RepositoryName;
use super::storage::{Fetched, Storage, Stored};
use super::summary::{Summary, is_foreign};
use super::upstream::{Upstream, UpstreamError};

/// How much of a blob is passed on at once.
const PIECE: u64 = 512 << 10;

/// How often it is looked whether more has come.
const LOOK: Duration = Duration::from_millis(15);

/// How long another process's fetch of the same blob is waited for between two looks.
const OTHERS: Duration = Duration::from_millis(200);

/// How many incomplete manifests are remembered.
const MAX_PENDING: usize = 2000;

/// What this server knows of other registries.
#[derive(Debug)]
pub(super) struct Mirrors {
    mirrors: Vec<Mirror>,
    upstream: Arc<dyn Upstream>,
    /// Manifests that are not complete here yet.
    pending: Mutex<HashMap<(RepositoryName, Digest), Arc<Incoming>>>,
    /// What tags named when they were looked up last.
    tags: Mutex<HashMap<(RepositoryName, String), (Digest, Instant)>>,
    /// Fetches at work.
    flights: Mutex<HashMap<Digest, Arc<Flight>>>,
    /// One at a time looks up a reference.
    lookups: Mutex<HashMap<(RepositoryName, String), Lookup>>,
}

/// Held by the one who looks a reference up.
type Lookup = Arc<tokio::sync::Mutex<()>>;

/// A blob on its way here.
#[derive(Debug)]
struct Flight {
    file: OnceLock<File>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Coming,
    Here,
    Failed(String),
}

/// Where a repository of this server comes from.
#[derive(Debug, Clone)]
struct Origin {
    repository: Reference,
    refresh: Duration,
}

impl Mirrors {
    pub(super) fn new(mirrors: Vec<Mirror>, upstream: Arc<dyn Upstream>) -> Self {
        Self {
            mirrors,
            upstream,
            pending: Mutex::default(),
            tags: Mutex::default(),
            flights: Mutex::default(),
            lookups: Mutex::default(),
        }
    }

    /// Whether a repository is another registry's.
    pub(super) fn has(&self, name: &RepositoryName) -> bool {
        self.origin(name).is_some()
    }

    /// The repository of ours that stands for `name` of the registry `of`.
    pub(super) fn local(&self, of: &str, name: &RepositoryName) -> Option<RepositoryName> {
        let mirror = self.mirrors.iter().find(|mirror| mirror.upstream == of)?;
        RepositoryName::parse(&format!("{}/{}", mirror.prefix, name.as_str())).ok()
    }

    fn origin(&self, name: &RepositoryName) -> Option<Origin> {
        self.mirrors.iter().find_map(|mirror| {
            let rest = name.as_str().strip_prefix(&mirror.prefix)?.strip_prefix('/')?;
            let repository = Reference::from_parts(&mirror.upstream, rest).ok()?;
            Some(Origin { repository, refresh: mirror.refresh })
        })
    }
}

/// A manifest of a mirrored repository: `None` if what is kept here is to be given out.
pub(super) async fn manifest(
    shared: &Arc<Shared>,
    name: &RepositoryName,
    reference: &str,
) -> Result<Option<Found>, Refusal> {
    let Some(mirrors) = &shared.mirrors else { return Ok(None) };
    let Some(origin) = mirrors.origin(name) else { return Ok(None) };
    let key = (name.clone(), reference.to_owned());
    let lookup = {
        let mut lookups = mirrors.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        lookups.retain(|_, lookup| Arc::strong_count(lookup) > 1);
        Arc::clone(lookups.entry(key.clone()).or_default())
    };
    let _alone = lookup.lock().await;
    if reference.contains(':') {
        let digest = super::catalog::digest(reference)?;
        return by_digest(shared, mirrors, &origin, name, &digest, None).await;
    }
    let known = {
        let tags = mirrors.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.get(&key).cloned()
    };
    if let Some((digest, at)) = &known
        && at.elapsed() < origin.refresh
    {
        return by_digest(shared, mirrors, &origin, name, digest, Some(reference)).await;
    }
    let wanted = origin
        .repository
        .with_tag(reference)
        .map_err(|_| Refusal::tag_invalid(format!("{reference:?} is no tag")))?;
    match ask(shared, move |upstream| upstream.resolve(&wanted)).await {
        Ok(target) => {
            let looked = (target.digest.clone(), Instant::now());
            mirrors.tags.lock().unwrap_or_else(PoisonError::into_inner).insert(key, looked);
            by_digest(shared, mirrors, &origin, name, &target.digest, Some(reference)).await
        }
        Err(error) => {
            // What is here may be old; that is better than nothing.
            let (catalog, of, tag) =
                (Arc::clone(&shared.catalog), name.clone(), reference.to_owned());
            let kept = shared.blocking.run(move || catalog.descriptor(&of, &tag)).await?;
            match (kept, error) {
                (Some(_), UpstreamError::Failed(reason)) => {
                    tracing::warn!(repository = name.as_str(), reason, "gave out what is kept");
                    Ok(None)
                }
                (_, error) => Err(refused(shared, name, reference, &error)),
            }
        }
    }
}

async fn by_digest(
    shared: &Arc<Shared>,
    mirrors: &Mirrors,
    origin: &Origin,
    name: &RepositoryName,
    digest: &Digest,
    tag: Option<&str>,
) -> Result<Option<Found>, Refusal> {
    let (catalog, of, by) = (Arc::clone(&shared.catalog), name.clone(), digest.to_string());
    let wanted = tag.map(str::to_owned);
    let kept = shared
        .blocking
        .run(move || {
            if catalog.descriptor(&of, &by)?.is_none() {
                return Ok(None);
            }
            let found = catalog.manifest(&of, &by)?;
            // The tag has moved to what was here already.
            if let Some(tag) = wanted
                && catalog.descriptor(&of, &tag)?.is_none_or(|target| target.digest != found.digest)
            {
                let size = found.bytes.len() as u64;
                let target = Descriptor::new(&found.media_type, found.digest.clone(), size);
                catalog.storage.set_tag(of.as_str(), &tag, &target)?;
                catalog.changed(&of);
            }
            Ok(Some(found))
        })
        .await?;
    if kept.is_some() {
        return Ok(kept);
    }
    let key = (name.clone(), digest.clone());
    let pending = {
        let pending = mirrors.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.get(&key).cloned()
    };
    let incoming = match pending {
        Some(incoming) => incoming,
        None => {
            let wanted = origin.repository.with_digest(digest.clone());
            let bytes = ask(shared, move |upstream| upstream.manifest(&wanted)).await;
            let bytes = bytes.map_err(|error| refused(shared, name, digest.as_str(), &error))?;
            let incoming = Arc::new(read(digest, bytes)?);
            let mut pending = mirrors.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.len() >= MAX_PENDING {
                pending.clear();
            }
            pending.insert(key, Arc::clone(&incoming));
            incoming
        }
    };
    shared.metrics.upstream_fetches.add(1);
    let tag = tag.map(str::to_owned);
    tokio::spawn(complete(Arc::clone(shared), name.clone(), Arc::clone(&incoming), tag));
    Ok(Some(Found {
        digest: incoming.descriptor.digest.clone(),
        media_type: incoming.descriptor.media_type.clone(),
        bytes: incoming.bytes.clone(),
    }))
}

/// Checks what came: it must be what was asked for, and a manifest.
fn read(digest: &Digest, bytes: Vec<u8>) -> Result<Incoming, Refusal> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    if hasher.finish() != *digest {
        return Err(Refusal::upstream(format!("what came for {digest} is something else")));
    }
    let summary = Summary::parse(&bytes)
        .map_err(|error| Refusal::upstream(format!("manifest {digest}: {error}")))?;
    let descriptor = Descriptor::new(summary.kind(), digest.clone(), bytes.len() as u64);
    Ok(Incoming { bytes, summary, descriptor })
}

/// Fetches what is missing of an image; when all is here, it is one.
async fn complete(
    shared: Arc<Shared>,
    name: RepositoryName,
    incoming: Arc<Incoming>,
    tag: Option<String>,
) {
    let Some(mirrors) = &shared.mirrors else { return };
    for blob in incoming.summary.blobs().filter(|blob| !is_foreign(blob)) {
        match flight(&shared, &name, blob).await {
            Ok(None) => {}
            Ok(Some(flight)) => {
                let mut state = flight.state.subscribe();
                let ended = state.wait_for(|state| *state != State::Coming).await;
                if !matches!(ended.as_deref(), Ok(State::Here)) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
    let (catalog, of, whole) = (Arc::clone(&shared.catalog), name.clone(), Arc::clone(&incoming));
    let kept = shared
        .blocking
        .run(move || {
            for blob in whole.summary.blobs() {
                catalog.keep_for_push(&of, &blob.digest)?;
            }
            let tags: Vec<_> = tag.into_iter().collect();
            catalog.put(&of, &tags, &whole, Listed::Optional)
        })
        .await;
    match kept {
        Ok(()) => {
            let key = (name, incoming.descriptor.digest.clone());
            mirrors.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
        Err(refusal) => {
            let error = refusal.message();
            tracing::warn!(repository = name.as_str(), error, "a mirrored image is not kept");
        }
    }
}

/// A blob of a mirrored repository that is not here: its size and how to read it from where it
/// comes in. `None` if no manifest that is known speaks of it.
pub(super) async fn blob(
    shared: &Arc<Shared>,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Coming>, Refusal> {
    let Some(mirrors) = &shared.mirrors else { return Ok(None) };
    if !mirrors.has(name) {
        return Ok(None);
    }
    let wanted = {
        let pending = mirrors.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = pending.iter().filter(|((of, _), _)| of == name);
        let mut blobs = of_name.flat_map(|(_, incoming)| incoming.summary.blobs());
        blobs.find(|blob| blob.digest == *digest).cloned()
    };
    let wanted = match wanted {
        Some(wanted) => wanted,
        None => {
            let (catalog, of) = (Arc::clone(&shared.catalog), name.clone());
            let view = shared.blocking.run(move || Ok(catalog.view(&of)?)).await?;
            let Some(size) = view.blobs.get(digest) else { return Ok(None) };
            Descriptor::new("", digest.clone(), *size)
        }
    };
    Ok(Some(Coming { name: name.clone(), blob: wanted }))
}

/// A blob that can be fetched.
#[derive(Debug)]
pub(super) struct Coming {
    name: RepositoryName,
    blob: Descriptor,
}

impl Coming {
    /// Its length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.blob.size
    }

    /// Its bytes from `offset` up to `end`, as they come.
    pub(super) async fn body(
        self,
        shared: &Arc<Shared>,
        offset: u64,
        end: u64,
    ) -> Result<Body, Refusal> {
        let flight = flight(shared, &self.name, &self.blob).await?;
        let Some(flight) = flight else {
            // Here since.
            let (catalog, digest) = (Arc::clone(&shared.catalog), self.blob.digest.clone());
            let opened = shared.blocking.run(move || Ok(catalog.storage.open(&digest)?)).await?;
            let blob = opened.ok_or_else(|| Refusal::upstream("the blob is gone again"))?;
            return Ok(super::body::of_blob(blob, offset, end, shared.blocking.clone()));
        };
        let (sender, pieces) = mpsc::channel(2);
        let size = self.blob.size;
        tokio::spawn(pass_on(Arc::clone(shared), flight, (offset, end, size), sender));
        let body = Passing { pieces, left: end - offset };
        Ok(http_body_util::BodyExt::boxed_unsync(body))
    }
}

/// The fetch of a blob: the one at work, or a new one. `None` if it is here.
async fn flight(
    shared: &Arc<Shared>,
    name: &RepositoryName,
    blob: &Descriptor,
) -> Result<Option<Arc<Flight>>, Refusal> {
    let Some(mirrors) = &shared.mirrors else { return Ok(None) };
    let (catalog, digest, of) = (Arc::clone(&shared.catalog), blob.digest.clone(), name.clone());
    let here = shared.blocking.run(move || {
        // Its origin's manifest vouches for it.
        Ok(catalog.keep_for_push(&of, &digest).and_then(|()| catalog.storage.stat(&digest))?)
    });
    if here.await?.is_some() {
        return Ok(None);
    }
    let Some(origin) = mirrors.origin(name) else { return Ok(None) };
    let flight = {
        let mut flights = mirrors.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&blob.digest) {
            return Ok(Some(Arc::clone(flight)));
        }
        let flight =
            Arc::new(Flight { file: OnceLock::new(), state: watch::Sender::new(State::Coming) });
        flights.insert(blob.digest.clone(), Arc::clone(&flight));
        flight
    };
    let (again, job) = (Arc::clone(shared), Arc::clone(&flight));
    let (name, blob) = (name.clone(), blob.clone());
    tokio::spawn(async move {
        let state = fetch(&again, &job, &name, &blob, origin.repository).await;
        if let State::Failed(reason) = &state {
            again.metrics.upstream_failures.add(1);
            tracing::warn!(digest = %blob.digest, reason, "cannot fetch a blob");
        }
        if let Some(mirrors) = &again.mirrors {
            let mut flights = mirrors.flights.lock().unwrap_or_else(PoisonError::into_inner);
            flights.remove(&blob.digest);
        }
        job.state.send_replace(state);
    });
    Ok(Some(flight))
}

async fn fetch(
    shared: &Arc<Shared>,
    flight: &Arc<Flight>,
    name: &RepositoryName,
    blob: &Descriptor,
    repository: Reference,
) -> State {
    loop {
        let (again, job, of, wanted, from) = (
            Arc::clone(shared),
            Arc::clone(flight),
            name.clone(),
            blob.clone(),
            repository.clone(),
        );
        let fetched = shared
            .blocking
            .run_fetch(move || Ok(fetch_once(&again, &job, &of, &wanted, &from)))
            .await;
        match fetched {
            Ok(Ok((Fetched::Kept, _))) => {
                shared.metrics.upstream_bytes.add(blob.size);
                return State::Here;
            }
            Ok(Ok((Fetched::Failed, error))) => {
                return State::Failed(error.map_or_else(String::new, |error| error.to_string()));
            }
            // Another process does the same: a pull of the engine.
            Ok(Ok((Fetched::Busy, _))) => tokio::time::sleep(OTHERS).await,
            Ok(Err(error)) => return State::Failed(Refusal::from(error).message().to_owned()),
            Err(refusal) => return State::Failed(refusal.message().to_owned()),
        }
    }
}

type Outcome = (Fetched, Option<UpstreamError>);

fn fetch_once(
    shared: &Shared,
    flight: &Flight,
    name: &RepositoryName,
    blob: &Descriptor,
    repository: &Reference,
) -> Stored<Outcome> {
    let storage: &dyn Storage = &*shared.catalog.storage;
    let mut failure = None;
    let fetched = storage.fetch(name.as_str(), &blob.digest, &mut |file, had| {
        let Some(mirrors) = &shared.mirrors else { return false };
        if let Ok(file) = file.try_clone() {
            // The same blob is fetched once at a time, so nobody else has set it.
            let _first = flight.file.set(file);
        }
        let done = mirrors.upstream.blob(repository, blob, file.as_fd(), had);
        let long = file.metadata().is_ok_and(|found| found.len() == blob.size);
        match done {
            Ok(()) if long => true,
            Ok(()) => {
                failure = Some(UpstreamError::Failed("the blob has another length".to_owned()));
                false
            }
            Err(error) => {
                failure = Some(error);
                false
            }
        }
    })?;
    Ok((fetched, failure))
}

/// Passes on what comes in, the last byte only when all was seen to be right.
async fn pass_on(
    shared: Arc<Shared>,
    flight: Arc<Flight>,
    (mut offset, end, size): (u64, u64, u64),
    sender: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut state = flight.state.subscribe();
    while offset < end {
        let now = state.borrow_and_update().clone();
        if let State::Failed(reason) = now {
            let _gone = sender.send(Err(io::Error::other(reason))).await;
            return;
        }
        let file = flight.file.get().and_then(|file| file.try_clone().ok());
        let length = file.as_ref().and_then(|file| file.metadata().ok());
        let length = length.map_or(0, |found| found.len());
        let safe = if now == State::Here { size } else { length.min(size.saturating_sub(1)) };
        let until = safe.min(end);
        let Some(file) = file.filter(|_| until > offset) else {
            if now == State::Here && flight.file.get().is_none() {
                let error = io::Error::other("the blob came by another way: ask again");
                let _gone = sender.send(Err(error)).await;
                return;
            }
            let _either = tokio::time::timeout(LOOK, state.changed()).await;
            continue;
        };
        let count = PIECE.min(until - offset);
        let read = shared.blocking.run(move || {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
            Ok(file.read_exact_at(&mut bytes, offset).map(|()| Bytes::from(bytes)))
        });
        let piece = match read.await {
            Ok(piece) => piece,
            Err(refusal) => Err(io::Error::other(refusal.message().to_owned())),
        };
        let failed = piece.is_err();
        offset += count;
        if sender.send(piece).await.is_err() || failed {
            return;
        }
    }
}

/// A body of pieces that are passed on.
struct Passing {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl hyper::body::Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        if let Some(Ok(bytes)) = &piece {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        std::task::Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Asks upstream on a thread.
async fn ask<T, F>(shared: &Arc<Shared>, question: F) -> Result<T, UpstreamError>
where
    F: FnOnce(&dyn Upstream) -> Result<T, UpstreamError> + Send + 'static,
    T: Send + 'static,
{
    let again = Arc::clone(shared);
    let asked = shared.blocking.run_fetch(move || {
        let none = || Err(UpstreamError::Failed("there are no mirrors".to_owned()));
        Ok(again.mirrors.as_ref().map_or_else(none, |mirrors| question(&*mirrors.upstream)))
    });
    asked.await.unwrap_or_else(|refusal| Err(UpstreamError::Failed(refusal.message().to_owned())))
}

fn refused(
    shared: &Shared,
    name: &RepositoryName,
    reference: &str,
    error: &UpstreamError,
) -> Refusal {
    match error {
        UpstreamError::Unknown => {
            Refusal::manifest_unknown(format!("{} has no manifest {reference:?}", name.as_str()))
        }
        UpstreamError::Failed(reason) => {
            shared.metrics.upstream_failures.add(1);
            tracing::warn!(repository = name.as_str(), reference, reason, "cannot ask upstream");
            Refusal::upstream("the registry behind this one does not answer as it should")
        }
    }
}
