//! Having a job done.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use hull_sys::message::{recv_message, send_message};

use crate::job::{Answer, FailureKind, Job};

/// The longest answer that is read: an archive has at most 100000 members.
const MAX_ANSWER: usize = 64 << 20;

/// How much of what a worker says when it dies is read.
const MAX_LAST_WORDS: u64 = 4096;

/// A job that was not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The worker could not be started or reached.
    #[error("cannot {action} the worker {program:?}")]
    Start {
        /// What was tried.
        action: &'static str,
        /// Its program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The worker ended without an answer: it ran out of memory, was killed, or has a bug.
    #[error("the worker ended ({status}) before it answered{}", said(.last_words))]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// The begin of what it wrote to stderr.
        last_words: String,
    },
    /// The worker's answer is not one to this job.
    #[error("the worker's answer is not one to its job")]
    Answer,
    /// The job itself failed.
    #[error("{message}")]
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// One line: what, on what.
        message: String,
    },
}

/// A worker at its job. Dropped without [`Worker::answer`], it is killed.
#[derive(Debug)]
pub struct Worker {
    program: PathBuf,
    child: Child,
    socket: UnixStream,
    stderr: OwnedFd,
}

/// Has `job` done by a worker of its own and waits for the answer. Blocks; from asynchronous code
/// call it on a thread for such calls. If the calling thread ends, so does the worker.
///
/// `program` is the absolute path of `hull-worker`; `descriptors` are what the job says. Of the
/// answers, [`Answer::Failed`] comes back as [`WorkerError::Failed`].
///
/// # Errors
/// As [`WorkerError`] says. What the job wrote may then not be used.
pub fn run(
    program: &Path,
    job: &Job,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Answer, WorkerError> {
    Worker::spawn(program, job, descriptors)?.answer()
}

impl Worker {
    /// Starts a worker on `job`; see [`run`].
    ///
    /// # Errors
    /// [`WorkerError::Start`].
    pub fn spawn(
        program: &Path,
        job: &Job,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Self, WorkerError> {
        let fail =
            |action, source| WorkerError::Start { action, program: program.to_owned(), source };
        let (socket, theirs) = UnixStream::pair().map_err(|error| fail("reach", error))?;
        let (stderr, last_words) = last_words().map_err(|error| fail("reach", error))?;
        let child = Command::new(program)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(last_words)
            .spawn()
            .map_err(|error| fail("start", error))?;
        let worker = Self { program: program.to_owned(), child, socket, stderr };
        let body = serde_json::to_vec(job).expect("a job has no maps and no foreign types");
        match send_message(&worker.socket, &body, descriptors) {
            // It died already: how, `answer` says.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            result => result.map_err(|error| fail("ask", error))?,
        }
        Ok(worker)
    }

    /// A descriptor that becomes readable when there is an answer or none will come.
    pub fn readiness(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for the answer and for the worker's end.
    ///
    /// # Errors
    /// All of [`WorkerError`].
    pub fn answer(mut self) -> Result<Answer, WorkerError> {
        let answer = match recv_message(&self.socket, MAX_ANSWER) {
            Ok(answer) => answer,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(source) => return Err(self.unreachable("read the answer of", source)),
        };
        let Some((body, _)) = answer else {
            let status = match self.child.wait() {
                Ok(status) => status,
                Err(source) => return Err(self.unreachable("wait for", source)),
            };
            return Err(WorkerError::Died { status, last_words: self.last_words() });
        };
        match serde_json::from_slice(&body) {
            Ok(Answer::Failed { kind, message }) => Err(WorkerError::Failed { kind, message }),
            Ok(answer) => Ok(answer),
            Err(_) => Err(WorkerError::Answer),
        }
    }

    fn last_words(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(stderr) = self.stderr.try_clone() {
            // What could be read is what there is to say.
            let _ = std::fs::File::from(stderr).take(MAX_LAST_WORDS).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).trim().replace('\n', "; ")
    }

    fn unreachable(&self, action: &'static str, source: io::Error) -> WorkerError {
        WorkerError::Start { action, program: self.program.clone(), source }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has answered or its answer is not wanted; both calls fail only if it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe for the worker's stderr, whose ends do not wait: neither a worker that fills it nor one
/// that lives on can hold us up.
fn last_words() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::pipe::PipeFlags;
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

fn said(last_words: &str) -> String {
    if last_words.is_empty() { String::new() } else { format!(", saying: {last_words}") }
}
