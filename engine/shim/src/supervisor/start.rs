//! From the request to a running container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hull_sandbox::{Inputs, Running};
use hull_shim::protocol::{
    Failure, FailureKind, HealthCheck, MAX_START_BYTES, Removal, RestartPolicy, SOCKET,
    StartRequest, VERSION,
};
use hull_shim::recover::{Lost, try_lock};
use hull_shim::state::ContainerState;
use hull_sys::message::recv_message;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::Pid;

use crate::attached::Standing;
use crate::events::Events;
use crate::log::Log;
use crate::restart::Again;
use crate::stdio::{Wanted, make};
use crate::streams::Streams;

/// How long a new shim waits for the clean-up of the container's last one.
const PREDECESSOR: Duration = Duration::from_secs(10);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// The container this shim is for.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) directory: Arc<OwnedFd>,
    pub(crate) run: OwnedFd,
    pub(crate) data_root: Arc<OwnedFd>,
    pub(crate) events: Events,
    pub(crate) auto_remove: Option<Removal>,
}

/// A start request with its descriptors sorted.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) container: Arc<Container>,
    pub(crate) request: StartRequest,
    inputs: Inputs,
    attached: Vec<OwnedFd>,
}

/// Everything of a container that runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) running: Running,
    pub(crate) streams: Streams,
    pub(crate) listener: OwnedFd,
    pub(crate) health: Option<HealthCheck>,
    /// What to start it from once more; only with a policy that may want to.
    pub(crate) again: Option<Again>,
}

impl Container {
    pub(crate) fn lost(&self) -> Lost<'_> {
        Lost {
            id: &self.id,
            container: self.directory.as_fd(),
            run: self.run.as_fd(),
            data_root: self.data_root.as_fd(),
        }
    }
}

impl Start {
    /// Receives the request. Blocks: there is nothing else to do before.
    ///
    /// # Errors
    /// `Invalid` if it cannot be understood.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<Self, Failure> {
        let invalid = |message: String| Failure::new(FailureKind::Invalid, message);
        let received = recv_message(socket, MAX_START_BYTES)
            .map_err(|error| invalid(format!("cannot receive the start request: {error}")))?;
        let (body, descriptors) = received.ok_or_else(|| invalid("no start request".into()))?;
        let request: StartRequest = serde_json::from_slice(&body).map_err(|error| {
            invalid(format!(
                "cannot read the start request (supervisor version {VERSION}): {error}"
            ))
        })?;
        let id = request.spec.id.clone();
        Self::sort(request, descriptors).ok_or_else(|| {
            invalid(format!(
                "the start request of container {id} has other descriptors than it says"
            ))
        })
    }

    /// Sorts the descriptors that came with a request; `None` if they are not those it names.
    pub(crate) fn sort(request: StartRequest, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut rest = descriptors.into_iter();
        let directory = Arc::new(rest.next()?);
        let run = rest.next()?;
        let data_root = Arc::new(rest.next()?);
        let (attributes, volumes) = (request.events.clone(), request.volumes.clone());
        let events = Events::new(data_root.clone(), &request.spec.id, attributes, volumes);
        let container = Arc::new(Container {
            id: request.spec.id.clone(),
            directory,
            run,
            data_root,
            events,
            auto_remove: request.auto_remove.clone(),
        });
        let id_ranges = rest.next()?;
        let mut take = |count: usize| {
            let taken: Vec<_> = rest.by_ref().take(count).collect();
            (taken.len() == count).then_some(taken)
        };
        let layers = take(request.layers)?;
        let mut upper = take(if request.upper { 2 } else { 0 })?.into_iter();
        let upper = upper.next().zip(upper.next());
        let trees = take(request.trees)?;
        let attached = take(request.attaches.len())?;
        let inputs = Inputs { layers, upper, trees, id_ranges };
        rest.next().is_none().then_some(Self { container, request, inputs, attached })
    }

    /// The parts, for who runs it in another way.
    pub(crate) fn into_parts(self) -> (StartRequest, Inputs, Vec<OwnedFd>) {
        (self.request, self.inputs, self.attached)
    }

    /// Takes the lock that says: this container has a shim.
    ///
    /// # Errors
    /// `Precondition` if the container runs by another shim, or was started by it meanwhile.
    pub(crate) fn lock(&self) -> Result<OwnedFd, Failure> {
        let id = &self.container.id;
        let running = || {
            let message = format!("container {id} is already running");
            Err(Failure::new(FailureKind::Precondition, message))
        };
        let give_up = Instant::now() + PREDECESSOR;
        // When the container last started, as the first look at a taken lock showed it.
        let mut last_start = None;
        loop {
            let lock = try_lock(self.container.run.as_fd())
                .map_err(|error| internal(&format!("cannot lock container {id}"), &error))?;
            if lock.is_none() || last_start.is_some() {
                let state = ContainerState::read(self.container.directory.as_fd());
                let state = state.ok().flatten();
                let start = state.as_ref().and_then(|state| state.started_at.clone());
                let held = state.as_ref().is_some_and(ContainerState::is_held);
                if held || *last_start.get_or_insert_with(|| start.clone()) != start {
                    return running();
                }
            }
            if let Some(lock) = lock {
                return Ok(lock);
            }
            if Instant::now() > give_up {
                return running();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Builds the sandbox and starts the container's first process.
    ///
    /// # Errors
    /// Why it did not start.
    pub(crate) fn run(self) -> Result<Live, Failure> {
        let Self { container, mut request, inputs, attached } = self;
        let prepare = |error: io::Error| cannot_prepare(&container, &error);
        let listener = listen(container.run.as_fd()).map_err(prepare)?;
        let (inputs, kept) = match request.restart {
            RestartPolicy::No => (inputs, None),
            _ => (inputs.duplicate().map_err(prepare)?, Some(inputs)),
        };
        let (running, mut streams) = launch(&container, &request, inputs)?;
        for (socket, options) in attached.into_iter().zip(std::mem::take(&mut request.attaches)) {
            streams.attach(socket, options, Standing::Owner);
        }
        let health = request.health.clone();
        let again = kept.map(|inputs| Again::new(request, inputs));
        Ok(Live { running, streams, listener, health, again })
    }

    /// What a container is to be started by from the next time on.
    pub(crate) fn into_again(self) -> Option<Again> {
        let Self { request, inputs, .. } = self;
        (request.restart != RestartPolicy::No).then(|| Again::new(request, inputs))
    }
}

/// Starts the container's first process with fresh streams.
///
/// # Errors
/// Why it did not start.
pub(crate) fn launch(
    container: &Container,
    request: &StartRequest,
    inputs: Inputs,
) -> Result<(Running, Streams), Failure> {
    let prepare = |error: io::Error| cannot_prepare(container, &error);
    let log = (!request.log.disabled).then(|| Log::new(container.directory.clone(), request.log));
    let pipes = !request.spec.process.terminal;
    let wanted = Wanted { stdin: pipes && request.open_stdin, stdout: pipes, stderr: pipes };
    let (stdio, ends) = make(wanted).map_err(prepare)?;
    let mut running = hull_sandbox::start(&request.spec, inputs, stdio)?;
    let streams = match running.console.take() {
        Some(console) => Streams::console(console, log, request.open_stdin).map_err(prepare)?,
        None => Streams::pipes(ends, request.stdin_once, log),
    };
    Ok((running, streams))
}

fn cannot_prepare(container: &Container, error: &io::Error) -> Failure {
    internal(&format!("cannot prepare container {}", container.id), error)
}

/// Listens on the control socket; connections wait until the container runs.
fn listen(run: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    // A socket's path is short; that of the run directory need not be.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", run.as_raw_fd()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::bind(&listener, &address) {
        // We hold the lock, so it is a dead shim's.
        Err(Errno::ADDRINUSE) => {
            rustix::fs::unlinkat(run, SOCKET, rustix::fs::AtFlags::empty())?;
            rustix::net::bind(&listener, &address)?;
        }
        other => other?,
    }
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// A process id as messages and states carry it.
pub(crate) fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

pub(crate) fn internal(what: &str, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Internal, format!("{what}: {error}"))
}
