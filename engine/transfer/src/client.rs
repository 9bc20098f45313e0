//! Having a transfer done. Everything here blocks; from asynchronous code call it on a thread for
//! such calls. Calls from several threads share the one process and its connections.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use hull_oci::{Descriptor, Digest, Reference};
use hull_sys::message::{recv_message, send_message};

use crate::protocol::{
    Answer, Call, Downloaded, MAX_MESSAGE, Outcome, Reply, Request, frame, unframe,
};
use crate::{Document, Failure, FailureKind, LoginOutcome, SearchResult, Session};

/// How much of what a process says when it dies is read.
const MAX_LAST_WORDS: u64 = 4096;

/// What a pipe may hold, in bytes: as much as a process may ask for that is not root.
const PIPE_SIZE: usize = 1 << 20;

/// The id of the answer to the session.
const SESSION: u64 = 0;

/// Something that was not done.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The process could not be started or reached.
    #[error("cannot {action} the program {program:?}")]
    Start {
        /// What was tried.
        action: &'static str,
        /// Its program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The process ended: it ran out of memory, was killed, or has a bug.
    #[error("the transfer ended ({status}) before it answered{}", said(.last_words))]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// The begin of what it wrote to stderr.
        last_words: String,
    },
    /// The process's answer is none to what it was asked.
    #[error("the transfer's answer is none to what it was asked")]
    Answer,
    /// The registry said no, or what it said was refused.
    #[error("{}", .0.message)]
    Failed(Failure),
}

impl TransferError {
    /// What kind of failure it is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Failed(failure) => failure.kind,
            Self::Start { .. } | Self::Died { .. } | Self::Answer => FailureKind::Internal,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => failure.hint.as_deref(),
            Self::Start { .. } | Self::Died { .. } | Self::Answer => None,
        }
    }
}

/// Where a blob goes.
#[derive(Debug)]
pub struct BlobOutputs<'a> {
    /// A file, open for reading and writing and not for appending. It gets the blob; what lies
    /// behind `have` is overwritten, and at the end it has the blob's length.
    pub ingest: BorrowedFd<'a>,
    /// How many bytes of the blob are in `ingest` already, from its begin.
    pub have: u64,
    /// A pipe that gets the whole blob from its first byte, those that were there too. It is
    /// closed when the blob ends or the call fails. What goes through it is what is in `ingest`.
    pub pipe: Option<OwnedFd>,
}

/// One process at work. Dropped, it is killed.
#[derive(Debug)]
pub struct Transfer {
    shared: Arc<Shared>,
    next: AtomicU64,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    socket: UnixStream,
    /// Held while a message is sent, so that messages do not mix.
    sending: Mutex<()>,
    child: Mutex<Child>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
enum Waiting {
    Calls(HashMap<u64, mpsc::Sender<(Answer, Vec<u8>)>>),
    Died { status: ExitStatus, last_words: String },
}

impl Transfer {
    /// Starts `program`, the absolute path of `hull-transfer`, and waits until it has sealed
    /// itself. Certificates and the machine's name servers are read by it before that.
    ///
    /// # Errors
    /// It cannot be started, or what the session names cannot be read.
    pub fn spawn(program: &Path, session: &Session) -> Result<Self, TransferError> {
        let fail =
            |action, source| TransferError::Start { action, program: program.to_owned(), source };
        let (told, tell) = mpsc::channel();
        let reader = {
            let program = program.to_owned();
            // A sealed process dies with the thread that started it: this one lives as long.
            std::thread::Builder::new().name("transfer".to_owned()).spawn(move || {
                match start(&program) {
                    Ok((shared, stderr)) => {
                        let shared = Arc::new(shared);
                        if told.send(Ok(Arc::clone(&shared))).is_ok() {
                            read(&shared, &stderr);
                        } else {
                            end(&shared, &stderr);
                        }
                    }
                    Err(error) => {
                        // Nobody listens any more: nobody wants to know.
                        let _ = told.send(Err(error));
                    }
                }
            })
        };
        let reader = reader.map_err(|error| fail("start", error))?;
        let shared = match tell.recv() {
            Ok(Ok(shared)) => shared,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(fail("start", io::ErrorKind::BrokenPipe.into())),
        };
        let transfer = Self { shared, next: AtomicU64::new(SESSION + 1), reader: Some(reader) };
        let answers = transfer.send(SESSION, &frame(session, b""), &[])?;
        match transfer.receive(&answers)? {
            (Answer::Ready, _) => Ok(transfer),
            (Answer::Failed(failure), _) => Err(TransferError::Failed(failure)),
            _ => Err(TransferError::Answer),
        }
    }

    /// Ends the process: all calls fail, those under way too.
    pub fn abort(&self) {
        // Fails only if it is gone.
        let _ = lock(&self.shared.child).kill();
    }

    /// What `reference` means now: media type, digest and size of its manifest.
    ///
    /// # Errors
    /// [`TransferError`]; `NotFound` if there is none.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor, TransferError> {
        match self.call(Request::Resolve { reference: reference.clone() })? {
            Outcome::Descriptor(descriptor) => Ok(descriptor),
            _ => Err(TransferError::Answer),
        }
    }

    /// The manifest or index of `reference`: by its digest if it has one, otherwise by its tag.
    /// The bytes are those of the digest, or those whose digest the registry named.
    ///
    /// # Errors
    /// [`TransferError`]; `Invalid` if it is larger than 4 MiB or not what its digest says.
    pub fn manifest(&self, reference: &Reference) -> Result<Document, TransferError> {
        let request = Request::Manifest { reference: reference.clone() };
        match self.call_with(request, &[], &[], &mut |_| {})? {
            (Outcome::Document(descriptor), bytes) => Ok(Document { descriptor, bytes }),
            _ => Err(TransferError::Answer),
        }
    }

    /// A small blob, such as an image config, of at most 8 MiB.
    ///
    /// # Errors
    /// [`TransferError`]; `Invalid` if it is larger or not what its descriptor says.
    pub fn document(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, TransferError> {
        let (repository, descriptor) = (repository.clone(), descriptor.clone());
        let request = Request::Document { repository, descriptor };
        match self.call_with(request, &[], &[], &mut |_| {})? {
            (Outcome::Document(_), bytes) => Ok(bytes),
            _ => Err(TransferError::Answer),
        }
    }

    /// Fetches a blob. `progress` is told how many bytes are in the ingest so far.
    ///
    /// The size is verified. The digest is verified here only without a pipe: who reads the pipe
    /// hashes what it gets.
    ///
    /// # Errors
    /// [`TransferError`]. What is in the ingest then is a begin of the blob, to go on from, but
    /// for `Invalid`.
    pub fn blob(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        outputs: BlobOutputs<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), TransferError> {
        let request = Request::Blob {
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            have: outputs.have,
            pipe: outputs.pipe.is_some(),
        };
        if let Some(pipe) = &outputs.pipe {
            // Fewer switches between the two at its ends; with less it only takes longer.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_SIZE);
        }
        let mut descriptors = vec![outputs.ingest];
        descriptors.extend(outputs.pipe.as_ref().map(AsFd::as_fd));
        let (id, answers) = self.ask(request, &[], &descriptors)?;
        // The other process has it: its end must be the last.
        drop(descriptors);
        drop(outputs.pipe);
        match self.wait(id, &answers, progress)? {
            (Outcome::Nothing, _) => Ok(()),
            _ => Err(TransferError::Answer),
        }
    }

    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn tags(&self, repository: &Reference) -> Result<Vec<String>, TransferError> {
        match self.call(Request::Tags { repository: repository.clone() })? {
            Outcome::Names(names) => Ok(names),
            _ => Err(TransferError::Answer),
        }
    }

    /// Repositories of `registry` that fit `term`, at most `limit`.
    ///
    /// # Errors
    /// [`TransferError`]; `Unsupported` if the registry has no search and no catalog.
    pub fn search(
        &self,
        registry: &str,
        term: &str,
        limit: usize,
    ) -> Result<Vec<SearchResult>, TransferError> {
        let (registry, term) = (registry.to_owned(), term.to_owned());
        match self.call(Request::Search { registry, term, limit })? {
            Outcome::Found(found) => Ok(found),
            _ => Err(TransferError::Answer),
        }
    }

    /// Manifests that say they are about `digest`.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn referrers(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Vec<Descriptor>, TransferError> {
        let (repository, digest) = (repository.clone(), digest.clone());
        match self.call(Request::Referrers { repository, digest })? {
            Outcome::Descriptors(descriptors) => Ok(descriptors),
            _ => Err(TransferError::Answer),
        }
    }

    /// Whether the repository has this blob.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn exists(&self, repository: &Reference, digest: &Digest) -> Result<bool, TransferError> {
        let (repository, digest) = (repository.clone(), digest.clone());
        match self.call(Request::Exists { repository, digest })? {
            Outcome::Is(there) => Ok(there),
            _ => Err(TransferError::Answer),
        }
    }

    /// Makes a blob of the repository `from`, of the same registry, one of `repository`. False if
    /// the registry would rather have it uploaded.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn mount(
        &self,
        repository: &Reference,
        from: &Reference,
        digest: &Digest,
    ) -> Result<bool, TransferError> {
        let (repository, from, digest) = (repository.clone(), from.clone(), digest.clone());
        match self.call(Request::Mount { repository, from, digest })? {
            Outcome::Is(mounted) => Ok(mounted),
            _ => Err(TransferError::Answer),
        }
    }

    /// Uploads the blob that the file `source` holds from its begin; its position is neither used
    /// nor moved. Goes on where it was after a lost connection. `progress` is told how many bytes
    /// the registry took.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn upload(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        source: BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), TransferError> {
        let (repository, descriptor) = (repository.clone(), descriptor.clone());
        let request = Request::Upload { repository, descriptor };
        match self.call_with(request, &[], &[source], progress)? {
            (Outcome::Nothing, _) => Ok(()),
            _ => Err(TransferError::Answer),
        }
    }

    /// Uploads what a pipe holds to its end, as a blob by sha256; returns its digest and size as
    /// a descriptor without media type. After a lost connection it has to be begun anew.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn upload_stream(
        &self,
        repository: &Reference,
        source: BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Descriptor, TransferError> {
        let request = Request::UploadStream { repository: repository.clone() };
        match self.call_with(request, &[], &[source], progress)? {
            (Outcome::Descriptor(descriptor), _) => Ok(descriptor),
            _ => Err(TransferError::Answer),
        }
    }

    /// Uploads a manifest or index under the tag of `reference`, or its digest if it has one.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, TransferError> {
        let (reference, media_type) = (reference.clone(), media_type.to_owned());
        let request = Request::PutManifest { reference, media_type };
        match self.call_with(request, bytes, &[], &mut |_| {})? {
            (Outcome::Digest(digest), _) => Ok(digest),
            _ => Err(TransferError::Answer),
        }
    }

    /// Deletes the manifest, or the tag, that `reference` names.
    ///
    /// # Errors
    /// [`TransferError`]; `Unsupported` if the registry does not delete.
    pub fn delete_manifest(&self, reference: &Reference) -> Result<(), TransferError> {
        match self.call(Request::DeleteManifest { reference: reference.clone() })? {
            Outcome::Nothing => Ok(()),
            _ => Err(TransferError::Answer),
        }
    }

    /// Tries the session's credentials on `registry`.
    ///
    /// # Errors
    /// [`TransferError`]; `Unauthorized` if they are refused.
    pub fn login(&self, registry: &str) -> Result<LoginOutcome, TransferError> {
        match self.call(Request::Login { registry: registry.to_owned() })? {
            Outcome::Login(outcome) => Ok(outcome),
            _ => Err(TransferError::Answer),
        }
    }

    /// Writes what is at `url` to `file`, which is empty. No credentials are sent.
    ///
    /// # Errors
    /// [`TransferError`]; `Invalid` if it has more than `limit` bytes.
    pub fn download(
        &self,
        url: &str,
        limit: u64,
        file: BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Downloaded, TransferError> {
        let request = Request::Download { url: url.to_owned(), limit };
        match self.call_with(request, &[], &[file], progress)? {
            (Outcome::Downloaded(downloaded), _) => Ok(downloaded),
            _ => Err(TransferError::Answer),
        }
    }

    /// Which commit a branch or tag of the git repository at `url` is; without one, what it has
    /// checked out. A commit is itself.
    ///
    /// # Errors
    /// [`TransferError`]; `NotFound` if there is no such branch or tag.
    pub fn git_commit(&self, url: &str, reference: Option<&str>) -> Result<String, TransferError> {
        let reference = reference.map(str::to_owned);
        match self.call(Request::GitCommit { url: url.to_owned(), reference })? {
            Outcome::Commit(commit) => Ok(commit),
            _ => Err(TransferError::Answer),
        }
    }

    /// Writes a pack with a commit and the files it holds, for a worker to check out, to `file`,
    /// which is empty.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn git_pack(
        &self,
        url: &str,
        commit: &str,
        file: BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), TransferError> {
        let request = Request::GitPack { url: url.to_owned(), commit: commit.to_owned() };
        match self.call_with(request, &[], &[file], progress)? {
            (Outcome::Nothing, _) => Ok(()),
            _ => Err(TransferError::Answer),
        }
    }

    fn call(&self, request: Request) -> Result<Outcome, TransferError> {
        self.call_with(request, &[], &[], &mut |_| {}).map(|(outcome, _)| outcome)
    }

    fn call_with(
        &self,
        request: Request,
        raw: &[u8],
        descriptors: &[BorrowedFd<'_>],
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Outcome, Vec<u8>), TransferError> {
        let (id, answers) = self.ask(request, raw, descriptors)?;
        self.wait(id, &answers, progress)
    }

    fn ask(
        &self,
        request: Request,
        raw: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(u64, Answers), TransferError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let answers = self.send(id, &frame(&Call { id, request }, raw), descriptors)?;
        Ok((id, answers))
    }

    fn wait(
        &self,
        id: u64,
        answers: &Answers,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Outcome, Vec<u8>), TransferError> {
        loop {
            match self.receive(answers)? {
                (Answer::Progress(bytes), _) => progress(bytes),
                (Answer::Done(outcome), raw) => {
                    self.shared.forget(id);
                    return Ok((outcome, raw));
                }
                (Answer::Failed(failure), _) => {
                    self.shared.forget(id);
                    return Err(TransferError::Failed(failure));
                }
                (Answer::Ready, _) => return Err(TransferError::Answer),
            }
        }
    }

    fn send(
        &self,
        id: u64,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Answers, TransferError> {
        let (sender, answers) = mpsc::channel();
        match &mut *lock(&self.shared.waiting) {
            Waiting::Calls(calls) => calls.insert(id, sender),
            Waiting::Died { status, last_words } => {
                let last_words = last_words.clone();
                return Err(TransferError::Died { status: *status, last_words });
            }
        };
        let _sending = lock(&self.shared.sending);
        match send_message(&self.shared.socket, message, descriptors) {
            Ok(()) => Ok(answers),
            // It died: how, `receive` says.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(answers)
            }
            Err(source) => {
                let program = self.shared.program.clone();
                Err(TransferError::Start { action: "ask", program, source })
            }
        }
    }

    fn receive(&self, answers: &Answers) -> Result<(Answer, Vec<u8>), TransferError> {
        if let Ok(answer) = answers.recv() {
            return Ok(answer);
        }
        match &*lock(&self.shared.waiting) {
            Waiting::Died { status, last_words } => {
                Err(TransferError::Died { status: *status, last_words: last_words.clone() })
            }
            Waiting::Calls(_) => Err(TransferError::Answer),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // Fails only if it is gone.
        let _ = lock(&self.shared.child).kill();
        if let Some(reader) = self.reader.take() {
            // It cannot panic; if it did there is nobody to tell.
            let _ = reader.join();
        }
    }
}

type Answers = mpsc::Receiver<(Answer, Vec<u8>)>;

impl Shared {
    fn forget(&self, id: u64) {
        if let Waiting::Calls(calls) = &mut *lock(&self.waiting) {
            calls.remove(&id);
        }
    }
}

fn start(program: &Path) -> Result<(Shared, OwnedFd), TransferError> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let fail =
        |action, source| TransferError::Start { action, program: program.to_owned(), source };
    let (socket, theirs) = UnixStream::pair().map_err(|error| fail("reach", error))?;
    // Neither end waits: neither a process that fills it nor one that lives on can hold us up.
    let (stderr, last_words) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|error| fail("reach", error.into()))?;
    let child = Command::new(program)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(last_words)
        .spawn()
        .map_err(|error| fail("start", error))?;
    let shared = Shared {
        program: program.to_owned(),
        socket,
        sending: Mutex::new(()),
        child: Mutex::new(child),
        waiting: Mutex::new(Waiting::Calls(HashMap::new())),
    };
    Ok((shared, stderr))
}

/// Hands answers out until there are no more.
fn read(shared: &Shared, stderr: &OwnedFd) {
    while let Ok(Some((message, _))) = recv_message(&shared.socket, MAX_MESSAGE) {
        let Some((Reply { id, answer }, raw)) = unframe(message) else { break };
        if let Waiting::Calls(calls) = &*lock(&shared.waiting)
            && let Some(call) = calls.get(&id)
        {
            // Who asked may have given up.
            let _ = call.send((answer, raw));
        }
    }
    end(shared, stderr);
}

/// Waits for the end of a process that says nothing more, and tells who waits.
fn end(shared: &Shared, stderr: &OwnedFd) {
    let status = {
        let mut child = lock(&shared.child);
        // It is ending, which this does not change, or it talks nonsense.
        let _ = child.kill();
        child.wait()
    };
    let last_words = last_words(stderr);
    let status = status.unwrap_or_default();
    *lock(&shared.waiting) = Waiting::Died { status, last_words };
}

fn last_words(stderr: &OwnedFd) -> String {
    let mut bytes = Vec::new();
    if let Ok(stderr) = stderr.try_clone() {
        // What could be read is what there is to say.
        let _ = std::fs::File::from(stderr).take(MAX_LAST_WORDS).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).trim().replace('\n', "; ")
}

fn said(last_words: &str) -> String {
    if last_words.is_empty() { String::new() } else { format!(", saying: {last_words}") }
}

/// A panic while one of these is held leaves it as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
