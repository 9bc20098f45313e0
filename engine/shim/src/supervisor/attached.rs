//! One attached client: its stream, and what it has not taken yet.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use hull_shim::protocol::AttachOptions;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg};

use crate::detach::DetachKeys;
use crate::output::Stream;

/// How long a visitor may hold up a process's output without taking a byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a client may hold up the process for as long as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It started the process in the foreground: output is held back while it does not read, as
    /// with a pipe to `less`. With others attached it is a visitor like them.
    Owner,
    /// It attached later: one that hangs is dropped after a while.
    Visitor,
}

/// What reading from a client gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Bytes for stdin were appended, or there are none now.
    Some,
    /// It is done writing.
    End,
    /// It typed the detach keys.
    Detach,
}

/// An attached client.
#[derive(Debug)]
pub(crate) struct Attached {
    socket: OwnedFd,
    options: AttachOptions,
    keys: Option<DetachKeys>,
    standing: Standing,
    /// What the socket did not take: at most what was read of the process at once, since nothing
    /// more is read for as long as this is not empty.
    pending: Vec<u8>,
    sent: usize,
    stalled_at: Option<Instant>,
    /// Whether it may still send bytes for stdin.
    pub(crate) typing: bool,
    /// The peer has closed its end. What it typed before that may still be unread.
    hung_up: bool,
    gone: bool,
}

impl Attached {
    pub(crate) fn new(
        socket: OwnedFd,
        options: AttachOptions,
        terminal: bool,
        standing: Standing,
    ) -> Self {
        let keys = terminal.then(|| DetachKeys::new(options.detach_keys.clone()));
        Self {
            socket,
            typing: options.stdin,
            options,
            keys,
            standing,
            pending: Vec::new(),
            sent: 0,
            stalled_at: None,
            hung_up: false,
            gone: false,
        }
    }

    pub(crate) fn wants(&self, stream: Stream) -> bool {
        !self.gone
            && !self.hung_up
            && match stream {
                Stream::Stdout => self.options.stdout,
                Stream::Stderr => self.options.stderr,
            }
    }

    /// Whether everything it was sent has left for it.
    pub(crate) fn is_flushed(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone || (self.hung_up && !self.typing)
    }

    pub(crate) fn has_hung_up(&self) -> bool {
        self.hung_up
    }

    /// The peer is gone: nothing can be sent any more, but what it typed before can be read.
    pub(crate) fn hang_up(&mut self) {
        self.hung_up = true;
        self.pending = Vec::new();
    }

    /// Drops the client; what it did not take is lost.
    pub(crate) fn drop_now(&mut self) {
        self.gone = true;
        self.pending = Vec::new();
    }

    /// Tells the client that its bytes for stdin go nowhere (any more).
    pub(crate) fn refuse_typing(&mut self) {
        self.typing = false;
        // If the client is gone already, that is found when it is polled.
        let _gone = rustix::net::shutdown(&self.socket, Shutdown::Read);
    }

    /// Sends output, as far as the client takes it; the rest waits.
    pub(crate) fn send(&mut self, stream: Stream, bytes: &[u8]) {
        let frame = stream.frame(bytes.len());
        let header = if self.keys.is_some() { &frame[..0] } else { &frame[..] };
        let sent = if self.pending.is_empty() { self.try_send(header, bytes) } else { 0 };
        if self.hung_up || sent == header.len() + bytes.len() {
            return;
        }
        let of_header = sent.min(header.len());
        self.pending.extend_from_slice(&header[of_header..]);
        self.pending.extend_from_slice(&bytes[sent - of_header..]);
        self.stalled_at = Some(Instant::now());
    }

    /// Sends what waits, as far as the client takes it.
    pub(crate) fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let sent = self.try_send(&pending[self.sent..], &[]);
        self.sent += sent;
        if self.hung_up || self.sent == pending.len() {
            self.sent = 0;
            self.stalled_at = None;
            return;
        }
        if sent > 0 {
            self.stalled_at = Some(Instant::now());
        }
        self.pending = pending;
    }

    /// Somebody else waits from now on: so long it has to take something.
    pub(crate) fn renew_patience(&mut self) {
        self.stalled_at = self.stalled_at.map(|_| Instant::now());
    }

    /// When this client will have to be dropped, if it takes nothing until then. `alone`: nobody
    /// else is attached.
    pub(crate) fn deadline(&self, alone: bool) -> Option<Instant> {
        match self.standing {
            Standing::Owner if alone => None,
            Standing::Owner | Standing::Visitor => self.stalled_at.map(|since| since + PATIENCE),
        }
    }

    /// Reads what the client typed and appends it to `out`.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> Typed {
        let mut buffer = [0; 8192];
        match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Typed::End,
            Ok((received, _)) => {
                let typed = &buffer[..received];
                let Some(keys) = &mut self.keys else {
                    out.extend_from_slice(typed);
                    return Typed::Some;
                };
                if keys.filter(typed, out) { Typed::Detach } else { Typed::Some }
            }
            Err(Errno::AGAIN | Errno::INTR) => Typed::Some,
            Err(_) => Typed::End,
        }
    }

    fn try_send(&mut self, header: &[u8], bytes: &[u8]) -> usize {
        let parts = [IoSlice::new(header), IoSlice::new(bytes)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
                Ok(sent) => return sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return 0,
                Err(_) => {
                    self.hang_up();
                    return 0;
                }
            }
        }
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn stalled(standing: Standing) -> (Attached, UnixStream, usize) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let options = AttachOptions { stdout: true, ..AttachOptions::default() };
        let mut client = Attached::new(ours.into(), options, false, standing);
        let mut frames = 0;
        while client.is_flushed() {
            client.send(Stream::Stdout, &[b'x'; 4096]);
            frames += 1;
        }
        (client, theirs, frames)
    }

    #[test]
    fn only_visitors_run_out_of_time() {
        let (owner, _theirs, _) = stalled(Standing::Owner);
        assert_eq!(owner.deadline(true), None);
        assert!(owner.deadline(false).is_some(), "others wait");
        let (visitor, _theirs, _) = stalled(Standing::Visitor);
        let left = visitor.deadline(true).unwrap() - Instant::now();
        assert!(left <= PATIENCE && left > PATIENCE / 2);
    }

    #[test]
    fn a_frame_that_did_not_fit_arrives_whole() {
        let (mut client, mut theirs, frames) = stalled(Standing::Visitor);
        let mut seen = vec![0; frames * 4104];
        let (first, rest) = seen.split_at_mut(8192);
        theirs.read_exact(first).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| theirs.read_exact(rest).unwrap());
            while !client.is_flushed() {
                client.flush();
            }
        });
        assert_eq!(client.deadline(false), None);
        for frame in seen.chunks(4104) {
            assert_eq!(frame[..8], Stream::Stdout.frame(4096));
        }
    }

    #[test]
    fn a_client_that_is_gone_holds_nothing_up() {
        let (mut client, theirs, _) = stalled(Standing::Owner);
        drop(theirs);
        client.flush();
        assert!(client.is_gone() && client.is_flushed());
    }
}
