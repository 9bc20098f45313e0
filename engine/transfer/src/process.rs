//! The process itself: sealed, then calls from the socket until it closes.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hull_oci::{Descriptor, Reference};
use hull_registry::client::Client;
use hull_sys::jail::{Jail, Purpose, SealError};
use hull_sys::message::{recv_message, send_message};
use tokio::sync::{mpsc, oneshot};

use crate::protocol::{Answer, Call, MAX_MESSAGE, Outcome, Reply, Request, frame, unframe};
use crate::uploads::{FileSource, stream};
use crate::{Failure, Session, machine, outputs, web};

/// Batches of a blob between who reads it off the network and who writes it.
const AHEAD: usize = 4;

/// Progress is told so often.
const PROGRESS: Duration = Duration::from_millis(100);

/// The id of the answer to the session.
const SESSION: u64 = 0;

/// A process that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The socket failed.
    #[error("cannot speak to the engine: {0}")]
    Socket(#[source] io::Error),
    /// What came over it is no session.
    #[error("the session is not one")]
    Session,
    /// The process could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Answers, from any thread.
#[derive(Debug, Clone)]
struct Replies {
    socket: Arc<Mutex<OwnedFd>>,
}

/// Reads the session from `socket`, seals this process and answers calls until the socket closes.
///
/// # Errors
/// As [`ProcessError`] says; that a call fails is an answer.
pub fn serve(socket: OwnedFd) -> Result<(), ProcessError> {
    let reader = socket.try_clone().map_err(ProcessError::Socket)?;
    let Some((message, _)) = recv_message(&reader, MAX_MESSAGE).map_err(ProcessError::Socket)?
    else {
        return Ok(());
    };
    let (session, _): (Session, _) = unframe(message).ok_or(ProcessError::Session)?;
    let replies = Replies { socket: Arc::new(Mutex::new(socket)) };
    let settings = match machine::settings(session) {
        Ok(settings) => settings,
        Err(failure) => {
            return replies.send(SESSION, Answer::Failed(failure), &[]);
        }
    };
    // It makes its epoll instance now: a sealed process cannot.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ProcessError::Socket)?;
    Jail::new(Purpose::Network).enter()?;
    let client = match Client::new(settings) {
        Ok(client) => Rc::new(client),
        Err(error) => return replies.send(SESSION, Answer::Failed(error.into()), &[]),
    };
    replies.send(SESSION, Answer::Ready, &[])?;
    let (sender, mut calls) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("calls".to_owned())
        .spawn(move || {
            while let Ok(Some(message)) = recv_message(&reader, MAX_MESSAGE) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        })
        .map_err(ProcessError::Socket)?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        while let Some((message, descriptors)) = calls.recv().await {
            let Some((call, raw)) = unframe::<Call>(message) else { break };
            let (client, replies) = (Rc::clone(&client), replies.clone());
            tokio::task::spawn_local(async move {
                let (id, told) = (call.id, replies.clone());
                let result = answer(&client, call, raw, descriptors, &told).await;
                let sent = match result {
                    Ok((outcome, raw)) => replies.send(id, Answer::Done(outcome), &raw),
                    Err(failure) => replies.send(id, Answer::Failed(failure), &[]),
                };
                // The engine is gone; the next read says so too.
                drop(sent);
            });
        }
    });
    Ok(())
}

impl Replies {
    fn send(&self, id: u64, answer: Answer, raw: &[u8]) -> Result<(), ProcessError> {
        let message = frame(&Reply { id, answer }, raw);
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        send_message(&*socket, &message, &[]).map_err(ProcessError::Socket)
    }

    /// Tells how far a call is, now and then.
    fn progress(&self, id: u64) -> impl Fn(u64) + use<> {
        let replies = self.clone();
        let last = Cell::new(None::<Instant>);
        move |bytes| {
            if last.get().is_none_or(|last| last.elapsed() >= PROGRESS) {
                last.set(Some(Instant::now()));
                // The engine is gone; the next read says so too.
                drop(replies.send(id, Answer::Progress(bytes), &[]));
            }
        }
    }
}

async fn answer(
    client: &Client,
    call: Call,
    raw: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    replies: &Replies,
) -> Result<(Outcome, Vec<u8>), Failure> {
    let id = call.id;
    let mut descriptors = descriptors.into_iter();
    let mut next =
        || descriptors.next().ok_or_else(|| Failure::internal("a call came without a descriptor"));
    let outcome = match call.request {
        Request::Resolve { reference } => Outcome::Descriptor(client.resolve(&reference).await?),
        Request::Manifest { reference } => {
            let (descriptor, bytes) = client.manifest(&reference).await?;
            return Ok((Outcome::Document(descriptor), bytes));
        }
        Request::Document { repository, descriptor } => {
            let bytes = client.document(&repository, &descriptor).await?;
            return Ok((Outcome::Document(descriptor), bytes));
        }
        Request::Blob { repository, descriptor, have, pipe } => {
            let ingest = next()?;
            let pipe = if pipe { Some(next()?) } else { None };
            let progress = replies.progress(id);
            blob(client, &repository, descriptor, (ingest, have, pipe), progress).await?;
            Outcome::Nothing
        }
        Request::Tags { repository } => Outcome::Names(client.tags(&repository).await?),
        Request::Search { registry, term, limit } => {
            Outcome::Found(client.search(&registry, &term, limit).await?)
        }
        Request::Referrers { repository, digest } => {
            Outcome::Descriptors(client.referrers(&repository, &digest).await?)
        }
        Request::Exists { repository, digest } => {
            Outcome::Is(client.exists(&repository, &digest).await?)
        }
        Request::Mount { repository, from, digest } => {
            Outcome::Is(client.mount(&repository, &from, &digest).await?)
        }
        Request::Upload { repository, descriptor } => {
            let source = FileSource::new(next()?, descriptor.size);
            let progress = replies.progress(id);
            client.upload(&repository, &descriptor, &source, &progress).await?;
            Outcome::Nothing
        }
        Request::UploadStream { repository } => {
            let (pieces, told) = stream(next()?).map_err(|error| {
                Failure::internal(format!("cannot read what is uploaded: {error}"))
            })?;
            Outcome::Descriptor(
                upload_stream(client, &repository, pieces, told, &replies.progress(id)).await?,
            )
        }
        Request::PutManifest { reference, media_type } => {
            Outcome::Digest(client.put_manifest(&reference, &media_type, &raw).await?)
        }
        Request::DeleteManifest { reference } => {
            client.delete_manifest(&reference).await?;
            Outcome::Nothing
        }
        Request::Download { url, limit } => {
            let progress = replies.progress(id);
            Outcome::Downloaded(web::download(client, &url, limit, next()?, progress).await?)
        }
        Request::GitCommit { url, reference } => {
            Outcome::Commit(web::git_commit(client, &url, reference.as_deref()).await?)
        }
        Request::GitPack { url, commit } => {
            web::git_pack(client, &url, &commit, next()?, replies.progress(id)).await?;
            Outcome::Nothing
        }
        Request::Login { registry } => Outcome::Login(client.login(&registry).await?),
    };
    Ok((outcome, Vec::new()))
}

/// Fetches on this thread, writes on another.
async fn blob(
    client: &Client,
    repository: &Reference,
    descriptor: Descriptor,
    (ingest, have, pipe): (OwnedFd, u64, Option<OwnedFd>),
    progress: impl Fn(u64) + Send + 'static,
) -> Result<(), Failure> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (told, tell) = oneshot::channel();
    let written = descriptor.clone();
    std::thread::Builder::new()
        .name("blob".to_owned())
        .spawn(move || {
            let result = outputs::write(&written, ingest, have, pipe, receiver, progress);
            // Who waits for it may be gone with the engine.
            let _ = told.send(result);
        })
        .map_err(|error| Failure::internal(format!("cannot start a thread: {error}")))?;
    let fetched = client.blob(repository, &descriptor, have, &sender).await;
    drop(sender);
    let written =
        tell.await.unwrap_or_else(|_| Err(Failure::internal("what writes the blob is gone")));
    // What the network says explains why less was written; not the other way round.
    fetched.map_err(Failure::from)?;
    written
}

async fn upload_stream(
    client: &Client,
    repository: &Reference,
    pieces: mpsc::Receiver<io::Result<bytes::Bytes>>,
    told: oneshot::Receiver<(hull_oci::Digest, u64)>,
    progress: &dyn Fn(u64),
) -> Result<Descriptor, Failure> {
    let (pass, digest) = oneshot::channel();
    let size = Rc::new(Cell::new(None));
    let known = Rc::clone(&size);
    tokio::task::spawn_local(async move {
        if let Ok((digest, bytes)) = told.await {
            known.set(Some((digest.clone(), bytes)));
            // The upload may have failed already.
            let _ = pass.send(digest);
        }
    });
    client.upload_stream(repository, pieces, digest, progress).await?;
    let (digest, size) = size.take().ok_or_else(|| Failure::internal("the upload has no end"))?;
    Ok(Descriptor::new("", digest, size))
}
