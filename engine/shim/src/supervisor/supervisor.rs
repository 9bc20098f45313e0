//! The loop around a running container.
//!
//! One thread, one poll, no waiting on anybody: neither on clients, nor on processes. Each round
//! gathers what to wait for from the parts, waits, hands every event to its part, and then lets
//! the parts forget who is gone.

use std::os::fd::{AsFd, OwnedFd};

use hull_shim::protocol::{ExecRequest, Failure, FailureKind, Reply, Request};
use rustix::event::PollFlags;
use rustix::net::SocketFlags;

use crate::attached::Standing;
use crate::control::{Asked, Connection, Progress};
use crate::exec::{self, Execs, no_exec};
use crate::exit::exit_code;
use crate::interest::Interest;
use crate::start::{Live, internal};
use crate::streams::{self, READ};
use crate::waiters::{Waiters, reply};

/// More connections than this have to wait: descriptors are limited.
const MAX_CONNECTIONS: usize = 200;

/// A container under supervision.
#[derive(Debug)]
pub(crate) struct Supervisor {
    live: Live,
    waiters: Waiters,
    execs: Execs,
    connections: Vec<Option<Connection>>,
    /// Scratch space for reads of output.
    buffer: Vec<u8>,
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Token {
    Exit,
    Connect,
    Connection(usize),
    Waiter(usize),
    Stream(streams::Token),
    Exec(usize, exec::Token),
}

impl Supervisor {
    /// Supervises `live`; `starter` waits for its exit.
    pub(crate) fn new(live: Live, starter: OwnedFd) -> Self {
        let mut waiters = Waiters::default();
        waiters.add(starter);
        Self {
            live,
            waiters,
            execs: Execs::default(),
            connections: Vec::new(),
            buffer: Vec::with_capacity(READ),
        }
    }

    /// Supervises until the container's first process ends; returns its exit code.
    pub(crate) fn run(&mut self) -> i32 {
        loop {
            let mut exited = false;
            let happened = self.interest().wait().expect("poll fails only for want of memory");
            for (token, flags) in happened {
                match token {
                    Token::Exit => exited = true,
                    Token::Connect => self.accept(),
                    Token::Connection(index) => self.advance(index),
                    Token::Waiter(index) => self.waiters.forget(index),
                    Token::Stream(token) => {
                        self.live.streams.handle(token, flags, &mut self.buffer);
                    }
                    Token::Exec(index, token) => {
                        self.execs.handle(index, token, flags, &mut self.buffer);
                    }
                }
            }
            if exited {
                return exit_code(self.live.running.pidfd.as_fd());
            }
            self.live.streams.sweep();
            self.execs.sweep();
            self.waiters.sweep();
            self.connections.retain(Option::is_some);
        }
    }

    /// What is still needed after the exit. Execs have ended before, requests come too late.
    pub(crate) fn into_parts(self) -> (Live, Waiters, Vec<u8>) {
        (self.live, self.waiters, self.buffer)
    }

    fn interest(&self) -> Interest<'_, Token> {
        let mut all = Interest::new();
        all.add(self.live.running.pidfd.as_fd(), PollFlags::IN, Token::Exit);
        self.live.streams.interest(&mut all, Token::Stream);
        self.execs.interest(&mut all, Token::Exec);
        self.waiters.interest(&mut all, Token::Waiter);
        for (index, connection) in self.connections.iter().enumerate() {
            if let Some(connection) = connection {
                all.add(connection.as_fd(), PollFlags::IN, Token::Connection(index));
            }
        }
        if self.connection_count() < MAX_CONNECTIONS {
            all.add(self.live.listener.as_fd(), PollFlags::IN, Token::Connect);
        }
        all
    }

    fn connection_count(&self) -> usize {
        self.connections.len()
            + self.waiters.count()
            + self.live.streams.client_count()
            + self.execs.connection_count()
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC;
        // Who gave up before we came is no loss, and a host without descriptors tries again.
        if let Ok(socket) = rustix::net::accept_with(&self.live.listener, flags) {
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
            Request::Attach(options) => {
                reply(&socket, &Reply::Done);
                self.live.streams.attach(socket, options, Standing::Visitor);
            }
            Request::Exec(request) => {
                self.exec(request, descriptors, socket);
            }
            Request::ExecCreate(request) => done(socket, self.execs.keep(request)),
            Request::ExecStart { id, attach, size } => match self.execs.take(&id, attach, size) {
                Ok(request) => {
                    let about = request.about.clone();
                    if let Some(code) = self.exec(request, descriptors, socket) {
                        self.execs.failed(id, about, code);
                    }
                }
                Err(failure) => reply(socket, &Reply::Failed(failure)),
            },
            Request::Signal { signal } => done(socket, self.signal(signal)),
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
        match self.execs.start(&self.live.running, request, stream) {
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

    fn signal(&self, signal: i32) -> Result<(), Failure> {
        let sent = hull_sys::signal::send(self.live.running.pidfd.as_fd(), signal);
        sent.map_err(|error| internal(&format!("cannot send signal {signal}"), &error))
    }

    fn resize(&self, columns: u16, rows: u16) -> Result<(), Failure> {
        self.live.streams.resize(columns, rows).map_err(|error| {
            let message = format!("cannot resize the container's terminal: {error}");
            Failure::new(FailureKind::Invalid, message)
        })
    }
}

fn done(socket: OwnedFd, result: Result<(), Failure>) {
    match result {
        Ok(()) => reply(socket, &Reply::Done),
        Err(failure) => reply(socket, &Reply::Failed(failure)),
    }
}
