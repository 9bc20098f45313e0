//! The stdin and the outputs of one process, and the clients attached to them.
//!
//! Output goes to the log and to every client. It is read from the process only while every
//! client has taken what came before, so memory is bounded by one read for each client, and a
//! process that writes faster than its slowest client reads is held up by its full pipe, as it
//! is with Docker. See [`Standing`] for how long.
//!
//! No read blocks: each follows a poll, and nobody else reads. Writes never do: to clients by
//! `MSG_DONTWAIT`, to the process by a non-blocking descriptor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use hull_shim::protocol::AttachOptions;
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::Winsize;

use crate::attached::{Attached, Standing, Typed};
use crate::input::Input;
use crate::interest::{Interest, is_readable};
use crate::log::Log;
use crate::output::Stream;

/// The most bytes of one read of output.
pub(crate) const READ: usize = 32 << 10;

/// A pipe can be made to hold this much, so no more is left of a process that ended.
const MAX_LEFT: usize = 1 << 20;

/// What happened to [`Streams`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token {
    Output(Stream),
    Input,
    Client(usize),
}

/// The engine's ends of a process's stdio.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Writing end of stdin; `None` if it has none of its own.
    pub(crate) stdin: Option<OwnedFd>,
    /// Reading end of stdout.
    pub(crate) stdout: Option<OwnedFd>,
    /// Reading end of stderr.
    pub(crate) stderr: Option<OwnedFd>,
}

/// Stdio of one process.
#[derive(Debug)]
pub(crate) struct Streams {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    input: Option<Input>,
    terminal: bool,
    /// The first client that is done typing closes stdin; otherwise it only detaches.
    stdin_once: bool,
    clients: Vec<Attached>,
    log: Option<Log>,
    /// The process has ended: clients go as soon as they have taken everything.
    finished: bool,
    /// A client has typed the detach keys.
    detached: bool,
}

impl Streams {
    /// Of a process without a terminal.
    pub(crate) fn pipes(ends: Ends, stdin_once: bool, log: Option<Log>) -> Self {
        Self {
            stdout: ends.stdout,
            stderr: ends.stderr,
            input: ends.stdin.map(|descriptor| Input::new(descriptor, false)),
            terminal: false,
            stdin_once,
            clients: Vec::new(),
            log,
            finished: false,
            detached: false,
        }
    }

    /// Of a process on a terminal, whose master `console` is.
    ///
    /// # Errors
    /// Of duplicating the descriptor.
    pub(crate) fn console(console: OwnedFd, log: Option<Log>, stdin: bool) -> io::Result<Self> {
        rustix::fs::fcntl_setfl(&console, OFlags::RDWR | OFlags::NONBLOCK)?;
        let input = stdin.then(|| console.try_clone()).transpose()?;
        Ok(Self {
            input: input.map(|descriptor| Input::new(descriptor, true)),
            terminal: true,
            ..Self::pipes(Ends { stdout: Some(console), ..Ends::default() }, false, log)
        })
    }

    pub(crate) fn attach(&mut self, socket: OwnedFd, options: AttachOptions, standing: Standing) {
        let mut client = Attached::new(socket, options, self.terminal, standing);
        if client.typing && self.input.is_none() {
            client.refuse_typing();
        }
        self.clients.iter_mut().for_each(Attached::renew_patience);
        self.clients.push(client);
    }

    pub(crate) fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Whether a client has typed the detach keys since the last time this was asked.
    pub(crate) fn take_detached(&mut self) -> bool {
        std::mem::take(&mut self.detached)
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// `NotConnected` without a terminal.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let console = self.stdout.as_ref().filter(|_| self.terminal);
        let console = console.ok_or(io::ErrorKind::NotConnected)?;
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(console, size)?)
    }

    /// Adds what to wait for.
    pub(crate) fn interest<'a, T: Copy>(
        &'a self,
        all: &mut Interest<'a, T>,
        token: impl Fn(Token) -> T,
    ) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(output) = self.output(stream).filter(|_| self.may_read(stream)) {
                all.add(output.as_fd(), PollFlags::IN, token(Token::Output(stream)));
            }
        }
        if let Some(input) = self.input.as_ref().filter(|input| !input.is_idle()) {
            all.add(input.as_fd(), PollFlags::OUT, token(Token::Input));
        }
        let alone = self.clients.len() == 1;
        let takes_input = self.input.as_ref().is_some_and(Input::is_idle);
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, client.typing && takes_input);
            flags.set(PollFlags::OUT, !client.is_flushed());
            // A hang-up is reported for ever: once seen, only what was typed before matters.
            if !flags.is_empty() || !client.has_hung_up() {
                all.add(client.as_fd(), flags, token(Token::Client(index)));
            }
            all.until(client.deadline(alone));
        }
    }

    /// Deals with what happened. `buffer` is scratch space of [`READ`] bytes.
    pub(crate) fn handle(&mut self, token: Token, flags: PollFlags, buffer: &mut Vec<u8>) {
        match token {
            // An earlier event of the same round may have filled a client.
            Token::Output(stream) if self.may_read(stream) => self.read_output(stream, buffer),
            Token::Output(_) => {}
            Token::Input => self.flush_input(),
            Token::Client(index) => self.serve(index, flags),
        }
    }

    /// Forgets clients that are gone, or have been told everything.
    pub(crate) fn sweep(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let finished = self.finished;
        let now = Instant::now();
        let alone = self.clients.len() == 1;
        self.clients.retain(|client| {
            let late = client.deadline(alone).is_some_and(|deadline| deadline <= now);
            !(client.is_gone() || late || finished && client.is_flushed())
        });
    }

    /// The process has ended: passes on all it left behind. Output that others still write is
    /// read and thrown away with `discard_rest`, so that they are not killed by writing it.
    pub(crate) fn finish(&mut self, discard_rest: bool, buffer: &mut Vec<u8>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut left = MAX_LEFT;
            while left > 0 && self.output(stream).is_some_and(|fd| is_readable(fd.as_fd())) {
                self.read_output(stream, buffer);
                left = left.saturating_sub(buffer.len().max(1));
            }
            if let Some(log) = &mut self.log {
                log.finish(stream);
            }
        }
        self.log = None;
        self.input = None;
        for client in &mut self.clients {
            client.typing = false;
        }
        if !discard_rest {
            (self.stdout, self.stderr) = (None, None);
        }
        self.finished = true;
        self.sweep();
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_over(&self) -> bool {
        let open = self.stdout.is_some() || self.stderr.is_some();
        self.finished && self.clients.is_empty() && !open
    }

    fn output(&self, stream: Stream) -> Option<&OwnedFd> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    fn may_read(&self, stream: Stream) -> bool {
        let held_up = |client: &Attached| client.wants(stream) && !client.is_flushed();
        self.finished || !self.clients.iter().any(held_up)
    }

    fn read_output(&mut self, stream: Stream, buffer: &mut Vec<u8>) {
        buffer.clear();
        let Some(output) = self.output(stream) else { return };
        match rustix::io::read(output, spare_capacity(buffer)) {
            Ok(1..) => self.pass_on(stream, buffer),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The end; a terminal says EIO.
            Ok(0) | Err(_) => self.close_output(stream),
        }
    }

    fn pass_on(&mut self, stream: Stream, bytes: &[u8]) {
        if self.finished {
            return;
        }
        if let Some(log) = &mut self.log {
            log.write(stream, bytes);
        }
        for client in self.clients.iter_mut().filter(|client| client.wants(stream)) {
            client.send(stream, bytes);
        }
    }

    fn close_output(&mut self, stream: Stream) {
        match stream {
            Stream::Stdout => self.stdout = None,
            Stream::Stderr => self.stderr = None,
        }
        if let Some(log) = &mut self.log {
            log.finish(stream);
        }
    }

    fn serve(&mut self, index: usize, flags: PollFlags) {
        let client = &mut self.clients[index];
        if flags.contains(PollFlags::OUT) {
            client.flush();
        }
        let hung_up = flags.intersects(PollFlags::HUP | PollFlags::ERR);
        if hung_up {
            client.hang_up();
        }
        if !client.typing || !(hung_up || flags.contains(PollFlags::IN)) {
            return;
        }
        let Some(input) = self.input.as_mut() else { return client.refuse_typing() };
        if !input.is_idle() {
            return;
        }
        match client.read(input.buffer()) {
            Typed::Some => {}
            Typed::End => {
                client.typing = false;
                if self.stdin_once && !self.terminal {
                    input.close();
                } else {
                    client.drop_now();
                }
                if hung_up {
                    client.drop_now();
                }
            }
            Typed::Detach => {
                client.drop_now();
                self.detached = true;
            }
        }
        self.flush_input();
    }

    fn flush_input(&mut self) {
        let open = self.input.as_mut().is_some_and(Input::flush);
        if !open {
            self.input = None;
            self.clients
                .iter_mut()
                .filter(|client| client.typing)
                .for_each(Attached::refuse_typing);
        }
    }
}
