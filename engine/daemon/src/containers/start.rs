//! Starting a container: everything by descriptor, then one message to a new shim.

use super::live::Phase;
use super::mounts::Source;
use super::spec::spec;
use super::stored::{Container, is_running, state_of};
use super::{health, host, sweep};
use crate::error::ApiError;
use crate::events;
use crate::http::{Response, status};
use crate::readiness::readable;
use crate::service::{Clients, Engine, Service};
use hull_api::ErrorKind;
use hull_shim::client::{
    self, ControlError, ExitWaiter, Shim, StartDescriptors, StartError, Started,
};
use hull_shim::protocol::{
    AttachOptions, Exit, MAX_CONTROL_BYTES, Removal, Reply, StartRequest, VERSION,
};
use hull_store::{Store, Upper};
use hull_sys::descriptor::close_all;
use hull_sys::spawn::Program;
use hyper::StatusCode;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// `POST /containers/{id}/start`.
pub(crate) async fn start(service: &Service, text: &str) -> Result<Response, ApiError> {
    let text = text.to_owned();
    let Some((id, started)) = service.run(move |engine| begin(engine, &text)).await? else {
        return Ok(status(StatusCode::NOT_MODIFIED));
    };
    let service = service.clone();
    tokio::spawn(async move { watch(service, id, started).await });
    Ok(status(StatusCode::NO_CONTENT))
}

/// Waits for the exit and tells those who wait; before that, looks after other containers.
async fn watch(service: Service, id: String, started: Started) {
    let Started { exit, shim, .. } = started;
    look_after(&service, &id).await;
    let phase = match exit_of(exit).await {
        Ok(exit) => Phase::Exited(exit),
        Err(error) => {
            tracing::debug!(container_id = id, %error, "the exit was not told");
            Phase::Lost
        }
    };
    let lost = phase == Phase::Lost;
    service.engine().live().tell(&id, phase);
    let alone = service.engine().config().clients == Clients::Own;
    // A daemon watches all shims, see `guard`.
    if lost && alone {
        look_after(&service, "").await;
    }
    if !alone && let Err(error) = reap(&shim).await {
        tracing::warn!(container_id = id, %error, "cannot wait for the end of a shim");
    }
}

/// Boxed: a start looks after others, which may have to be started.
fn look_after<'a>(
    service: &'a Service,
    own: &'a str,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(async move {
        if let Err(error) = sweep::look_after(service, own).await {
            tracing::warn!(%error, "cannot look after other containers");
        }
    })
}

/// Releases what the shim of a container left that has ended, and starts the container again if
/// it is to be.
pub(super) async fn look_after_one(service: &Service, id: String) {
    if let Err(error) = sweep::look_after_one(service, id).await {
        tracing::warn!(%error, "cannot look after a container whose supervisor has ended");
    }
}

/// Waits without a thread for the end of a shim, which may be long after its container's first
/// exit.
async fn reap(shim: &Program) -> io::Result<()> {
    let flags = rustix::process::PidfdFlags::empty();
    let pidfd = readable(rustix::process::pidfd_open(shim.pid(), flags)?)?;
    let _ready = pidfd.readable().await?;
    shim.wait()
}

/// Waits without a thread until an exit is told.
pub(crate) async fn exit_of(waiter: ExitWaiter) -> Result<Exit, ControlError> {
    let socket = UnixStream::from(OwnedFd::from(waiter));
    socket.set_nonblocking(true)?;
    let mut socket = tokio::net::UnixStream::from_std(socket)?;
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => ControlError::NotRunning,
        _ => ControlError::Socket(error),
    };
    // As in `hull_sys::message`, with no descriptors.
    let length = socket.read_u32_le().await.map_err(gone)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_CONTROL_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an exit is told at length").into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.map_err(gone)?;
    match serde_json::from_slice(&body).map_err(io::Error::from)? {
        Reply::Exited(exit) => Ok(exit),
        Reply::Failed(failure) => Err(failure.into()),
        other => {
            let message = format!("unexpected reply {other:?}");
            Err(io::Error::new(io::ErrorKind::InvalidData, message).into())
        }
    }
}

/// Starts the container; `None` if it runs already.
fn begin(engine: &Arc<Engine>, text: &str) -> Result<Option<(String, Started)>, ApiError> {
    let store = engine.store()?;
    let container = match engine.live().take_fresh(text) {
        Some(fresh) => fresh,
        None => {
            let (container, state) = Container::find_with_state(store, text)?;
            if state.as_ref().is_some_and(|state| state.paused) {
                return Err(ApiError::conflict(
                    "cannot start a paused container, try unpause instead",
                ));
            }
            if is_running(state.as_ref()) {
                return Ok(None);
            }
            container
        }
    };
    let id = container.record.id.clone();
    let parked = engine.live().take_parked(&id);
    // Before the start: it may have ended and removed itself before we are back here, and then
    // nobody but us knows its exit code.
    engine.live().tell(&id, Phase::Running);
    let result = run(engine, store, &container, &parked.attaches);
    // The shim has its copies now; a failed start ends the streams.
    drop(parked);
    match result {
        Ok(started) => Ok(Some((id, started))),
        // Somebody else has started it at the same time.
        Err(error) if error.kind == ErrorKind::Precondition => {
            engine.live().tell(&id, Phase::Waiting);
            Ok(None)
        }
        Err(error) => {
            abandon(engine, store, &container);
            // Removed while it was started: by somebody who pruned, mostly.
            let gone =
                !store.container_directory(&id).exists() && error.kind == ErrorKind::Internal;
            if gone {
                Err(ApiError::not_found(format!("No such container: {id}")))
            } else {
                Err(error)
            }
        }
    }
}

fn run(
    engine: &Engine,
    store: &Store,
    container: &Container,
    attaches: &[(AttachOptions, OwnedFd)],
) -> Result<Started, ApiError> {
    let start = Start::new(store, container, attaches)?;
    let program = engine.helper("hull-shim")?;
    let sealed = seal(&program)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", sealed.as_raw_fd()));
    let started = client::spawn(&path, &start.request, &start.descriptors(attaches));
    // The shim has its copies now.
    close_all(start.into_descriptors().chain([sealed]));
    started.map_err(|error| match error {
        StartError::Run { source, .. } => StartError::Run { program, source }.into(),
        error => error.into(),
    })
}

/// Tells the shim of a container that runs what to start it by from the next time on.
///
/// # Errors
/// Those of a start, and of talking to the shim.
pub(crate) fn renew(store: &Store, container: &Container, shim: &Shim<'_>) -> Result<(), ApiError> {
    let start = Start::new(store, container, &[])?;
    let told = shim.renew(start.request.clone(), &start.descriptors(&[]));
    close_all(start.into_descriptors());
    match told {
        // One that has ended meanwhile has a record that says the same.
        Ok(()) | Err(ControlError::NotRunning) => Ok(()),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// Everything a shim starts a container from.
struct Start {
    request: StartRequest,
    directories: Directories,
    layers: Vec<OwnedFd>,
    upper: Upper,
    trees: Vec<OwnedFd>,
}

impl Start {
    fn new(
        store: &Store,
        container: &Container,
        attaches: &[(AttachOptions, OwnedFd)],
    ) -> Result<Self, ApiError> {
        let (record, stored) = (&container.record, &container.stored);
        let spec = spec(container)?;
        let trees = trees(store, container)?;
        let layers = store.snapshots().layers(&record.layers)?;
        let upper = store.snapshots().upper(&record.id)?;
        let directories = Directories::open(store, &record.id)?;
        let request = StartRequest {
            version: VERSION,
            spec,
            log: host::log_config(&stored.host)?,
            auto_remove: stored
                .host
                .auto_remove
                .then(|| Removal { name: record.name.clone(), volumes: stored.anonymous.clone() }),
            restart: host::restart_policy(&stored.host.restart_policy)?,
            health: health::probe(container)?,
            open_stdin: stored.config.open_stdin,
            stdin_once: stored.config.stdin_once,
            layers: layers.len(),
            upper: true,
            trees: trees.len(),
            events: Some(events::container_attributes(container)),
            volumes: container.volumes().collect(),
            attaches: attaches.iter().map(|(options, _)| options.clone()).collect(),
            step: false,
        };
        Ok(Self { request, directories, layers, upper, trees })
    }

    fn descriptors<'a>(&'a self, attaches: &'a [(AttachOptions, OwnedFd)]) -> StartDescriptors<'a> {
        let Self { directories, layers, upper, trees, .. } = self;
        StartDescriptors {
            container: directories.container.as_fd(),
            run: directories.run.as_fd(),
            data_root: directories.data_root.as_fd(),
            id_ranges: directories.id_ranges.as_fd(),
            layers: borrow(layers),
            upper: Some((upper.upper.as_fd(), upper.work.as_fd())),
            trees: borrow(trees),
            attaches: attaches.iter().map(|(_, stream)| stream.as_fd()).collect(),
        }
    }

    fn into_descriptors(self) -> impl Iterator<Item = OwnedFd> {
        let Directories { container, run, data_root, id_ranges } = self.directories;
        [self.upper.upper, self.upper.work, container, run, data_root, id_ranges]
            .into_iter()
            .chain(self.layers)
            .chain(self.trees)
    }
}

fn borrow(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}

/// The directories a shim works in.
struct Directories {
    container: OwnedFd,
    run: OwnedFd,
    data_root: OwnedFd,
    id_ranges: OwnedFd,
}

impl Directories {
    fn open(store: &Store, id: &str) -> Result<Self, ApiError> {
        let data_root = open_directory(CWD, store.data_root())?;
        let container = open_directory(data_root.as_fd(), Path::new(&format!("containers/{id}")))?;
        let run = make_and_open(store, &format!("containers/{id}"))?;
        let id_ranges = store.exec_root().join("id-ranges");
        let id_ranges = match open_directory(CWD, &id_ranges) {
            // The first container of this boot.
            Err(_) => make_and_open(store, "id-ranges")?,
            opened => opened?,
        };
        Ok(Self { container, run, data_root, id_ranges })
    }
}

fn open_directory(base: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, ApiError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(base, path, flags, Mode::empty()).map_err(|error| {
        ApiError::internal(&std::io::Error::from(error))
            .context(&format!("cannot open {}", path.display()))
    })
}

/// Opens a directory of the exec root; makes it, and those above it, if it is missing.
pub(crate) fn make_and_open(store: &Store, name: &str) -> Result<OwnedFd, ApiError> {
    let path = store.exec_root().join(name);
    let failed = |error: Errno| {
        ApiError::internal(&std::io::Error::from(error))
            .context(&format!("cannot create {}", path.display()))
    };
    match rustix::fs::mkdirat(CWD, &path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(Errno::NOENT) => {
            use std::os::unix::fs::DirBuilderExt;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|error| {
                ApiError::internal(&error).context(&format!("cannot create {}", path.display()))
            })?;
        }
        Err(error) => return Err(failed(error)),
    }
    open_directory(CWD, &path)
}

/// What binds and volumes are made of, in the order of the mounts.
fn trees(store: &Store, container: &Container) -> Result<Vec<OwnedFd>, ApiError> {
    let mut trees = Vec::new();
    for mount in &container.stored.mounts {
        match &mount.source {
            Source::Bind { path, create, recursive } => {
                trees.push(bind_source(path, *create, *recursive)?);
            }
            Source::Volume { name, .. } => {
                let volume = store.open_volume(name)?;
                let tree = clone(volume.as_fd(), "", false);
                trees.push(tree.map_err(|error| mount_failed(name, error))?);
            }
            Source::Tmpfs { .. } => {}
        }
    }
    Ok(trees)
}

pub(super) fn bind_source(path: &str, create: bool, recursive: bool) -> Result<OwnedFd, ApiError> {
    match clone(CWD, path, recursive) {
        Err(Errno::NOENT) if create => {
            std::fs::create_dir_all(path).map_err(|error| {
                ApiError::chain(ErrorKind::Invalid, &error)
                    .context(&format!("error while creating mount source path '{path}'"))
            })?;
            clone(CWD, path, recursive).map_err(|error| mount_failed(path, error))
        }
        result => result.map_err(|error| mount_failed(path, error)),
    }
}

fn mount_failed(source: &str, error: Errno) -> ApiError {
    match error {
        Errno::NOENT => ApiError::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {source}"
        ))
        .hint("create it, or use -v, which creates a missing directory"),
        error => ApiError::chain(ErrorKind::Invalid, &std::io::Error::from(error))
            .context(&format!("cannot mount {source}")),
    }
}

pub(super) fn clone(
    base: BorrowedFd<'_>,
    path: &str,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    rustix::mount::open_tree(base, path, flags)
}

/// The shim's program on a read-only mount of its own, so that nothing that runs in a container
/// and finds its way to `/proc/<shim>/exe` can write to it (CVE-2019-5736).
fn seal(program: &Path) -> Result<OwnedFd, ApiError> {
    let failed = |error: std::io::Error| {
        ApiError::chain(ErrorKind::Unavailable, &error)
            .context(&format!("cannot run {}", program.display()))
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let sealed =
        rustix::mount::open_tree(CWD, program, flags).map_err(|error| failed(error.into()))?;
    hull_sys::mount::add_attributes(&sealed, hull_sys::mount::Attributes::RDONLY, false)
        .map_err(failed)?;
    Ok(sealed)
}

/// After a failed start: releases what a lost shim left, and removes what should remove itself.
fn abandon(engine: &Engine, store: &Store, container: &Container) {
    let id = &container.record.id;
    let left = match state_of(store, id) {
        Ok(left) => left.is_some(),
        Err(error) => {
            tracing::warn!(container_id = id, %error, "cannot recover after a failed start");
            true
        }
    };
    if left
        && container.stored.host.auto_remove
        && let Err(error) = super::delete::remove(engine, store, container, true)
    {
        tracing::warn!(container_id = id, %error, "cannot remove after a failed start");
    }
    engine.live().forget(id);
}
