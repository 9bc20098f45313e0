//! The engine's side: starting a shim and talking to it.
//!
//! Every call blocks until the shim answers. A shim answers at once but for the start of a
//! process (milliseconds) and for what is meant to wait, see [`ExitWaiter`].

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use hull_sys::message::{recv_message, send_message};
use hull_sys::spawn::{Program, spawn as spawn_program};

use crate::protocol::{
    AttachOptions, Control, ExecRequest, ExecState, Exit, Failure, MAX_CONTROL_BYTES, Reply,
    Request, SOCKET, StartRequest, VERSION,
};

/// The descriptors that go with a [`StartRequest`].
#[derive(Debug)]
pub struct StartDescriptors<'a> {
    /// `containers/<id>` in the data root.
    pub container: BorrowedFd<'a>,
    /// `containers/<id>` in the exec root; must exist.
    pub run: BorrowedFd<'a>,
    /// The data root.
    pub data_root: BorrowedFd<'a>,
    /// The directory of id range locks, in the exec root.
    pub id_ranges: BorrowedFd<'a>,
    /// Layers, top first.
    pub layers: Vec<BorrowedFd<'a>>,
    /// Upper and work directory.
    pub upper: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// Volumes and bind sources.
    pub trees: Vec<BorrowedFd<'a>>,
    /// One stream for each of [`StartRequest::attaches`].
    pub attaches: Vec<BorrowedFd<'a>>,
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// Its first process.
    pub pid: u32,
    /// Tells its exit, even when the container removed itself meanwhile.
    pub exit: ExitWaiter,
    /// The shim, for an engine that lives long enough to reap it. Dropping this does nothing.
    pub shim: Program,
}

/// A shim could not start its container.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The shim could not be run. The container is as before, also with auto-remove.
    #[error("cannot run {}", program.display())]
    Run {
        /// The shim's program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The shim went away, or answered nonsense. `recover` releases what it held.
    #[error("the supervisor of container {id} ended before it answered")]
    Lost {
        /// The container.
        id: String,
        /// Why, if known.
        #[source]
        source: Option<io::Error>,
    },
    /// The sandbox or its process could not be started. A container with auto-remove is removed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Starts a container: runs `shim`, hands it `request`, waits until the container's process runs.
///
/// # Errors
/// See [`StartError`].
pub fn spawn(
    shim: &Path,
    request: &StartRequest,
    descriptors: &StartDescriptors<'_>,
) -> Result<Started, StartError> {
    let run = |source| StartError::Run { program: shim.to_owned(), source };
    let lost = |source| StartError::Lost { id: request.spec.id.clone(), source };
    let (ours, theirs) = UnixStream::pair().map_err(run)?;
    let path = CString::new(shim.as_os_str().as_bytes())
        .map_err(|error| run(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let shim = spawn_program(&path, c"hull-shim", theirs.as_fd()).map_err(run)?;
    drop(theirs);
    let exchange = || -> io::Result<Option<Reply>> {
        send_message(&ours, &serde_json::to_vec(request)?, &descriptors.in_order())?;
        receive(&ours)
    };
    match exchange() {
        Ok(Some(Reply::Started { pid })) => {
            Ok(Started { pid, exit: ExitWaiter { socket: ours.into() }, shim })
        }
        Ok(Some(Reply::Failed(failure))) => {
            // It cleans up and ends by itself. A caller that goes on living must not collect dead
            // children, and none has to wait for this one.
            std::thread::spawn(move || shim.wait());
            Err(failure.into())
        }
        other => {
            // It has closed its socket or broken the protocol: nothing it could still do right.
            let _already_dead = shim.kill();
            let _reaped = shim.wait();
            Err(lost(other.err()))
        }
    }
}

impl<'a> StartDescriptors<'a> {
    fn in_order(&self) -> Vec<BorrowedFd<'a>> {
        let mut all = vec![self.container, self.run, self.data_root, self.id_ranges];
        all.extend(&self.layers);
        all.extend(self.upper.into_iter().flat_map(|(upper, work)| [upper, work]));
        all.extend(&self.trees);
        all.extend(&self.attaches);
        all
    }
}

/// A shim that runs steps of a build one after another. They end when this is dropped.
#[derive(Debug)]
pub struct Steps {
    socket: UnixStream,
    shim: Program,
}

impl Steps {
    /// Starts the shim.
    ///
    /// # Errors
    /// [`StartError::Run`].
    pub fn spawn(shim: &Path) -> Result<Self, StartError> {
        let run = |source| StartError::Run { program: shim.to_owned(), source };
        let (ours, theirs) = UnixStream::pair().map_err(run)?;
        let path = CString::new(shim.as_os_str().as_bytes())
            .map_err(|error| run(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let program = spawn_program(&path, c"hull-shim", theirs.as_fd()).map_err(run)?;
        Ok(Self { socket: ours, shim: program })
    }

    /// Begins a step; returns when its process runs. [`Self::wait`] must follow before the next.
    ///
    /// # Errors
    /// `Failed` if it could not be started: another one may be. `Lost` is the end of this shim.
    pub fn begin(
        &self,
        request: &StartRequest,
        descriptors: &StartDescriptors<'_>,
    ) -> Result<(), StartError> {
        let lost = |source| StartError::Lost { id: request.spec.id.clone(), source };
        let exchange = || -> io::Result<Option<Reply>> {
            send_message(&self.socket, &serde_json::to_vec(request)?, &descriptors.in_order())?;
            receive(&self.socket)
        };
        match exchange() {
            Ok(Some(Reply::Started { .. })) => Ok(()),
            Ok(Some(Reply::Failed(failure))) => Err(failure.into()),
            Ok(_) => Err(lost(None)),
            Err(error) => Err(lost(Some(error))),
        }
    }

    /// Waits for the end of the step that was begun.
    ///
    /// # Errors
    /// `NotRunning` if the shim is gone, `Failed` if the step could not be cleaned up.
    pub fn wait(&self) -> Result<Exit, ControlError> {
        match reply(&self.socket)? {
            Reply::Exited(exit) => Ok(exit),
            other => Err(unexpected(&other)),
        }
    }

    /// Something that ends the step from another thread.
    ///
    /// # Errors
    /// The system's.
    pub fn stopper(&self) -> io::Result<StopSteps> {
        Ok(StopSteps(self.socket.try_clone()?))
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // It ends what runs, then itself; a caller that goes on living must not collect dead
        // children.
        let _closed_already = self.socket.shutdown(std::net::Shutdown::Both);
        let _reaped = self.shim.wait();
    }
}

/// Ends the steps of a shim.
#[derive(Debug)]
pub struct StopSteps(UnixStream);

impl StopSteps {
    /// Ends what runs; nothing more will be run.
    pub fn stop(&self) {
        let _gone_already = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// A request to a running shim was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No shim listens: the container does not run, or its shim was killed (see `recover`).
    #[error("the container is not running")]
    NotRunning,
    /// The socket failed.
    #[error("cannot talk to the container's supervisor")]
    Socket(#[from] io::Error),
    /// The shim refused.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The control socket of one container. Each call makes a connection of its own.
#[derive(Debug)]
pub struct Shim<'a> {
    run: BorrowedFd<'a>,
}

impl<'a> Shim<'a> {
    /// The shim that listens in this run directory, if any does.
    #[must_use]
    pub fn new(run: BorrowedFd<'a>) -> Self {
        Self { run }
    }

    /// Attaches a stream to the first process; output from now on.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn attach(&self, options: &AttachOptions) -> Result<OwnedFd, ControlError> {
        let socket = self.request(Request::Attach(options.clone()), &[])?;
        expect_done(&socket)?;
        Ok(socket.into())
    }

    /// Runs a further process. The stream is there if `request.attach` is set.
    ///
    /// # Errors
    /// `Failed` with the kind of failure if the process cannot be started.
    pub fn exec(&self, request: ExecRequest) -> Result<ExecStarted, ControlError> {
        let attach = request.attach.is_some();
        self.start_exec(Request::Exec(request), attach)
    }

    /// Keeps an exec for [`Self::exec_start`], by this process or another.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn exec_create(&self, request: ExecRequest) -> Result<(), ControlError> {
        expect_done(&self.request(Request::ExecCreate(request), &[])?)
    }

    /// Starts an exec that was kept, with a stream if `attach` is set. `size` is in columns and
    /// rows.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn exec_start(
        &self,
        id: &str,
        attach: bool,
        size: Option<(u16, u16)>,
    ) -> Result<ExecStarted, ControlError> {
        self.start_exec(Request::ExecStart { id: id.to_owned(), attach, size }, attach)
    }

    fn start_exec(&self, request: Request, attach: bool) -> Result<ExecStarted, ControlError> {
        let (socket, stream) = if attach {
            let (ours, theirs) = UnixStream::pair()?;
            (self.request(request, &[theirs.as_fd()])?, Some(ours.into()))
        } else {
            (self.request(request, &[])?, None)
        };
        match reply(&socket)? {
            Reply::Started { pid } => {
                Ok(ExecStarted { pid, stream, exit: ExitWaiter { socket: socket.into() } })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn signal(&self, signal: i32) -> Result<(), ControlError> {
        expect_done(&self.request(Request::Signal { signal }, &[])?)
    }

    /// Ends the container for good by a signal; with `keep` it stays even if it was to remove
    /// itself.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn stop(&self, signal: i32, keep: bool) -> Result<(), ControlError> {
        expect_done(&self.request(Request::Stop { signal, keep }, &[])?)
    }

    /// Begins to stop all processes where they are.
    ///
    /// # Errors
    /// `Failed` with `Precondition` if they are, or there are none.
    pub fn pause(&self) -> Result<(), ControlError> {
        expect_done(&self.request(Request::Pause, &[])?)
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// `Failed` with `Precondition` if they do.
    pub fn unpause(&self) -> Result<(), ControlError> {
        expect_done(&self.request(Request::Unpause, &[])?)
    }

    /// Tells the shim what to start the container by from the next time on.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn renew(
        &self,
        request: StartRequest,
        descriptors: &StartDescriptors<'_>,
    ) -> Result<(), ControlError> {
        let request = Request::Renew(Box::new(request));
        expect_done(&self.request(request, &descriptors.in_order())?)
    }

    /// Sets the size of the terminal of the first process or of an exec.
    ///
    /// # Errors
    /// `Failed` with `Invalid` if it has no terminal, with `NotFound` if there is no such exec.
    pub fn resize(&self, columns: u16, rows: u16, exec: Option<&str>) -> Result<(), ControlError> {
        let exec = exec.map(str::to_owned);
        expect_done(&self.request(Request::Resize { columns, rows, exec }, &[])?)
    }

    /// Waits for the container's exit.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn wait(&self) -> Result<ExitWaiter, ControlError> {
        Ok(ExitWaiter { socket: self.request(Request::Wait, &[])?.into() })
    }

    /// Waits for the end of an exec.
    ///
    /// # Errors
    /// See [`ControlError`]; that there is no such exec is told by the waiter.
    pub fn exec_wait(&self, id: &str) -> Result<ExitWaiter, ControlError> {
        let request = Request::ExecWait { id: id.to_owned() };
        Ok(ExitWaiter { socket: self.request(request, &[])?.into() })
    }

    /// The state of an exec.
    ///
    /// # Errors
    /// `Failed` with `NotFound` if there is no such exec, or it ended long ago.
    pub fn exec_state(&self, id: &str) -> Result<ExecState, ControlError> {
        let socket = self.request(Request::ExecInspect { id: id.to_owned() }, &[])?;
        match reply(&socket)? {
            Reply::Exec(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    fn request(
        &self,
        request: Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<UnixStream, ControlError> {
        // A socket's path is short; that of the exec root need not be.
        let path = format!("/proc/self/fd/{}/{SOCKET}", self.run.as_raw_fd());
        let socket = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
            _ => ControlError::Socket(error),
        })?;
        let body =
            serde_json::to_vec(&Control { version: VERSION, request }).map_err(io::Error::from)?;
        send_message(&socket, &body, descriptors).map_err(gone)?;
        Ok(socket)
    }
}

/// An exec that runs.
#[derive(Debug)]
pub struct ExecStarted {
    /// Its process.
    pub pid: u32,
    /// Its attached stream.
    pub stream: Option<OwnedFd>,
    /// Tells its exit.
    pub exit: ExitWaiter,
}

/// A socket on which an exit will be told. Readable (poll) when it was, or the shim is gone.
#[derive(Debug)]
pub struct ExitWaiter {
    socket: OwnedFd,
}

impl ExitWaiter {
    /// Blocks until the exit.
    ///
    /// # Errors
    /// `NotRunning` if the shim was killed: then `recover` and the container's state tell.
    pub fn wait(&self) -> Result<Exit, ControlError> {
        match reply(&self.socket)? {
            Reply::Exited(exit) => Ok(exit),
            other => Err(unexpected(&other)),
        }
    }
}

/// The socket itself, for who waits without a thread: a message with a [`Reply`] comes on it.
impl From<ExitWaiter> for OwnedFd {
    fn from(waiter: ExitWaiter) -> Self {
        waiter.socket
    }
}

impl AsFd for ExitWaiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn expect_done(socket: impl AsFd) -> Result<(), ControlError> {
    match reply(socket)? {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn reply(socket: impl AsFd) -> Result<Reply, ControlError> {
    match receive(socket).map_err(gone)? {
        Some(Reply::Failed(failure)) => Err(failure.into()),
        Some(reply) => Ok(reply),
        None => Err(ControlError::NotRunning),
    }
}

fn receive(socket: impl AsFd) -> io::Result<Option<Reply>> {
    match recv_message(socket, MAX_CONTROL_BYTES)? {
        Some((body, _)) => Ok(Some(serde_json::from_slice(&body)?)),
        None => Ok(None),
    }
}

/// A shim that is killed resets its connections.
fn gone(error: io::Error) -> ControlError {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof => ControlError::NotRunning,
        _ => ControlError::Socket(error),
    }
}

fn unexpected(reply: &Reply) -> ControlError {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected reply {reply:?}")).into()
}
