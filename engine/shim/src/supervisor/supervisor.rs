//! The loop around a running container.
//!
//! One thread, one poll, no waiting on anybody: neither on clients, nor on processes. Each round
//! gathers what to wait for from the parts, waits, hands every event to its part, and then lets
//! the parts forget who is gone.
//!
//! With a restart policy the loop goes on after the container's end, without a sandbox, until the
//! back-off is over and the container is started again, or somebody stops it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hull_sandbox::Running;
use hull_shim::protocol::{ExecRequest, Exit, Failure, FailureKind, Reply, Request, StartRequest};
use hull_shim::state::{ContainerState, Health, Probe};
use rustix::event::PollFlags;
use rustix::net::SocketFlags;

use crate::attached::Standing;
use crate::closing::Closing;
use crate::control::{Asked, Connection, Progress};
use crate::exec::{self, Execs, no_exec};
use crate::exit::exit_code;
use crate::health::{self, Monitor};
use crate::interest::Interest;
use crate::restart::{Again, BackOff};
use crate::start::{Container, Live, Start, internal, number};
use crate::streams::{self, READ, Streams};
use crate::waiters::{Waiters, reply};

/// More connections than this have to wait: descriptors are limited.
const MAX_CONNECTIONS: usize = 200;

/// A container under supervision.
#[derive(Debug)]
pub(crate) struct Supervisor {
    container: Arc<Container>,
    state: ContainerState,
    listener: OwnedFd,
    /// `None` between two runs.
    running: Option<Running>,
    /// What the last run wrote, on its way to the disk.
    closing: Option<Closing>,
    streams: Streams,
    /// Of runs before, with clients who have not taken everything.
    former: Vec<Streams>,
    monitor: Option<Monitor>,
    started: Instant,
    again: Option<Again>,
    back_off: BackOff,
    ordered: Ordered,
    waiters: Waiters,
    execs: Execs,
    connections: Vec<Option<Connection>>,
    /// Scratch space for reads of output.
    buffer: Vec<u8>,
}

/// What somebody ordered.
#[derive(Debug, Default)]
struct Ordered {
    /// The next end is the last.
    stop: bool,
    /// The container stays although it was to remove itself.
    keep: bool,
}

/// A container that has ended for good, and what is left of its supervision.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// How long the last run took; `None` if its end was told before, as it was to run again.
    pub(crate) lasted: Option<Duration>,
    pub(crate) state: ContainerState,
    /// It stays even if it was to remove itself.
    pub(crate) keep: bool,
    pub(crate) running: Option<Running>,
    pub(crate) closing: Option<Closing>,
    pub(crate) streams: Vec<Streams>,
    pub(crate) listener: OwnedFd,
    pub(crate) waiters: Waiters,
    pub(crate) buffer: Vec<u8>,
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Token {
    Exit,
    Closed,
    Connect,
    Connection(usize),
    Waiter(usize),
    Stream(streams::Token),
    Former(usize, streams::Token),
    Exec(usize, exec::Token),
    Health(health::Token),
}

impl Supervisor {
    /// Supervises `live`; `starter` waits for its exit.
    pub(crate) fn new(
        container: Arc<Container>,
        state: ContainerState,
        live: Live,
        starter: OwnedFd,
    ) -> Self {
        let mut waiters = Waiters::default();
        waiters.add(starter);
        let Live { running, streams, listener, health, again } = live;
        Self {
            container,
            state,
            listener,
            running: Some(running),
            closing: None,
            streams,
            former: Vec::new(),
            monitor: health.map(Monitor::new),
            started: Instant::now(),
            again,
            back_off: BackOff::default(),
            ordered: Ordered::default(),
            waiters,
            execs: Execs::default(),
            connections: Vec::new(),
            buffer: Vec::with_capacity(READ),
        }
    }

    /// Supervises until the container has ended and is not to be started again.
    pub(crate) fn run(mut self) -> Ended {
        let exit = loop {
            let exit = self.until_exit();
            let wanted = |again: &Again| again.is_wanted(&exit, self.state.restart_count);
            if self.ordered.stop || !self.again.as_ref().is_some_and(wanted) {
                break exit;
            }
            let delay = self.back_off.after(self.started.elapsed());
            self.leave(&exit);
            if !self.pause_until(Instant::now() + delay) {
                break exit;
            }
            match self.start_again() {
                Ok(true) => {}
                Ok(false) => break exit,
                Err(failure) => {
                    let code = failure.exit_code();
                    break Exit { code, error: failure.message, ..Exit::default() };
                }
            }
        };
        let mut streams = self.former;
        streams.push(self.streams);
        Ended {
            exit,
            lasted: self.running.is_some().then(|| self.started.elapsed()),
            state: ContainerState { manually_stopped: self.ordered.stop, ..self.state },
            keep: self.ordered.keep,
            running: self.running,
            closing: self.closing,
            streams,
            listener: self.listener,
            waiters: self.waiters,
            buffer: self.buffer,
        }
    }

    /// Supervises until the container's first process ends.
    fn until_exit(&mut self) -> Exit {
        while !self.round(None) {
            self.probe();
        }
        self.streams.finish(false, &mut self.buffer);
        self.monitor = None;
        let Some(running) = &self.running else { return Exit::default() };
        let code = exit_code(running.pidfd.as_fd());
        // Killed by somebody: perhaps by the kernel, for want of memory.
        let oom_killed = code == 137 && running.cgroup.oom_kills() > 0;
        Exit { code, oom_killed, ..Exit::default() }
    }

    /// The end of a run that another is to follow.
    fn leave(&mut self, exit: &Exit) {
        self.state = self.state.clone().restarting(exit);
        self.write_state();
        self.container.events.tell_exit(exit, Some(self.started.elapsed()), false);
        self.waiters.tell(exit);
        if let Some(running) = self.running.take() {
            remove_cgroup(&running);
            // It is unmounted before the next run mounts it again.
            self.closing = Closing::begin(running.into_root());
        }
        self.execs = Execs::default();
    }

    /// Answers requests until then, and until the last run's root is closed; false if one of them
    /// was to stop the container.
    fn pause_until(&mut self, due: Instant) -> bool {
        let waits = |until: &Instant| Instant::now() < *until;
        while !self.ordered.stop && (self.closing.is_some() || waits(&due)) {
            self.round(Some(due).filter(waits));
        }
        !self.ordered.stop
    }

    /// False if it was told meanwhile that the container is not to be started again.
    fn start_again(&mut self) -> Result<bool, Failure> {
        let Some(again) = &self.again else { return Ok(false) };
        let (running, streams) = again.start(&self.container)?;
        let health = again.health().cloned();
        self.state = self.state.clone().started_again(number(running.pid));
        self.state.health = health.is_some().then(Health::default);
        self.monitor = health.map(Monitor::new);
        self.started = Instant::now();
        self.running = Some(running);
        self.former.push(std::mem::replace(&mut self.streams, streams));
        self.write_state();
        self.container.events.tell_start();
        Ok(true)
    }

    /// Waits once and deals with what happened; whether the container has ended.
    fn round(&mut self, until: Option<Instant>) -> bool {
        let mut exited = false;
        let mut interest = self.interest();
        interest.until(until);
        let happened = interest.wait().expect("poll fails only for want of memory");
        for (token, flags) in happened {
            match token {
                Token::Exit => exited = true,
                Token::Closed => self.closing.take().into_iter().for_each(Closing::wait),
                Token::Connect => self.accept(),
                Token::Connection(index) => self.advance(index),
                Token::Waiter(index) => self.waiters.forget(index),
                Token::Stream(token) => self.streams.handle(token, flags, &mut self.buffer),
                Token::Former(index, token) => {
                    self.former[index].handle(token, flags, &mut self.buffer);
                }
                Token::Exec(index, token) => {
                    let events = &self.container.events;
                    self.execs.handle(index, token, flags, &mut self.buffer, events);
                }
                Token::Health(token) => self.hear_of_probe(token),
            }
        }
        if exited {
            return true;
        }
        if self.streams.take_detached() {
            self.container.events.tell("detach", &[]);
        }
        self.streams.sweep();
        self.former.iter_mut().for_each(Streams::sweep);
        self.former.retain(|streams| !streams.is_over());
        self.execs.sweep();
        self.waiters.sweep();
        self.connections.retain(Option::is_some);
        false
    }

    fn interest(&self) -> Interest<'_, Token> {
        let mut all = Interest::new();
        if let Some(running) = &self.running {
            all.add(running.pidfd.as_fd(), PollFlags::IN, Token::Exit);
        }
        if let Some(closing) = &self.closing {
            all.add(closing.as_fd(), PollFlags::IN, Token::Closed);
        }
        self.streams.interest(&mut all, Token::Stream);
        for (index, streams) in self.former.iter().enumerate() {
            streams.interest(&mut all, |token| Token::Former(index, token));
        }
        self.execs.interest(&mut all, Token::Exec);
        self.waiters.interest(&mut all, Token::Waiter);
        if let Some(monitor) = &self.monitor {
            monitor.interest(&mut all, Token::Health);
        }
        for (index, connection) in self.connections.iter().enumerate() {
            if let Some(connection) = connection {
                all.add(connection.as_fd(), PollFlags::IN, Token::Connection(index));
            }
        }
        if self.connection_count() < MAX_CONNECTIONS {
            all.add(self.listener.as_fd(), PollFlags::IN, Token::Connect);
        }
        all
    }

    fn connection_count(&self) -> usize {
        self.connections.len()
            + self.waiters.count()
            + self.streams.client_count()
            + self.former.iter().map(Streams::client_count).sum::<usize>()
            + self.execs.connection_count()
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC;
        // Who gave up before we came is no loss, and a host without descriptors tries again.
        if let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            self.connections.push(Some(Connection::new(socket)));
            // Mostly the request is there already.
            self.advance(self.connections.len() - 1);
        }
    }

    fn advance(&mut self, index: usize) {
        match self.connections[index].take().map(Connection::advance) {
            Some(Progress::Waiting(connection)) => self.connections[index] = Some(connection),
            Some(Progress::Asked(asked)) => self.answer(*asked),
            Some(Progress::Over) | None => {}
        }
    }

    fn answer(&mut self, Asked { request, descriptors, socket }: Asked) {
        match request {
            Request::Attach(options) => match self.must_run() {
                Ok(_) => {
                    reply(&socket, &Reply::Done);
                    self.streams.attach(socket, options, Standing::Visitor);
                }
                Err(failure) => reply(socket, &Reply::Failed(failure)),
            },
            Request::Exec(request) => {
                self.exec(request, descriptors, socket);
            }
            Request::ExecCreate(request) => done(socket, self.execs.keep(request)),
            Request::ExecStart { id, attach, size } => {
                // A container that takes no process now takes it later.
                let taken = self.must_take_processes();
                match taken.and_then(|()| self.execs.take(&id, attach, size)) {
                    Ok(request) => {
                        let about = request.about.clone();
                        if let Some(code) = self.exec(request, descriptors, socket) {
                            self.execs.failed(id, about, code);
                        }
                    }
                    Err(failure) => reply(socket, &Reply::Failed(failure)),
                }
            }
            Request::Signal { signal } => done(socket, self.signal(signal)),
            Request::Stop { signal, keep } => {
                let stopped = self.stop(signal, keep);
                done(socket, stopped);
            }
            Request::Pause => {
                let paused = self.pause();
                done(socket, paused);
            }
            Request::Unpause => {
                let unpaused = self.unpause();
                done(socket, unpaused);
            }
            Request::Renew(request) => {
                let renewed = self.renew(*request, descriptors);
                done(socket, renewed);
            }
            Request::Resize { columns, rows, exec: Some(id) } => {
                done(socket, self.execs.resize(&id, columns, rows));
            }
            Request::Resize { columns, rows, exec: None } => {
                done(socket, self.resize(columns, rows));
            }
            Request::Wait => self.waiters.add(socket),
            Request::ExecWait { id } => self.execs.wait(&id, socket),
            Request::ExecInspect { id } => match self.execs.state(&id) {
                Some(state) => reply(socket, &Reply::Exec(state)),
                None => reply(socket, &Reply::Failed(no_exec(&id))),
            },
        }
    }

    /// Starts a process and answers; the exit code of a start that failed.
    fn exec(
        &mut self,
        request: ExecRequest,
        descriptors: Vec<OwnedFd>,
        socket: OwnedFd,
    ) -> Option<i32> {
        let stream = descriptors.into_iter().next();
        let ready = self.must_take_processes();
        let Self { running, container, execs, .. } = self;
        // Before, so that it comes before the end.
        if let [program, arguments @ ..] = request.process.args.as_slice() {
            let action = format!("exec_start: {program} {}", arguments.join(" "));
            container.events.tell(&action, &[("execID", request.id.clone())]);
        }
        let sandbox = ready.and_then(|()| running.as_ref().ok_or_else(|| waits(container)));
        match sandbox.and_then(|sandbox| execs.start(sandbox, request, stream)) {
            Ok(exec) => {
                reply(&socket, &Reply::Started { pid: exec.pid() });
                exec.wait(socket);
                None
            }
            Err(failure) => {
                let code = failure.exit_code();
                reply(socket, &Reply::Failed(failure));
                Some(code)
            }
        }
    }

    fn must_run(&self) -> Result<&Running, Failure> {
        self.running.as_ref().ok_or_else(|| waits(&self.container))
    }

    /// In Docker's words: a process that is started among frozen ones would freeze in the middle.
    fn must_take_processes(&self) -> Result<(), Failure> {
        self.must_run()?;
        if self.state.paused {
            let id = &self.container.id;
            let words = "is paused, unpause the container before exec";
            return Err(precondition(format!("container {id} {words}")));
        }
        Ok(())
    }

    fn signal(&self, signal: i32) -> Result<(), Failure> {
        let sent = hull_sys::signal::send(self.must_run()?.pidfd.as_fd(), signal);
        sent.map_err(|error| internal(&format!("cannot send signal {signal}"), &error))
    }

    fn stop(&mut self, signal: i32, keep: bool) -> Result<(), Failure> {
        if self.running.is_some() {
            self.signal(signal)?;
            if self.state.paused {
                self.unpause()?;
            }
        }
        self.ordered.stop = true;
        self.ordered.keep |= keep;
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Failure> {
        let id = &self.container.id;
        if self.state.paused {
            return Err(precondition(format!("Container {id} is already paused")));
        }
        let frozen = self.must_run()?.cgroup.begin_freeze();
        frozen.map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot pause container {id}: {error}"))
        })?;
        if let Some(monitor) = &mut self.monitor {
            monitor.suspend();
        }
        self.state.paused = true;
        self.write_state();
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), Failure> {
        let id = &self.container.id;
        if !self.state.paused {
            return Err(precondition(format!("Container {id} is not paused")));
        }
        self.must_run()?.cgroup.thaw().map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot unpause container {id}: {error}"))
        })?;
        self.state.paused = false;
        if let (Some(monitor), Some(health)) = (&mut self.monitor, &self.state.health) {
            monitor.resume(health);
        }
        self.write_state();
        Ok(())
    }

    fn renew(&mut self, request: StartRequest, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
        self.container.events.renew(request.events.clone());
        let start = Start::sort(request, descriptors).ok_or_else(|| {
            let message = format!("container {}: other descriptors than named", self.container.id);
            Failure::new(FailureKind::Invalid, message)
        })?;
        self.again = start.into_again();
        Ok(())
    }

    fn resize(&self, columns: u16, rows: u16) -> Result<(), Failure> {
        self.streams.resize(columns, rows).map_err(|error| {
            let message = format!("cannot resize the container's terminal: {error}");
            Failure::new(FailureKind::Invalid, message)
        })
    }

    /// Begins and ends probes whose time has come.
    fn probe(&mut self) {
        let Self { monitor: Some(monitor), running: Some(running), state, .. } = self else {
            return;
        };
        let ended = monitor.tick(running, state.health.get_or_insert_default());
        self.enter(ended);
    }

    fn hear_of_probe(&mut self, token: health::Token) {
        let Some(monitor) = &mut self.monitor else { return };
        let ended = monitor.handle(token, self.state.health.get_or_insert_default());
        self.enter(ended);
    }

    fn enter(&mut self, ended: Option<Probe>) {
        let (Some(probe), Some(monitor)) = (ended, &self.monitor) else { return };
        let health = self.state.health.get_or_insert_default();
        let changed = monitor.record(health, probe);
        let action = format!("health_status: {}", health.status.as_str());
        self.write_state();
        if changed {
            self.container.events.tell(&action, &[]);
        }
    }

    fn write_state(&self) {
        // Who asks sees the state before; there is nobody here to tell.
        let _unrecorded = self.state.write(self.container.directory.as_fd());
    }
}

/// With its first process all others have died, but for those that entered by other ways.
pub(crate) fn remove_cgroup(running: &Running) -> bool {
    let cgroup = &running.cgroup;
    let removed = cgroup.remove();
    removed.or_else(|_| cgroup.kill().and_then(|()| cgroup.remove())).is_ok()
}

fn precondition(message: String) -> Failure {
    Failure::new(FailureKind::Precondition, message)
}

/// Docker's words.
fn waits(container: &Container) -> Failure {
    let id = &container.id;
    precondition(format!("Container {id} is restarting, wait until the container is running"))
}

fn done(socket: OwnedFd, result: Result<(), Failure>) {
    match result {
        Ok(()) => reply(socket, &Reply::Done),
        Err(failure) => reply(socket, &Reply::Failed(failure)),
    }
}
