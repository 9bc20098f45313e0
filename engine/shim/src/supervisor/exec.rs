//! Further processes in the container.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use hull_sandbox::{ExecProcess, Running};
use hull_shim::protocol::{ExecRequest, ExecState, Exit, Failure, FailureKind, Reply};
use rustix::event::PollFlags;

use crate::attached::Standing;
use crate::events::Events;
use crate::exit::exit_code;
use crate::interest::Interest;
use crate::start::number;
use crate::stdio::{Wanted, make};
use crate::streams::{self, Streams};
use crate::waiters::{Waiters, reply};

/// Ended execs that are remembered, and execs that are kept without being started.
const REMEMBERED: usize = 64;

/// All execs of a container.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    made: VecDeque<ExecRequest>,
    running: Vec<Exec>,
    ended: VecDeque<(String, ExecState)>,
}

#[derive(Debug)]
struct Exec {
    id: String,
    about: String,
    process: ExecProcess,
    exit_code: Option<i32>,
    streams: Streams,
    waiters: Waiters,
}

/// What happened to exec number so and so.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token {
    Exit,
    Stream(streams::Token),
    Waiter(usize),
}

impl Execs {
    /// Keeps an exec to be started later; the oldest goes if there are too many.
    ///
    /// # Errors
    /// An id that is taken.
    pub(crate) fn keep(&mut self, request: ExecRequest) -> Result<(), Failure> {
        if self.state(&request.id).is_some() {
            return Err(taken(&request.id));
        }
        self.made.push_back(request);
        self.made.drain(..self.made.len().saturating_sub(REMEMBERED));
        Ok(())
    }

    /// Takes an exec that was kept, to start it with or without a stream.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` if it was started before.
    pub(crate) fn take(
        &mut self,
        id: &str,
        attach: bool,
        size: Option<(u16, u16)>,
    ) -> Result<ExecRequest, Failure> {
        let Some(index) = self.made.iter().position(|made| made.id == id) else {
            return Err(if self.state(id).is_some() { taken(id) } else { no_exec(id) });
        };
        let mut request = self.made.remove(index).expect("it was just found");
        if !attach {
            request.attach = None;
        }
        if size.is_some() {
            request.process.terminal_size = size;
        }
        Ok(request)
    }

    /// Remembers an exec that was kept and could not be started.
    pub(crate) fn failed(&mut self, id: String, about: String, code: i32) {
        self.remember(id, ExecState { pid: 0, exit_code: Some(code), made: false, about });
    }

    fn remember(&mut self, id: String, state: ExecState) {
        self.ended.push_back((id, state));
        self.ended.drain(..self.ended.len().saturating_sub(REMEMBERED));
    }

    /// Starts a process. `stream` is its attached stream, `socket` waits for its exit.
    ///
    /// # Errors
    /// What is wrong with the request, or why the process did not start.
    pub(crate) fn start(
        &mut self,
        sandbox: &Running,
        request: ExecRequest,
        stream: Option<OwnedFd>,
    ) -> Result<ExecStart<'_>, Failure> {
        if self.state(&request.id).is_some() {
            return Err(taken(&request.id));
        }
        if request.attach.is_some() != stream.is_some() {
            let message = format!("exec {} came without its stream", request.id);
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        let internal = |error: io::Error| {
            let message = format!("cannot make the stdio of exec {}: {error}", request.id);
            Failure::new(FailureKind::Internal, message)
        };
        let terminal = request.process.terminal;
        let attach = request.attach.clone().unwrap_or_default();
        let wanted = |stream: bool| stream && !terminal;
        let (stdio, ends) = make(Wanted {
            stdin: wanted(attach.stdin),
            stdout: wanted(attach.stdout),
            stderr: wanted(attach.stderr),
        })
        .map_err(internal)?;
        let mut process = sandbox.exec(&request.process, stdio)?;
        let mut streams = match process.console.take() {
            Some(console) => Streams::console(console, None, attach.stdin).map_err(internal)?,
            None => Streams::pipes(ends, true, None),
        };
        if let Some(stream) = stream {
            streams.attach(stream, attach, Standing::Owner);
        }
        let waiters = Waiters::default();
        let ExecRequest { id, about, .. } = request;
        let exec = Exec { id, about, process, exit_code: None, streams, waiters };
        self.running.push(exec);
        Ok(ExecStart { exec: self.running.last_mut().expect("one was just added") })
    }

    /// State of an exec, unless it ended long ago.
    pub(crate) fn state(&self, id: &str) -> Option<ExecState> {
        let running = self.running.iter().find(|exec| exec.id == id).map(Exec::state);
        let ended = || self.ended.iter().find(|(ended, _)| ended == id);
        let made = || self.made.iter().find(|made| made.id == id);
        running.or_else(|| ended().map(|(_, state)| state.clone())).or_else(|| {
            let about = made()?.about.clone();
            Some(ExecState { pid: 0, exit_code: None, made: true, about })
        })
    }

    /// Tells `socket` how the exec ends, at once if it has.
    pub(crate) fn wait(&mut self, id: &str, socket: OwnedFd) {
        if let Some(code) = self.state(id).and_then(|state| state.exit_code) {
            return reply(socket, &Reply::Exited(Exit { code, ..Exit::default() }));
        }
        match self.running.iter_mut().find(|exec| exec.id == id) {
            Some(running) => running.waiters.add(socket),
            None => reply(socket, &Reply::Failed(no_exec(id))),
        }
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` without a terminal.
    pub(crate) fn resize(&self, id: &str, columns: u16, rows: u16) -> Result<(), Failure> {
        let exec = self.running.iter().find(|exec| exec.id == id).ok_or_else(|| no_exec(id))?;
        exec.streams.resize(columns, rows).map_err(|error| {
            let message = format!("cannot resize the terminal of exec {id}: {error}");
            Failure::new(FailureKind::Invalid, message)
        })
    }

    /// Connections held by execs.
    pub(crate) fn connection_count(&self) -> usize {
        let count = |exec: &Exec| exec.streams.client_count() + exec.waiters.count();
        self.running.iter().map(count).sum()
    }

    /// Adds what to wait for.
    pub(crate) fn interest<'a, T: Copy>(
        &'a self,
        all: &mut Interest<'a, T>,
        token: impl Fn(usize, Token) -> T,
    ) {
        for (index, exec) in self.running.iter().enumerate() {
            if exec.exit_code.is_none() {
                all.add(exec.process.pidfd.as_fd(), PollFlags::IN, token(index, Token::Exit));
            }
            exec.streams.interest(all, |inner| token(index, Token::Stream(inner)));
            exec.waiters.interest(all, |inner| token(index, Token::Waiter(inner)));
        }
    }

    /// Deals with what happened to one of them.
    pub(crate) fn handle(
        &mut self,
        index: usize,
        token: Token,
        flags: PollFlags,
        buffer: &mut Vec<u8>,
        events: &Events,
    ) {
        let exec = &mut self.running[index];
        match token {
            Token::Stream(token) => exec.streams.handle(token, flags, buffer),
            Token::Waiter(waiter) => exec.waiters.forget(waiter),
            Token::Exit => {
                let code = exit_code(exec.process.pidfd.as_fd());
                exec.exit_code = Some(code);
                // What it left running in the background may still write.
                exec.streams.finish(true, buffer);
                let more = [("execID", exec.id.clone()), ("exitCode", code.to_string())];
                events.tell("exec_die", &more);
                exec.waiters.tell(&Exit { code, ..Exit::default() });
                let (id, state) = (exec.id.clone(), exec.state());
                self.remember(id, state);
            }
        }
    }

    /// Forgets who is gone.
    pub(crate) fn sweep(&mut self) {
        for exec in &mut self.running {
            exec.streams.sweep();
            exec.waiters.sweep();
        }
        self.running.retain(|exec| exec.exit_code.is_none() || !exec.streams.is_over());
    }
}

/// An exec that was just started.
#[derive(Debug)]
pub(crate) struct ExecStart<'a> {
    exec: &'a mut Exec,
}

impl ExecStart<'_> {
    pub(crate) fn pid(&self) -> u32 {
        number(self.exec.process.pid)
    }

    /// Tells `socket` when it ends.
    pub(crate) fn wait(self, socket: OwnedFd) {
        self.exec.waiters.add(socket);
    }
}

impl Exec {
    fn state(&self) -> ExecState {
        let about = self.about.clone();
        ExecState { pid: number(self.process.pid), exit_code: self.exit_code, made: false, about }
    }
}

fn taken(id: &str) -> Failure {
    Failure::new(FailureKind::Invalid, format!("exec {id} was started before"))
}

pub(crate) fn no_exec(id: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("no exec {id}"))
}
